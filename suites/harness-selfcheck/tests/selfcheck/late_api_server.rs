//! Components that are up before the API server do not notice that it is late.

use std::path::Path;

use anyhow::{Result, ensure};
use kubenest::{
    Cluster, ClusterSpec, NodeSpec, k8s_openapi::api::rbac::v1::ClusterRoleBinding, kube::Api,
};

/// Three times what a client gives a connection for its handshake.
const LATE: &str = "30";
/// Long enough for a component that is refused to say so.
const A_LITTLE_LATE: &str = "8";

/// Starts the API server SECONDS late.
const PATCH: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: kube-system}
spec:
  initContainers:
    - name: late
      image: registry.k8s.io/kube-proxy:v1.32.1
      imagePullPolicy: Never
      command: [/sleep, "SECONDS"]
      volumeMounts: [{name: sleep, mountPath: /sleep, readOnly: true}]
  volumes:
    - {name: sleep, hostPath: {path: /usr/bin/sleep, type: File}}
"#;

/// What a client says of a server at whose port nobody listens, and of one that does not greet it.
const REFUSED: [&str; 2] = [
    ":6443: connect: connection refused",
    "TLS handshake timeout",
];

#[tokio::test]
async fn nobody_is_refused_while_the_api_server_starts_and_nobody_restarts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = late(folder.path(), LATE)?.boot().await?;
    let refused = refusals(&cluster).await?;
    // For docs/performance.md: when each component began to work.
    let script = include_str!("after-serving.sh");
    let argv = ["bash", "-c", script];
    eprintln!("{}", cluster.control_plane().exec_ok(&argv).await?.text());
    ensure!(refused.is_empty(), "refused: {}", refused.join("\n"));
    let bindings = Api::<ClusterRoleBinding>::all(cluster.client());
    let left = bindings.get_opt("kubenest:boot").await?;
    ensure!(left.is_none(), "the components keep every right");
    cluster.down().await?;
    // Without the door a shorter delay is met by all of them.
    let spec = late(folder.path(), A_LITTLE_LATE)?.as_kubeadm();
    let refused = refusals(&spec.boot().await?).await?;
    ensure!(!refused.is_empty(), "kubeadm's own boot refuses nobody");
    Ok(())
}

/// A cluster whose API server starts this many seconds late; the folder has to stay.
fn late(folder: &Path, seconds: &str) -> Result<ClusterSpec> {
    let patch = PATCH.replace("SECONDS", seconds);
    std::fs::write(folder.join("kube-apiserver+strategic.yaml"), patch)?;
    let node = NodeSpec::control_plane().with_read_only_mount(folder.to_string_lossy(), "/late");
    let patch = "{kind: InitConfiguration, patches: {directory: /late}}";
    Ok(ClusterSpec::of([node]).with_kubeadm_patch(patch)?)
}

/// The lines of the kubelet, the controller manager and the scheduler that tell of a refused
/// connection, and those of earlier runs of the two.
async fn refusals(cluster: &Cluster) -> Result<Vec<String>> {
    let script = "journalctl --unit kubelet --output cat; \
         cat /var/log/pods/kube-system_kube-{controller-manager,scheduler}-*/*/*.log; \
         ls -d /var/log/pods/kube-system_kube-{controller-manager,scheduler}-*/*/1.log";
    let node = cluster.control_plane();
    let told = node.exec(&["bash", "-c", script]).await?.text();
    let is_bad = |line: &&str| {
        let refused = REFUSED.iter().any(|words| line.contains(words));
        refused || line.ends_with("/1.log")
    };
    Ok(told.lines().filter(is_bad).map(str::to_owned).collect())
}
