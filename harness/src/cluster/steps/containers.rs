//! A container for each node, on a network of the cluster's own.

use std::time::Duration;

use futures::future::try_join_all;

use super::{door, pod_cgroups, pod_logs, serving, volumes};
use crate::cluster::{
    STEP,
    addresses::API_PORT,
    config,
    inventory::Inventory,
    nodes::Nodes,
    plan::{BringUp, Plan},
    spec::NodeSpec,
};
use kubenest_base::{
    Error, Result,
    wait::{self, Probe},
};
use kubenest_docker::{ContainerSpec, FileEntry};
use kubenest_forge::image::NodeImage;
use kubenest_node::node::{Node, Role, Runtime};

const MODULES: &str = "/lib/modules";
/// Where the engine in a pod listens, and a node finds it that is given its socket.
const ENGINE_SOCKET: &str = "/run/docker.sock";
const IMAGE_DISK: &str = "/usr/local/lib/kubenest/image-disk";
/// Path in a node of the script that fills its /var.
const LINK_IMAGES: &str = "/kind/link-images";
const JOURNAL_CONFIG: &str = "/etc/systemd/journald.conf.d/zz-kubenest.conf";
const JOURNAL: &str = "[Journal]\nStorage=persistent\nSystemMaxUse=128M\nSystemKeepFree=1M\n";

/// Starts the nodes and returns them, with the port of the API server on the host. Their runtimes may not
/// answer yet.
pub(in crate::cluster) async fn start(
    plan: &Plan,
    image: &NodeImage,
    inventory: &Inventory,
    network: &str,
) -> Result<(Nodes, u16)> {
    let nodes = plan.nodes.iter().zip(inventory.containers());
    let mut containers: Vec<_> = nodes
        .map(|(node, name)| (container(name, node, image, inventory, network), node))
        .collect();
    let known = inventory.docker().image(&image.reference).await?;
    let command = known.map(|image| image.command).unwrap_or_default();
    for (container, node) in &mut containers {
        if plan.bring_up == BringUp::Fast {
            container.shared_volume = Some(inventory.shared_volume());
        }
        if links_images(plan, node) && !command.is_empty() {
            link_images(container, &command);
        }
    }
    let started = containers
        .iter()
        .map(|(container, node)| begin(plan, inventory, container, node));
    let nodes = Nodes::new(try_join_all(started).await?);
    let control_plane = nodes.control_plane().name();
    let state = inventory.docker().container(control_plane).await?;
    let port = state
        .and_then(|state| state.ports.get(&API_PORT).copied())
        .ok_or_else(|| {
            Error::setup(format!(
                "the engine gave '{}' no port on 127.0.0.1",
                control_plane
            ))
        })?;
    Ok((nodes, port))
}

/// The Kubernetes version that a node image reports.
pub(in crate::cluster) async fn kubernetes_version(node: &Node) -> Result<String> {
    let text = node.within(STEP).read_file("/kind/version").await?;
    Ok(String::from_utf8_lossy(&text)
        .trim()
        .trim_start_matches('v')
        .to_owned())
}

async fn begin(
    plan: &Plan,
    inventory: &Inventory,
    container: &ContainerSpec,
    node: &NodeSpec,
) -> Result<Node> {
    let (docker, role) = (inventory.docker(), node.role);
    docker.create(container).await?;
    // The journal is on a volume, so that it can still be read when the node's container has
    // stopped.
    let mut files = vec![FileEntry::new(JOURNAL_CONFIG, JOURNAL)];
    files.extend(pod_cgroups::files());
    files.extend(pod_logs::files());
    if !container.empty_volumes.is_empty() {
        let script = FileEntry::new(LINK_IMAGES, include_str!("link-images.sh"));
        files.push(script.with_mode(0o755));
    }
    if plan.bring_up == BringUp::Fast {
        files.extend(serving::files());
        files.extend(door::files());
        if node.role == Role::ControlPlane {
            files.extend(volumes::files());
        }
    }
    let disk = node.image_disk.map(|mib| image_disk(plan.runtime, mib));
    files.extend(disk.into_iter().flatten());
    docker.put_files(&container.name, &files).await?;
    if !plan.containerd_patches.is_empty() {
        // The file is written before the node starts, because containerd reads it once.
        let path = Runtime::Containerd.config_file();
        let config = docker.get_file(&container.name, path).await?;
        let config =
            config::apply_patches(&String::from_utf8_lossy(&config), &plan.containerd_patches)?;
        let config = FileEntry::new(path, config);
        docker.put_files(&container.name, &[config]).await?;
    }
    docker.start_container(&container.name).await?;
    Node::attach(docker, &container.name, role).await
}

/// Waits until the runtimes of these nodes answer.
pub(in crate::cluster) async fn wait_for_runtimes(
    nodes: impl IntoIterator<Item = &Node>,
) -> Result<()> {
    let answered = nodes.into_iter().map(async |node| {
        let runtime = node.runtime().name();
        wait::until(runtime, Duration::from_secs(60), async || {
            if let Err(error) = Node::attach(node.docker(), node.name(), node.role()).await {
                return Probe::Failed(error);
            }
            match node.reach_runtime().await {
                Ok(()) => Probe::Ready(()),
                Err(error) => Probe::Pending(error.report()),
            }
        })
        .await
    });
    try_join_all(answered).await.map(drop)
}

/// Whether the images that a node starts with stay in its image, instead of being copied into its
/// volume. Images with a file system of their own are copied, because there they must take space.
fn links_images(plan: &Plan, node: &NodeSpec) -> bool {
    plan.bring_up == BringUp::Fast
        && plan.runtime == Runtime::Containerd
        && node.image_disk.is_none()
}

/// Lets a node begin with an empty /var, which a script fills before the image's own command runs.
fn link_images(container: &mut ContainerSpec, command: &[String]) {
    container.empty_volumes = std::mem::take(&mut container.volumes);
    let script = LINK_IMAGES.to_owned();
    container.entrypoint = Some(
        std::iter::once(script)
            .chain(command.iter().cloned())
            .collect(),
    );
}

/// Makes the runtime's service create a file system for images before the runtime starts.
fn image_disk(runtime: Runtime, mib: u64) -> [FileEntry; 2] {
    let script = FileEntry::new(IMAGE_DISK, include_str!("image-disk.sh")).with_mode(0o755);
    let service = runtime.service();
    let unit = format!("/etc/systemd/system/{service}.service.d/image-disk.conf");
    let folder = runtime.images_folder();
    let start = format!("[Service]\nExecStartPre={IMAGE_DISK} {folder} {mib}\n");
    [script, FileEntry::new(unit, start)]
}

fn container(
    name: &str,
    node: &NodeSpec,
    image: &NodeImage,
    inventory: &Inventory,
    network: &str,
) -> ContainerSpec {
    let mut ports = node.ports.clone();
    if node.role == Role::ControlPlane {
        ports.push((API_PORT, 0));
    }
    let mut binds = node.mounts.clone();
    if node.engine_socket {
        binds.push((ENGINE_SOCKET.into(), ENGINE_SOCKET.into(), false));
    }
    // kube-proxy's modprobe needs this folder; a kernel without modules has none, nor has a pod.
    let modules = inventory
        .docker()
        .root()
        .map(|root| root.join(&MODULES[1..]));
    if modules.is_some_and(|modules| modules.is_dir()) {
        binds.push((MODULES.into(), MODULES.into(), true));
    }
    ContainerSpec {
        labels: inventory.node_labels(node.role),
        network: Some(network.to_owned()),
        ports,
        binds,
        ..image.machine(name)
    }
}
