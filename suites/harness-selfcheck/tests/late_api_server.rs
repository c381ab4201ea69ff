//! Components that are up before the API server do not notice that it is late.

use anyhow::{Result, ensure};
use kubenest::{Cluster, ClusterSpec, NodeSpec};

/// Starts the API server this many seconds late: less than the ten that a client gives a connection
/// for its handshake.
const PATCH: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: kube-system}
spec:
  initContainers:
    - name: late
      image: registry.k8s.io/kube-proxy:v1.32.1
      imagePullPolicy: Never
      command: [/sleep, "8"]
      volumeMounts: [{name: sleep, mountPath: /sleep, readOnly: true}]
  volumes:
    - {name: sleep, hostPath: {path: /usr/bin/sleep, type: File}}
"#;

/// What a client says of a server at whose port nobody listens.
const REFUSED: &str = ":6443: connect: connection refused";

#[tokio::test]
async fn nobody_is_refused_while_the_api_server_starts_and_nobody_restarts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("kube-apiserver+strategic.yaml"), PATCH)?;
    let node =
        NodeSpec::control_plane().with_read_only_mount(folder.path().to_string_lossy(), "/late");
    let spec = || {
        ClusterSpec::of([node.clone()])
            .with_kubeadm_patch("{kind: InitConfiguration, patches: {directory: /late}}")
    };
    let refused = refusals(&spec()?.boot().await?).await?;
    ensure!(refused.is_empty(), "refused: {}", refused.join("\n"));
    // Without the door the same delay is met by all of them.
    let refused = refusals(&spec()?.as_kubeadm().boot().await?).await?;
    ensure!(!refused.is_empty(), "kubeadm's own boot refuses nobody");
    Ok(())
}

/// The lines of the kubelet, the controller manager and the scheduler that tell of a refused
/// connection, and those of earlier runs of the two.
async fn refusals(cluster: &Cluster) -> Result<Vec<String>> {
    let script = "journalctl --unit kubelet --output cat; \
         cat /var/log/pods/kube-system_kube-{controller-manager,scheduler}-*/*/*.log; \
         ls -d /var/log/pods/kube-system_kube-{controller-manager,scheduler}-*/*/1.log";
    let node = cluster.control_plane();
    let told = node.exec(&["bash", "-c", script]).await?.text();
    let is_bad = |line: &&str| line.contains(REFUSED) || line.ends_with("/1.log");
    Ok(told.lines().filter(is_bad).map(str::to_owned).collect())
}
