//! A handle of a cluster that kubenest did not boot.

use std::{collections::BTreeMap, io::Write, sync::Arc, time::Instant};

use k8s_openapi::api::core::v1::{Node as KubeNode, NodeSystemInfo};
use kube::{Api, Client, api::ListParams};
use tempfile::TempPath;

use super::{
    Cluster,
    clients::Clients,
    inventory::Inventory,
    kubeconfig,
    nodes::Nodes,
    site::{Around, Site},
    tunnel::Tunnel,
};
use kubenest_base::{Context, Error, Result};
use kubenest_docker::{Docker, Owner};
use kubenest_forge::image::{NodeImage, Versions};
use kubenest_health::health::Expected;
use kubenest_images::Protection;
use kubenest_node::{
    node::{self, Node, Role},
    objects,
};

impl Cluster {
    /// A handle of a running cluster that kubenest did not boot, by its name on an engine: one of
    /// kind's, or one that Cluster API's Docker provider has made, perhaps on the engine of a
    /// [nested](Cluster::nest) cluster. Health gate, cases, images and evidence work as on any other.
    ///
    /// Nothing is removed but what cases make. The gate looks and repairs nothing: kubelet settings
    /// that let it delete images are a finding, unless `expected` tolerates that check. Images that
    /// are [loaded](crate::images::Images::load) get a pin and keep it.
    ///
    /// # Errors
    /// There is no such cluster, one of its nodes does not run, or the API server does not answer
    /// through its node.
    ///
    /// ```no_run
    /// use kubenest::{Cluster, health::Expected};
    ///
    /// # async fn example() -> anyhow::Result<()> {
    /// let engine = kubenest::engine::find().await?;
    /// // kind sets no limits of its own for the eviction of pods.
    /// let expected = Expected::default().with_tolerated("kubelet");
    /// let cluster = Cluster::attach(&engine, "kind", expected).await?;
    /// cluster.images().load("my-operator:dev").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn attach(docker: &Docker, name: &str, expected: Expected) -> Result<Self> {
        let started = Instant::now();
        let nodes = node::of_cluster(docker, name).await?;
        let Some(control_plane) = nodes.iter().find(|node| node.role() == Role::ControlPlane)
        else {
            return Err(Error::setup(format!(
                "cluster '{name}' has no control plane on this engine"
            )));
        };
        let admin = kubeconfig::read(control_plane).await?;
        let tunnel = Tunnel::open(control_plane, 0).await?;
        let file = write(&kubeconfig::on_host(&admin, name, tunnel.port)?)?;
        let clients = Clients::new(kubeconfig::config(&file).await?)?;
        let image = image_of(docker, control_plane, &clients.here()).await?;
        let site = Site {
            settings: Arc::clone(docker.settings()),
            docker: docker.clone(),
            owner: Owner::current().clone(),
            depth: 0,
            name: name.to_owned(),
            keep: true,
            lifetime: None,
            around: docker.around().map(|path| Around {
                engine: docker.clone(),
                cluster: name.to_owned(),
                path: path.to_owned(),
            }),
        };
        let names = nodes.iter().map(|node| node.name().to_owned()).collect();
        let protection = Protection::new(&image.versions.kubernetes);
        Ok(Self {
            nodes: Nodes::new(nodes),
            clients: Arc::new(clients),
            kubeconfig: file.to_path_buf(),
            image,
            expected,
            protection,
            started,
            phases: Vec::new(),
            running: Arc::default(),
            inventory: Inventory::of_others(site, names, file, tunnel),
        })
    }
}

/// Writes a kubeconfig to a file of its own, which only this user can read.
fn write(text: &str) -> Result<TempPath> {
    let what = || "write a kubeconfig".to_owned();
    let mut file = tempfile::NamedTempFile::new().with_context(what)?;
    file.write_all(text.as_bytes()).with_context(what)?;
    Ok(file.into_temp_path())
}

/// What the nodes are made of, as far as they and the API server tell.
async fn image_of(docker: &Docker, control_plane: &Node, client: &Client) -> Result<NodeImage> {
    let api = Api::<KubeNode>::all(client.clone());
    let all = ListParams::default();
    let nodes = objects::answer(|| "list nodes".to_owned(), api.list(&all)).await?;
    let infos: BTreeMap<String, NodeSystemInfo> = nodes
        .into_iter()
        .filter_map(|node| Some((node.metadata.name?, node.status?.node_info?)))
        .collect();
    let versions = infos.get(control_plane.name()).map(versions_in);
    NodeImage::of_container(docker, control_plane.name(), versions.unwrap_or_default()).await
}

/// The versions that a kubelet reports.
fn versions_in(info: &NodeSystemInfo) -> Versions {
    let mut versions = Versions::default();
    versions.kubernetes = info.kubelet_version.trim_start_matches('v').to_owned();
    if let Some((runtime, version)) = info.container_runtime_version.split_once("://") {
        let version = version.trim_start_matches('v').to_owned();
        match runtime {
            "containerd" => versions.containerd = version,
            "cri-o" => versions.crio = version,
            _ => {}
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_tells_its_version_and_its_runtimes() {
        for (runtime, containerd, crio) in [
            ("containerd://2.1.9", "2.1.9", ""),
            ("containerd://v1.7.24", "1.7.24", ""),
            ("cri-o://1.34.0", "", "1.34.0"),
            ("containerd://Unknown", "Unknown", ""),
            ("", "", ""),
        ] {
            let info = NodeSystemInfo {
                kubelet_version: "v1.32.1".to_owned(),
                container_runtime_version: runtime.to_owned(),
                ..NodeSystemInfo::default()
            };
            let versions = versions_in(&info);
            assert_eq!(versions.kubernetes, "1.32.1");
            assert_eq!(
                (versions.containerd.as_str(), versions.crio.as_str()),
                (containerd, crio)
            );
        }
    }
}
