//! Step 3: the control plane, by `kubeadm init`, and the way to it from the host.

use std::{path::PathBuf, time::Duration};

use kube::Client;

use crate::{
    Error, Result,
    cluster::{SLOW, kubeadm::Documents, kubeconfig},
    docker::FileEntry,
    node::Node,
    wait::{self, Probe},
};

pub(super) const CONFIG: &str = "/kind/kubeadm.conf";

/// Runs `kubeadm init` to its end.
pub(in crate::cluster) async fn run(node: &Node, documents: &Documents<'_>) -> Result<()> {
    let config = documents.init(node.ip())?;
    node.write_files(&[FileEntry::new(CONFIG, config)]).await?;
    let init = async {
        node.exec_ok(&[
            "kubeadm",
            "init",
            "--config",
            CONFIG,
            "--skip-token-print",
            // The image is known to hold what preflight asks for, CoreDNS comes later, and
            // the last phase restarts the kubelet so that its certificate outlives a year.
            "--skip-phases=preflight,addon/coredns,kubelet-finalize",
        ])
        .await
    };
    wait::within("kubeadm init", SLOW, init).await?;
    Ok(())
}

/// Waits, beside `kubeadm init`, for the API server to answer on the host.
pub(in crate::cluster) async fn reach(
    name: &str,
    node: &Node,
    port: u16,
) -> Result<(PathBuf, Client)> {
    let path = wait::until(
        "kubeadm's admin.conf",
        SLOW,
        async || match kubeconfig::write(name, node, port).await {
            Ok(path) => Probe::Ready(path),
            Err(error) => Probe::Pending(error.report()),
        },
    )
    .await?;
    let client = kubeconfig::client(&path).await?;
    wait::until("the API server to be ready", SLOW, async || {
        ready(&client).await
    })
    .await?;
    Ok((path, client))
}

async fn ready(client: &Client) -> Probe<()> {
    let request = http::Request::get("/readyz").body(Vec::new());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Probe::Failed(Error::setup("ask for /readyz").because(error)),
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await;
    match answer {
        Ok(Ok(text)) if text == "ok" => Probe::Ready(()),
        Ok(Ok(text)) => Probe::Pending(text),
        Ok(Err(error)) => Probe::Pending(error.to_string()),
        Err(_) => Probe::Pending("no answer in 5 s".into()),
    }
}
