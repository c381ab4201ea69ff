//! The known causes, each with the lines that show it; root causes first.
//!
//! A pattern is matched against a line without headers and with unescaped quotes. It must contain
//! enough of the message that no other failure matches: the failed step, not only the end of the
//! error chain. Every cause has fixtures, see `tests.rs`.
//!
//! The table is split by the part at fault; a cause that leads to others comes before them.

/// A failed request to an API server, up to the reason.
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

/// Where an error of the runtime appears: in its own log, in those of its callers, and in events.
const CALLS: &[Speaker] = &[Runtime, Kubelet, Event, Cri, Cli, Unknown];
const RUNTIME: &[Speaker] = &[Runtime, Unknown];
const KUBELET: &[Speaker] = &[Kubelet, Unknown];
const COMMAND: &[Speaker] = &[Cli, Unknown];
const PODS: &[Speaker] = &[Kubelet, Event, Unknown];
/// The runtime's first log line, with its version.
const STARTED: &str = r"^starting containerd .*\bversion=v?(?<running>[0-9][^ ]*)";

/// Every cause, root causes first.
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
