//! Causes that lie outside the node: the machine's limits, its kernel, its other programs.

use super::super::{
    Source::{Kubelet, Runtime, System, Unknown},
    rule::{Cause, Role::Proof, Sign},
};

pub(super) const CAUSES: &[Cause] = &[Cause {
    id: "inotify-exhausted",
    title: "no inotify instance is left on the host",
    cause: "a process of the node could not watch files: all nodes share the host's limit of \
                inotify instances for a user, and it is used up",
    cure: "sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288 on \
               the host, or run fewer nodes",
    links: &[
        "https://kind.sigs.k8s.io/docs/user/known-issues/#pod-errors-due-to-too-many-open-files",
    ],
    follows: None,
    signs: &[Sign::new(
        Proof,
        &[Runtime, Kubelet, System, Unknown],
        r"(?:(?:failed to create|error creating) fsnotify watcher|\binotify_init1?): too many open files",
    )],
}];
