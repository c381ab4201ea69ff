//! The user's patches take effect: checked on the nodes, not in the documents.

use anyhow::{Context, Result};
use kubenest::{ClusterSpec, node::Node};

/// Patches as in public reports: a mapping, lists that must not replace the boot's own arguments,
/// and a document of kubeadm's previous API version.
const PATCHES: [&str; 4] = [
    "{kind: ClusterConfiguration, apiServer: \
      {extraArgs: {runtime-config: 'resource.k8s.io/v1beta1=true'}}}",
    "{kind: ClusterConfiguration, controllerManager: {extraArgs: [{name: v, value: '4'}]}}",
    "{kind: InitConfiguration, nodeRegistration: {kubeletExtraArgs: [{name: v, value: '4'}]}}",
    "{apiVersion: kubeadm.k8s.io/v1beta3, kind: ClusterConfiguration, \
      apiServer: {extraArgs: {v: '3'}}}",
];

/// Registry mirrors, on a node whose image has a `config_path`.
const MIRRORS: &str = r#"
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
endpoint = ["https://registry.example.com"]
"#;

#[tokio::test]
async fn arguments_reach_the_programs_beside_the_boots_own() -> Result<()> {
    let mut spec = ClusterSpec::single_node()
        .with_recipe("v1.32.1-containerd-2.1.9")?
        .with_containerd_patch(MIRRORS)?;
    for patch in PATCHES {
        spec = spec.with_kubeadm_patch(patch)?;
    }
    let cluster = spec.boot().await?;
    let node = cluster.control_plane();
    for (program, arguments) in [
        (
            "kube-apiserver",
            vec!["--runtime-config=resource.k8s.io/v1beta1=true", "--v=3"],
        ),
        (
            "kube-controller-manager",
            vec![
                "--v=4",
                "--allocate-node-cidrs=false",
                "--leader-elect=false",
            ],
        ),
    ] {
        let manifest = format!("/etc/kubernetes/manifests/{program}.yaml");
        let manifest = String::from_utf8(node.read_file(&manifest).await?)?;
        let running = command_line(node, program).await?;
        for argument in arguments {
            assert!(
                manifest.contains(&format!("- {argument}\n")),
                "{argument}: {manifest}"
            );
            assert!(
                running.contains(&argument.to_owned()),
                "{argument}: {running:?}"
            );
        }
    }
    let kubelet = command_line(node, "kubelet").await?;
    assert!(kubelet.contains(&"--v=4".to_owned()), "{kubelet:?}");
    let address = format!("--node-ip={}", node.ip());
    assert!(kubelet.contains(&address), "{kubelet:?}");
    let dump = node
        .exec_ok(&["containerd", "config", "dump"])
        .await?
        .text();
    assert!(dump.contains("https://registry.example.com"), "{dump}");
    Ok(cluster.down().await?)
}

/// The command line of a running program of a node.
async fn command_line(node: &Node, program: &str) -> Result<Vec<String>> {
    let line = format!("[^ ]*{program} .*");
    let argv = ["pgrep", "--exact", "--full", &line];
    let ids = node.exec_ok(&argv).await?.text();
    let id = ids.split_whitespace().next().context("it does not run")?;
    let line = node.read_file(&format!("/proc/{id}/cmdline")).await?;
    let words = String::from_utf8(line)?;
    Ok(words.split('\0').map(str::to_owned).collect())
}
