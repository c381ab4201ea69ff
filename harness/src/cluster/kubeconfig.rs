//! The kubeconfig of a cluster: its own file, on loopback, readable by its owner only.

use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf, time::Duration};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use super::{STEP, folder};
use kubenest_base::{Context, Error, ErrorKind, Result, settings::Settings, wait};
use kubenest_node::node::Node;

/// Path of the administrator's kubeconfig, which kubeadm writes.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// Path of the kubeconfig of a user whom the API server trusts before it has any role. kubeadm
/// before 1.29 has none, because its administrator is such a user.
const SUPER_ADMIN: &str = "/etc/kubernetes/super-admin.conf";

/// How long a connection may be silent. It is longer than a watch without changes, which the API
/// server ends after five minutes.
const SILENCE: Duration = Duration::from_secs(310);

/// Reads the administrator's kubeconfig from the control plane.
pub(super) async fn read(control_plane: &Node) -> Result<String> {
    let text = control_plane.within(STEP).read_file(ADMIN).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Reads the kubeconfig of a user who may do everything from the API server's first answer on.
pub(super) async fn read_privileged(control_plane: &Node) -> Result<String> {
    let node = control_plane.within(STEP);
    let text = match node.read_file(SUPER_ADMIN).await {
        Err(error) if error.kind() == ErrorKind::NotFound => node.read_file(ADMIN).await,
        read => read,
    };
    Ok(String::from_utf8_lossy(&text?).into_owned())
}

/// The client configuration of this kubeconfig of a cluster, with the API server at this port of
/// 127.0.0.1.
pub(super) async fn config_at(text: &str, name: &str, port: u16) -> Result<Config> {
    let text = on_host(text, name, port)?;
    let what = || format!("use a kubeconfig of cluster '{name}'");
    let kubeconfig = Kubeconfig::from_yaml(&text).with_context(what)?;
    config_of(kubeconfig).await.with_context(what)
}

/// Points the cluster's own file at another port of this host.
pub(super) fn point_at(settings: &Settings, name: &str, port: u16) -> Result<()> {
    let path = folder::kubeconfig(settings, name);
    let text = fs::read_to_string(&path).with_context(|| format!("read '{}'", path.display()))?;
    write(settings, name, &text, port).map(drop)
}

/// Points a kubeconfig at this port of 127.0.0.1 and writes it to the cluster's own file.
pub(super) fn write(settings: &Settings, name: &str, text: &str, port: u16) -> Result<PathBuf> {
    let text = on_host(text, name, port)?;
    let path = folder::kubeconfig(settings, name);
    let what = || format!("write '{}'", path.display());
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&path).with_context(what)?;
    file.write_all(text.as_bytes()).with_context(what)?;
    Ok(path)
}

/// The client configuration for the cluster of this kubeconfig.
pub(crate) async fn config(path: &std::path::Path) -> Result<Config> {
    let what = || format!("use kubeconfig '{}'", path.display());
    let kubeconfig = Kubeconfig::read_from(path).with_context(what)?;
    config_of(kubeconfig).await.with_context(what)
}

async fn config_of(kubeconfig: Kubeconfig) -> Result<Config, KubeconfigError> {
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    // The port is on loopback, so a proxy from the environment must not be used.
    config.proxy_url = None;
    // By default kube waits for an answer without limit.
    config.read_timeout = Some(wait::scaled(SILENCE));
    config.reset_reader_on_write = true;
    Ok(config)
}

/// The text of a kubeconfig with the API server at this port of 127.0.0.1.
pub(super) fn on_host(text: &str, name: &str, port: u16) -> Result<String> {
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
