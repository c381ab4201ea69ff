//! The layers around the cluster that Cluster API makes.

use std::{fs, os::unix::fs::PermissionsExt};

use anyhow::{Context, Result};
use kubenest::{Cluster, ClusterSpec, NodeSpec};
use kubenest_base::store::Store;
use kubenest_fixtures::{
    cluster_api::{ClusterApi, Installed, LoadBalancer},
    disk::EngineDisk,
};
use kubenest_forge::component;
use kubenest_recipe::recipe::GoBuild;

use crate::hosted;

/// The node of every layer.
pub const RECIPE: &str = "v1.32.1-containerd-2.0.2";
/// The kubeconfig of the management cluster in its node.
pub const MANAGEMENT: &str = "/etc/kubernetes/admin.conf";
/// Where nodes that Cluster API makes find crictl, in the pod that their containers are in.
pub const CRICTL: &str = "/opt/crictl";
/// The size of the disk, in bytes. The layers write about a third of it before it is filled.
const DISK: u64 = 16 << 30;
/// What the layers write at most, of the machine's own disk: what fills the disk is never written.
const WRITTEN: u64 = 10 << 30;
/// The network that Cluster API's Docker provider puts all containers into.
const NETWORK: &str = "kind";

/// A CI node, and in a pod with Docker on it a management cluster with Cluster API.
pub struct Place {
    /// The engine of all layers, and its disk.
    pub engine: EngineDisk,
    /// The CI node.
    pub outer: Cluster,
    /// The management cluster.
    pub management: Cluster,
    /// Cluster API's release.
    pub api: ClusterApi,
    /// The same, with images that are copies.
    pub copies: ClusterApi,
    /// Its tools, in the management cluster's node.
    pub tools: Installed,
}

impl Place {
    /// Boots the layers, and waits until Cluster API's controllers are available.
    ///
    /// # Errors
    /// A layer does not boot. What was made is removed, unless clusters are kept.
    pub async fn make(release: &str) -> Result<Self> {
        kubenest::telemetry::start();
        let api = ClusterApi::release(release).await?;
        let copies = api.with_repository("kubenest.local/copies");
        let engine = EngineDisk::make("capd-image-gc", DISK, WRITTEN).await?;
        match boot(&engine, &api, &copies).await {
            Ok((outer, management, tools)) => Ok(Self {
                engine,
                outer,
                management,
                api,
                copies,
                tools,
            }),
            Err(error) => {
                remove(&engine).await?;
                Err(error)
            }
        }
    }

    /// Removes all layers, unless clusters are kept.
    ///
    /// # Errors
    /// Something is left.
    pub async fn down(self) -> Result<()> {
        self.management.down().await?;
        self.outer.down().await?;
        remove(&self.engine).await
    }
}

/// Removes the engine, unless clusters are kept.
async fn remove(engine: &EngineDisk) -> Result<()> {
    match kubenest::settings().keep {
        true => Ok(()),
        false => Ok(engine.remove().await?),
    }
}

/// The CI node and the management cluster, with Cluster API in it.
async fn boot(
    engine: &EngineDisk,
    api: &ClusterApi,
    copies: &ClusterApi,
) -> Result<(Cluster, Cluster, Installed)> {
    let engine = engine.start().await?;
    let spec = ClusterSpec::single_node().with_recipe(RECIPE)?;
    let outer = spec.with_name("ci").with_engine(&engine).boot().await?;
    let node = NodeSpec::control_plane().with_engine_socket();
    let spec = ClusterSpec::of([node]).with_recipe(RECIPE)?;
    let management = outer.nest(&spec.with_name("management")).await?;
    copies.load_images(management.docker()).await?;
    give_to_engine(&management, api).await?;
    let tools = api.install(management.control_plane()).await?;
    let anywhere = serde_json::json!({});
    tools
        .install_controllers(MANAGEMENT, api, &anywhere)
        .await?;
    hosted::until_available(&management.client()).await?;
    Ok((outer, management, tools))
}

/// Gives the pod's engine all that the nodes in it are made of, and the management cluster its images.
async fn give_to_engine(management: &Cluster, api: &ClusterApi) -> Result<()> {
    let docker = management.docker();
    api.load_images(docker).await?;
    LoadBalancer::load(docker).await?;
    for image in api.images() {
        management.images().load(image.as_str()).await?;
    }
    let build = GoBuild::find("sigs.k8s.io/cri-tools", "1.34.0")?;
    let programs = component::programs(&Store::of(docker.settings()), &build).await?;
    let root = docker.root().context("the pod's root cannot be seen")?;
    let to = root.join(&CRICTL[1..]);
    fs::copy(programs.join("crictl"), &to)?;
    fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
    let labels = docker.labels("network").map();
    docker.create_network(NETWORK, labels).await?;
    Ok(())
}
