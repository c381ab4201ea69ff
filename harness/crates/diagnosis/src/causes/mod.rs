//! The causes that are known, each with the lines it is recognised by: roots of others first.
//!
//! A pattern is matched against a line without headers, its quotes unescaped. It has to hold
//! so much of the message that nothing else says it: the step that failed, not only the words
//! at the end of the chain. Every cause has fixtures, see `tests.rs`.
//!
//! The table is in parts by what is at fault; a cause that leads to others stands before them.

/// A request to an API server, up to what it failed of.
macro_rules! request {
    () => {
        concat!(
            r#"(?:Get|Post|Put|Patch|Delete|Head) "?https://(?<server>[^/" ]+)/"#,
            r#"(?:api|apis|openapi|healthz|livez|readyz|version)\b[^" ]*"?: "#,
            r"(?:tls: failed to verify certificate: )?"
        )
    };
}

mod cgroups;
mod control_plane;
mod host;
mod images;
mod kubeadm;
mod kubelet;
mod machine;
mod network;
mod registry;
mod runtime;
mod sandbox;

use super::{
    Speaker::{self, Cli, Cri, Event, Kubelet, Runtime, Unknown},
    rule::Cause,
};

/// Where a refusal of the runtime shows: itself, those that called it, and what they told.
const CALLS: &[Speaker] = &[Runtime, Kubelet, Event, Cri, Cli, Unknown];
const RUNTIME: &[Speaker] = &[Runtime, Unknown];
const KUBELET: &[Speaker] = &[Kubelet, Unknown];
const COMMAND: &[Speaker] = &[Cli, Unknown];
const PODS: &[Speaker] = &[Kubelet, Event, Unknown];
/// The runtime's first words, with its version.
const STARTED: &str = r"^starting containerd .*\bversion=v?(?<running>[0-9][^ ]*)";

/// Every cause, the roots of others first.
pub(super) fn causes() -> impl Iterator<Item = &'static Cause> {
    [
        host::CAUSES,
        machine::CAUSES,
        cgroups::CAUSES,
        runtime::CAUSES,
        kubelet::CAUSES,
        kubeadm::CAUSES,
        images::CAUSES,
        network::CAUSES,
        control_plane::CAUSES,
        registry::CAUSES,
        sandbox::CAUSES,
    ]
    .into_iter()
    .flatten()
}
