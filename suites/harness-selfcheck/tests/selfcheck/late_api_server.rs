//! Components that are up before the API server do not notice that it is late.

use std::path::Path;

use anyhow::{Result, ensure};
use kubenest::{Cluster, ClusterSpec, NodeSpec};

/// Less than the ten seconds that a client gives a connection for its handshake.
const LATE: &str = "8";
const VERY_LATE: &str = "30";

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

/// What a client says of a server at whose port nobody listens.
const REFUSED: &str = ":6443: connect: connection refused";

#[tokio::test]
async fn nobody_is_refused_while_the_api_server_starts_and_nobody_restarts() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let spec = || late(folder.path(), LATE);
    let refused = refusals(&spec()?.boot().await?).await?;
    ensure!(refused.is_empty(), "refused: {}", refused.join("\n"));
    // Without the door the same delay is met by all of them.
    let refused = refusals(&spec()?.as_kubeadm().boot().await?).await?;
    ensure!(!refused.is_empty(), "kubeadm's own boot refuses nobody");
    Ok(())
}

/// A measurement: `docs/performance.md` has its figures.
#[tokio::test]
#[ignore = "takes a minute and only measures"]
async fn after_a_very_late_api_server_each_component_says_when_it_works() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let cluster = late(folder.path(), VERY_LATE)?.boot().await?;
    let script = include_str!("after-serving.sh");
    let argv = ["bash", "-c", script];
    let told = cluster.control_plane().exec_ok(&argv).await?.text();
    eprintln!("{told}");
    Ok(cluster.down().await?)
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
    let is_bad = |line: &&str| line.contains(REFUSED) || line.ends_with("/1.log");
    Ok(told.lines().filter(is_bad).map(str::to_owned).collect())
}
