//! Node images: built from a recipe's components, layer by layer, and named by the recipe's hash.
//!
//! Bottom to top: the OS, Kubernetes, containerd, the shim, the files that make it a node, and the
//! images that a node starts with. The cache keeps each layer under a key that says what it is made
//! from, so that another containerd under the same Kubernetes costs seconds.

mod archive;
mod control_plane;
mod foreign;
mod layer;
mod nested;
mod preload;
mod resolve;
mod rootfs;
mod share;
mod small;

pub use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

pub use self::{
    archive::ImageSpec,
    layer::Layer,
    nested::{NestedImage, nested_engine, nested_pod},
    resolve::{default_recipe, likely_recipe},
    small::tiny_archive,
};
pub use self::{
    archive::architecture,
    resolve::DefaultNode,
    rootfs::{NETWORK, NETWORK_SCRIPT},
    small::SmallImage,
};
use crate::{component, durations::timed, engine, making, names};
use kubenest_base::digest::sha256_hex;
use kubenest_base::{Context, Result, lock::FileLock, progress, store::Store};
use kubenest_docker::{ContainerSpec, Docker, labels};
use kubenest_node::node::{self, Node, RUNTIME, Runtime};
pub use kubenest_recipe::recipe::{
    Content, Parts, Recipe, RuntimeParts, RuntimeSettings, Versions,
};

/// Repository of the node images built here; the tag is the recipe's hash.
pub const REPOSITORY: &str = "kubenest/node";

/// Disk space that the layers of one node image and the engine's copy of them take at most.
const BUILD_BYTES: u64 = 4 << 30;

/// Label with the recipe's name.
const RECIPE: &str = "dev.kubenest.recipe";
/// Label with the recipe's whole hash.
const HASH: &str = "dev.kubenest.recipe-hash";
/// Label with the versions of the parts, as JSON.
const VERSIONS: &str = "dev.kubenest.versions";

/// A node image that the engine has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct NodeImage {
    /// The name of the image in the engine.
    pub reference: String,
    /// The name of the recipe, or the reference that was asked for.
    pub recipe: String,
    /// The versions of its parts.
    pub versions: Versions,
    /// The runtime of its nodes.
    pub runtime: Runtime,
    /// The settings of the runtime; unknown for a foreign image.
    pub settings: Option<RuntimeSettings>,
}

impl NodeImage {
    /// The node image of a recipe: the engine's own, or else a registry's, or else built now.
    ///
    /// # Errors
    /// A component cannot be fetched or built, or the engine refuses the image.
    pub async fn ensure(docker: &Docker, recipe: &Recipe) -> Result<Self> {
        let name = names::node(recipe, engine::named(docker)?);
        let is_lasting = match &recipe.content {
            Content::Image(image) => foreign::is_lasting(image),
            Content::Parts(_) => true,
        };
        if is_lasting {
            making::note(&name);
        }
        Self::provide(docker, recipe, &name).await
    }

    /// As [`ensure`](Self::ensure), for the recipe that [`default_recipe`] returned.
    ///
    /// # Errors
    /// As [`ensure`](Self::ensure).
    pub async fn ensure_default(docker: &Docker, recipe: &Recipe) -> Result<Self> {
        // The settings may choose another node in the next run, so note the need under the name of
        // the default node.
        let name = names::default_node(engine::named(docker)?);
        making::note(&name);
        Self::provide(docker, recipe, &name).await
    }

    /// Makes sure that the engine has the image; `name` is the need that is noted for it.
    async fn provide(docker: &Docker, recipe: &Recipe, name: &str) -> Result<Self> {
        let made = async {
            match &recipe.content {
                Content::Image(image) => foreign::ensure(docker, recipe, image).await,
                Content::Parts(parts) => own_image(docker, recipe, parts)
                    .await
                    .with_context(|| format!("node image of recipe '{}'", recipe.name)),
            }
        };
        let is_there = docker.image(&Self::reference_of(recipe)).await?.is_some();
        // If a test fills an engine of its own, then that is the test itself, and nothing to
        // prepare.
        if is_there || !engine::is_shared(docker)? {
            return Box::pin(made).await;
        }
        making::unprepared(name, made).await
    }

    /// Describes the image made from a recipe's parts, whether the engine has it or not.
    fn of_parts(recipe: &Recipe, parts: &Parts) -> Self {
        Self {
            reference: format!("{REPOSITORY}:{}", tag(recipe, parts)),
            recipe: recipe.name.clone(),
            versions: parts.versions(),
            runtime: runtime_of(parts),
            settings: Some(parts.settings.clone()),
        }
    }

    /// The image of a running node that others have made, whose parts have these versions.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn of_container(docker: &Docker, name: &str, versions: Versions) -> Result<Self> {
        let about = docker.inspect(name).await?;
        let reference = about["Config"]["Image"].as_str().unwrap_or_default();
        let state = docker.container(name).await?;
        let labels = state.map(|state| state.labels).unwrap_or_default();
        Ok(Self {
            reference: reference.to_owned(),
            recipe: reference.to_owned(),
            versions,
            runtime: Runtime::of_labels(&labels),
            settings: None,
        })
    }

    /// Starts one node of this image outside of any cluster: its init and its container runtime
    /// run, without Kubernetes. The caller has to remove the container.
    ///
    /// # Errors
    /// A container with this name exists, or the node ends at once.
    pub async fn start(&self, docker: &Docker, name: &str) -> Result<Node> {
        let spec = ContainerSpec {
            labels: docker.labels("node").map(),
            network: Some("bridge".into()),
            ..self.machine(name)
        };
        docker.nature().await?.require_nodes_can_run()?;
        docker.run(&spec).await?;
        Node::attach(docker, name, node::Role::Worker).await
    }

    /// A container of this image with the privileges and mounts that a machine has.
    pub fn machine(&self, name: &str) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            image: self.reference.clone(),
            // kind's images require this variable.
            env: vec!["container=docker".into()],
            privileged: true,
            // /var needs a volume, since overlayfs cannot be stacked on the overlayfs of the
            // container.
            volumes: vec!["/var".into()],
            tmpfs: HashMap::from([
                ("/tmp".into(), String::new()),
                ("/run".into(), String::new()),
            ]),
            ..ContainerSpec::default()
        }
    }

    /// The runtime of a recipe's nodes, as far as the recipe says. A whole image is assumed to be
    /// one of kind's until its labels are read.
    pub fn runtime_of(recipe: &Recipe) -> Runtime {
        match &recipe.content {
            Content::Image(_) => Runtime::Containerd,
            Content::Parts(parts) => runtime_of(parts),
        }
    }

    /// The name of a recipe's image in the engine.
    pub fn reference_of(recipe: &Recipe) -> String {
        match &recipe.content {
            Content::Image(image) => image.to_string(),
            Content::Parts(parts) => format!("{REPOSITORY}:{}", tag(recipe, parts)),
        }
    }
}

/// The runtime that these parts contain.
fn runtime_of(parts: &Parts) -> Runtime {
    match parts.runtime {
        RuntimeParts::Containerd { .. } => Runtime::Containerd,
        RuntimeParts::Crio { .. } => Runtime::CriO,
    }
}

async fn own_image(docker: &Docker, recipe: &Recipe, parts: &Parts) -> Result<NodeImage> {
    let image = NodeImage::of_parts(recipe, parts);
    let reference = image.reference.as_str();
    if docker.image(reference).await?.is_some() {
        return Ok(image);
    }
    let lock = docker
        .settings()
        .cache
        .join("locks")
        .join(format!("image-{}.lock", tag(recipe, parts)));
    let _lock = FileLock::exclusive(&lock, &format!("node image {}", recipe.name)).await?;
    if docker.image(reference).await?.is_some() {
        return Ok(image);
    }
    if let Some(registry) = &docker.settings().registry
        && let Some(image) = NodeImage::pull(docker, registry, recipe).await?
    {
        return Ok(image);
    }
    let start = Instant::now();
    progress!("building node image {} ({reference})", recipe.name);
    let build = build(docker, recipe, parts, reference);
    timed(&docker.settings().cache, &names::image(recipe), build).await?;
    progress!(
        "built node image {} in {:.1} s",
        recipe.name,
        start.elapsed().as_secs_f64()
    );
    Ok(image)
}

/// The recipe's hash, together with the hash of the files which make the image a node.
fn tag(recipe: &Recipe, parts: &Parts) -> String {
    sha256_hex(format!("{} {}", recipe.hash(), rootfs::key(parts)).as_bytes())[..32].to_owned()
}

async fn build(docker: &Docker, recipe: &Recipe, parts: &Parts, reference: &str) -> Result<()> {
    let store = Store::of(docker.settings());
    store.require_free(BUILD_BYTES, "building a node image")?;
    let mut layers = base_layers(&store, parts).await?;
    let images = control_plane::images(&store, parts).await?;
    let diff_ids = images.iter().flat_map(|image| {
        image
            .layers
            .iter()
            .map(|layer| layer.diff_id.as_str())
            .chain(image.tags.iter().map(String::as_str))
    });
    let written_by = preload::written_by(parts);
    let preload_key = key(
        "preload",
        diff_ids.chain(written_by.iter().map(String::as_str)),
    );
    let preload = preload::layer(docker, &store, &preload_key, &layers, parts, &images).await?;
    layers.push(preload);
    let mut labels: BTreeMap<String, String> = docker
        .labels(labels::NODE_IMAGE)
        .keep(true)
        .map()
        .into_iter()
        .collect();
    let versions = serde_json::to_string(&parts.versions()).context("name the versions")?;
    labels.insert(RECIPE.into(), recipe.name.clone());
    labels.insert(HASH.into(), recipe.hash());
    labels.insert(VERSIONS.into(), versions);
    labels.insert(RUNTIME.into(), runtime_of(parts).name().into());
    let spec = ImageSpec {
        tags: vec![reference.to_owned()],
        layers,
        labels,
        entrypoint: vec!["/usr/local/bin/entrypoint".into()],
        // The signal that asks systemd to power off.
        stop_signal: "SIGRTMIN+3".into(),
        ..ImageSpec::default()
    };
    spec.load(docker).await
}

async fn base_layers(store: &Store, parts: &Parts) -> Result<Vec<Layer>> {
    let mut layers = Vec::new();
    for part in parts.layered() {
        let built = component::part(store, part).await?;
        let key = format!("{}-{}", part.role.name(), &built.hash[..16]);
        let layer = Layer::cached(store, &key, async |layer| match part.role.is_os() {
            true => layer.archive(&built.rootfs(), |path| Some(path.to_owned())),
            false => layer.tree(&built.files),
        });
        layers.push(layer.await?);
    }
    let key = rootfs::key(parts);
    layers.push(Layer::cached(store, &key, async |layer| rootfs::write(layer, parts)).await?);
    Ok(layers)
}

fn key<'a>(kind: &str, made_of: impl Iterator<Item = &'a str>) -> String {
    let made_of: Vec<&str> = made_of.collect();
    format!(
        "{kind}-{}",
        &sha256_hex(made_of.join("\n").as_bytes())[..16]
    )
}
