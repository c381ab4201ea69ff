//! Gives an engine in a pod the images that the engine below it has, without copying a byte.
//!
//! The pod's volume is a folder within a volume of the engine on which the pod's node runs. Both
//! are on one file system, so a container of that engine can link the files of the images.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kubenest_base::{
    Error, Result, random,
    wait::{self, Probe},
};
use kubenest_docker::{ContainerSpec, Docker, EngineInfo};
use kubenest_forge::image::NestedImage;
use kubenest_node::node::Node;

/// How long the links may take.
const LINK: Duration = Duration::from_secs(120);
/// The engine's folder in the container that makes the links.
const ENGINE: &str = "/engine";

/// What an engine was given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Linked {
    /// How many files.
    pub(super) files: u64,
    /// Their bytes, none of which was copied.
    pub(super) bytes: u64,
    /// How long it took.
    pub(super) seconds: f64,
}

/// Refuses an engine whose images cannot be linked.
pub(super) fn check(engine: &EngineInfo) -> Result<()> {
    if engine.storage_driver == "overlay2" && !engine.containerd_store {
        return Ok(());
    }
    let driver = &engine.storage_driver;
    Err(Error::refused(format!(
        "no cluster can be nested on this engine: it keeps its images by '{driver}', and only those \
         of 'overlay2' can be given to an engine in a pod"
    ))
    .cure("KUBENEST_ENGINE=embedded, or a Docker engine whose storage driver is overlay2"))
}

/// Links images of the node's engine into the volume of a pod on the node, `engine` as the root of
/// the pod's engine, which starts then. A container of the node image at hand makes the links.
pub(super) async fn link(
    node: &Node,
    pod: &str,
    engine: &NestedImage,
    others: &[NestedImage],
    at_hand: &str,
) -> Result<Linked> {
    let begin = Instant::now();
    let docker = node.docker();
    let info = docker.info().await?;
    check(&info)?;
    let volume = volume(docker, node.name(), &info.data_root, pod).await?;
    let volume = volume.to_string_lossy().into_owned();
    let script = include_str!("link.sh");
    let mut words = vec!["bash", "-c", script, "link", &volume, &engine.id];
    words.extend(others.iter().map(|image| image.id.as_str()));
    let spec = ContainerSpec {
        name: format!("kubenest-link-{}", random::hex(8)),
        image: at_hand.to_owned(),
        labels: docker.labels("link").map(),
        entrypoint: Some(words.into_iter().map(str::to_owned).collect()),
        privileged: true,
        binds: vec![(
            info.data_root.to_string_lossy().into_owned(),
            ENGINE.to_owned(),
            false,
        )],
        // Avoids a copy of the node image's /var into a volume.
        tmpfs: [("/var".to_owned(), String::new())].into(),
        ..ContainerSpec::default()
    };
    docker.run(&spec).await?;
    let said = run_to_end(docker, &spec.name).await;
    docker.remove_container(&spec.name).await?;
    let said = said?;
    let mut numbers = said
        .split_whitespace()
        .map(|word| word.parse().unwrap_or(0));
    Ok(Linked {
        files: numbers.next().unwrap_or(0),
        bytes: numbers.next().unwrap_or(0),
        seconds: begin.elapsed().as_secs_f64(),
    })
}

/// Waits for a container to end well, and returns what it said.
async fn run_to_end(docker: &Docker, name: &str) -> Result<String> {
    let pause = Duration::from_millis(50);
    wait::until_with(
        pause,
        "the links to an engine's images",
        LINK,
        async || match docker.container(name).await {
            Ok(Some(found)) if found.running => Probe::Pending("they are being made".into()),
            Ok(Some(found)) if found.exit_code == 0 => {
                Probe::from_result(docker.logs(name, 1).await)
            }
            Ok(_) => {
                let words = docker.logs(name, 5).await.unwrap_or_default();
                Probe::never(format!("the engine's images could not be linked: {words}"))
            }
            Err(error) => Probe::Failed(error),
        },
    )
    .await
}

/// The volume of a pod on a node, as the container that makes the links sees it.
async fn volume(docker: &Docker, node: &str, data_root: &Path, pod: &str) -> Result<PathBuf> {
    let found = docker.container(node).await?;
    let var = found.and_then(|found| found.mounts.get("/var").cloned());
    let below = var
        .as_deref()
        .map(|var| Path::new(var).strip_prefix(data_root));
    let Some(Ok(below)) = below else {
        let var = var.unwrap_or_else(|| "nowhere".to_owned());
        return Err(Error::refused(format!(
            "node '{node}' has its /var at '{var}', not in the engine's folder '{}': no images can \
             be linked from there",
            data_root.display()
        ))
        .cure("nest on a node that kubenest booted"));
    };
    let pod = format!("lib/kubelet/pods/{pod}/volumes/kubernetes.io~empty-dir/engine");
    Ok(Path::new(ENGINE).join(below).join(pod))
}
