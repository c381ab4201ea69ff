//! Adds the workers, side by side: with files that kubeadm writes, or with `kubeadm join`.

use futures::future::try_join_all;

use super::containers::wait_for_runtimes;
use crate::cluster::{
    SLOW, STEP,
    kubeadm::{self, CONFIG, Documents},
    nodes::Nodes,
};
use kubenest_base::Result;
use kubenest_docker::FileEntry;

const DISCOVERY: &str = "/kind/discovery.conf";
/// Path in a node of the kubelet's own kubeconfig.
const KUBELET: &str = "/etc/kubernetes/kubelet.conf";
/// Path in a node of the certificate of the cluster's authority.
pub(in crate::cluster) const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";

/// Starts every worker's kubelet with files as kubeadm would write them, so that it registers itself as
/// soon as the API server answers. The control plane's files have to be there, the API server need not
/// run. If the user changes how nodes join, only the certificate is given: kubeadm has to [join](run) them.
pub(in crate::cluster) async fn start_kubelets(
    nodes: &Nodes,
    documents: &Documents<'_>,
) -> Result<()> {
    let control_plane = nodes.control_plane().within(STEP);
    let authority = control_plane.read_file(AUTHORITY).await?;
    let started = nodes.workers().map(|node| {
        let (control_plane, authority) = (&control_plane, authority.clone());
        async move {
            // It need not wait until the controller manager has signed a certificate.
            let user = format!("--client-name=system:node:{}", node.name());
            let argv = ["kubeadm", "kubeconfig", "user", "--config", CONFIG];
            let argv = [argv.as_slice(), &[&user, "--org=system:nodes"]].concat();
            let kubeconfig = control_plane.exec_ok(&argv).await?.text();
            let mut files = vec![FileEntry::new(KUBELET, kubeconfig).with_mode(0o600)];
            if documents.changes_join() {
                return node.within(STEP).write_files(&files).await;
            }
            files.push(FileEntry::new(AUTHORITY, authority));
            files.push(FileEntry::new(CONFIG, documents.worker(node.ip())?));
            node.within(STEP).write_files(&files).await?;
            wait_for_runtimes([node]).await?;
            let argv = [
                "kubeadm",
                "init",
                "phase",
                "kubelet-start",
                "--config",
                CONFIG,
            ];
            node.within(SLOW).exec_ok(&argv).await.map(drop)
        }
    });
    try_join_all(started).await?;
    Ok(())
}

/// Joins every worker.
pub(in crate::cluster) async fn run(nodes: &Nodes, documents: &Documents<'_>) -> Result<()> {
    if nodes.workers().next().is_none() {
        return Ok(());
    }
    // The certificate of the cluster's authority is handed over, so that the join trusts no other.
    let argv = [
        "kubectl",
        "config",
        "view",
        "--flatten",
        "--raw",
        "-o",
        "json",
    ];
    let admin = ["--kubeconfig", "/etc/kubernetes/admin.conf"];
    let admin = nodes
        .control_plane()
        .within(STEP)
        .exec_ok(&[argv.as_slice(), &admin].concat())
        .await?
        .text();
    let discovery = discovery(&admin)?;
    let joins = nodes.workers().map(|node| {
        let discovery = discovery.clone();
        async move {
            let config = documents.join(node.ip(), DISCOVERY)?;
            let files = [
                FileEntry::new(CONFIG, config),
                FileEntry::new(DISCOVERY, discovery),
            ];
            node.within(STEP).write_files(&files).await?;
            kubeadm::validate(node, CONFIG, documents).await?;
            let argv = [
                "kubeadm",
                "join",
                "--config",
                CONFIG,
                "--skip-phases=preflight",
            ];
            node.within(SLOW).exec_ok(&argv).await
        }
    });
    try_join_all(joins).await?;
    Ok(())
}

/// A kubeconfig with the cluster and its authority, but without any user.
fn discovery(admin: &str) -> Result<String> {
    use kubenest_base::Context;
    let mut config: serde_json::Value =
        serde_json::from_str(admin).context("the control plane's admin.conf")?;
    // Without a context, kubeadm uses the cluster with an empty name.
    config["clusters"][0]["name"] = serde_json::json!("");
    config["users"] = serde_json::json!([]);
    config["contexts"] = serde_json::json!([]);
    config["current-context"] = serde_json::json!("");
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_administrators_key_is_not_handed_over() {
        let admin = r#"{"clusters": [{"name": "a"}], "users": [{"user": {"token": "secret"}}]}"#;
        let text = discovery(admin).unwrap();
        assert!(
            text.contains(r#""name":"""#) && !text.contains("secret"),
            "{text}"
        );
    }
}
