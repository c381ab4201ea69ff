//! Keeps the logs of pods a while longer than the pods: a test's evidence is collected when its pods
//! may be gone.

use kubenest_docker::FileEntry;

const SERVICE: &str = "/etc/systemd/system/kubenest-pod-logs.service";
const SCRIPT: &str = "/kind/pod-logs";
/// Starts the service with the kubelet.
const DROP_IN: &str = "/etc/systemd/system/kubelet.service.d/20-kubenest-pod-logs.conf";

/// The files that a node needs before it starts.
pub(in crate::cluster) fn files() -> [FileEntry; 3] {
    [
        FileEntry::new(SERVICE, include_str!("pod-logs.service")),
        FileEntry::new(SCRIPT, include_str!("pod-logs.sh")).with_mode(0o755),
        FileEntry::new(DROP_IN, "[Unit]\nWants=kubenest-pod-logs.service\n"),
    ]
}
