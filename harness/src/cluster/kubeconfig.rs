//! The kubeconfig of a cluster: its own file, on loopback, readable by its owner only.

use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::made;
use crate::{Context, Error, Result, node::Node};

/// Where kubeadm leaves the administrator's.
const ADMIN: &str = "/etc/kubernetes/admin.conf";

/// Reads the administrator's kubeconfig off the control plane, points it at this host's
/// port and writes it to the cluster's own file.
pub(super) async fn write(name: &str, control_plane: &Node, port: u16) -> Result<PathBuf> {
    let text = control_plane.read_file(ADMIN).await?;
    let text = on_host(&String::from_utf8_lossy(&text), name, port)?;
    let path = made::kubeconfig_path(name);
    let what = || format!("write '{}'", path.display());
    let folder = made::folder(name);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(what)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&path).with_context(what)?;
    file.write_all(text.as_bytes()).with_context(what)?;
    Ok(path)
}

/// A client for the cluster of this kubeconfig.
pub(super) async fn client(path: &std::path::Path) -> Result<Client> {
    let what = || format!("use kubeconfig '{}'", path.display());
    let kubeconfig = Kubeconfig::read_from(path).with_context(what)?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .with_context(what)?;
    // The port is on loopback; a proxy of the environment is not on the way to it.
    config.proxy_url = None;
    Client::try_from(config).with_context(what)
}

fn on_host(text: &str, name: &str, port: u16) -> Result<String> {
    let mut kubeconfig = Kubeconfig::from_yaml(text).context("kubeadm's admin.conf")?;
    let cluster = kubeconfig
        .clusters
        .iter_mut()
        .find_map(|cluster| cluster.cluster.as_mut())
        .ok_or_else(|| Error::setup("kubeadm's admin.conf names no cluster"))?;
    cluster.server = Some(format!("https://127.0.0.1:{port}"));
    for context in &mut kubeconfig.contexts {
        let own = format!("kubenest-{name}");
        kubeconfig.current_context = Some(own.clone());
        context.name = own;
    }
    serde_saphyr::to_string(&kubeconfig).context("write a kubeconfig")
}
