//! The layer of images that a node starts with: unpacked into the store of the node's own
//! runtime, so that no boot pays for it.
//!
//! containerd imports them itself. CRI-O cannot; skopeo fills its store, in the same format.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    archive::{ImageSpec, write_archive_file},
    layer::{Layer, LayerWriter},
    runtime_of,
};
use kubenest_base::{
    Context, Result, random,
    store::Store,
    wait::{self, Probe},
};
use kubenest_docker::{ContainerSpec, Docker};
use kubenest_node::node::Runtime;
use kubenest_recipe::recipe::{Parts, RuntimeParts};

/// The label by which the kubelet's garbage collection knows an image to leave alone.
const PINNED: &str = "io.cri-containerd.pinned=pinned";

/// What decides, beside the images, what the layer holds: who writes it.
pub(crate) fn written_by(parts: &Parts) -> [String; 2] {
    match &parts.runtime {
        RuntimeParts::Containerd { daemon, .. } => {
            [daemon.source.hash(), parts.settings.snapshotter.clone()]
        }
        RuntimeParts::Crio { .. } => [parts.os.source.hash(), "skopeo".to_owned()],
    }
}

/// The layer of `images` as the runtime of the image of the layers below, `base`, keeps them.
/// `key` names all that the layer depends on.
pub(crate) async fn layer(
    docker: &Docker,
    store: &Store,
    key: &str,
    base: &[Layer],
    parts: &Parts,
    images: &[ImageSpec],
) -> Result<Layer> {
    Layer::cached(store, key, async |layer: &mut LayerWriter| {
        let base = Base::load(docker, base).await?;
        let filled = fill_layer(docker, key, &base.reference, parts, images, layer).await;
        base.remove(docker).await;
        filled
    })
    .await
}

async fn fill_layer(
    docker: &Docker,
    key: &str,
    base: &str,
    parts: &Parts,
    images: &[ImageSpec],
    layer: &mut LayerWriter,
) -> Result<()> {
    let scratch = layer.scratch()?;
    let archive = scratch.path().join("images.tar");
    let (specs, path) = (images.to_vec(), archive.clone());
    tokio::task::spawn_blocking(move || write_archive_file(&specs, &path))
        .await
        .context("pack images")??;
    // Others may be making the same layer on this engine, for a cache of their own.
    let name = format!("kubenest-{key}-{}", random::hex(8));
    let state = scratch.path().join("state.tar");
    let runtime = runtime_of(parts);
    let filled = fill(docker, &name, base, runtime, &archive, images).await;
    let taken = match filled {
        Ok(()) => {
            docker
                .get_archive(&name, runtime.images_folder(), &state)
                .await
        }
        Err(error) => Err(error),
    };
    let removed = docker.remove_container(&name).await;
    taken.context("take the images out of the runtime's store")?;
    removed?;
    layer.archive(&state, |path| moved(runtime, path))
}

/// The image of the layers below, in the engine for as long as a layer upon it is made.
struct Base {
    reference: String,
}

impl Base {
    /// Loads it under a name that nobody else has: others may build upon the same layers.
    async fn load(docker: &Docker, layers: &[Layer]) -> Result<Self> {
        let reference = format!("kubenest/base:{}", random::hex(8));
        let spec = ImageSpec {
            tags: vec![reference.clone()],
            layers: layers.to_vec(),
            labels: docker.labels("base-image").map().into_iter().collect(),
            ..ImageSpec::default()
        };
        spec.load(docker).await?;
        Ok(Self { reference })
    }

    /// Removes it. Trouble with that does not make the layer a worse one; a sweep will.
    async fn remove(self, docker: &Docker) {
        if let Err(error) = docker.remove_image(&self.reference).await {
            tracing::warn!("{}", error.report());
        }
    }
}

async fn fill(
    docker: &Docker,
    name: &str,
    base: &str,
    runtime: Runtime,
    archive: &Path,
    images: &[ImageSpec],
) -> Result<()> {
    let entrypoint = match runtime {
        Runtime::Containerd => vec!["/usr/local/bin/containerd".into()],
        // Something has to run in which skopeo is started.
        Runtime::CriO => ["/bin/sleep", "infinity"].map(str::to_owned).to_vec(),
    };
    let spec = ContainerSpec {
        name: name.to_owned(),
        image: base.to_owned(),
        labels: docker.labels("preload").map(),
        entrypoint: Some(entrypoint),
        privileged: true,
        // Not on the container's own file system: overlayfs does not stack on itself.
        volumes: vec!["/var".into()],
        ..ContainerSpec::default()
    };
    docker.run(&spec).await?;
    let file = tokio::fs::File::open(archive)
        .await
        .context("open the images")?;
    let tags = images.iter().flat_map(|image| &image.tags);
    match runtime {
        Runtime::Containerd => import(docker, name, file, tags).await,
        Runtime::CriO => copy(docker, name, file, tags).await,
    }
}

async fn import(
    docker: &Docker,
    name: &str,
    file: tokio::fs::File,
    tags: impl Iterator<Item = &String>,
) -> Result<()> {
    wait::until("containerd", Duration::from_secs(60), async || match docker
        .exec(name, &["ctr", "version"], None)
        .await
    {
        Ok(output) if output.status == 0 => Probe::Ready(()),
        Ok(output) => Probe::Pending(output.stderr),
        Err(error) => Probe::Failed(error),
    })
    .await?;
    let import = [
        "ctr",
        "--namespace",
        "k8s.io",
        "images",
        "import",
        "--digests",
        "-",
    ];
    docker
        .exec_reading(name, &import, Some(file))
        .await?
        .demand(name, &import)?;
    for tag in tags {
        let pin = [
            "ctr",
            "--namespace",
            "k8s.io",
            "images",
            "label",
            tag,
            PINNED,
        ];
        docker.exec_ok(name, &pin, None).await?;
    }
    // Ended in peace, so that its database is whole.
    docker.stop_container(name, Duration::from_secs(30)).await
}

async fn copy(
    docker: &Docker,
    name: &str,
    file: tokio::fs::File,
    tags: impl Iterator<Item = &String>,
) -> Result<()> {
    // skopeo goes back and forth in an archive, which no stream lets it.
    let write = ["dd", "of=/var/tmp/images.tar", "bs=1M", "status=none"];
    docker
        .exec_reading(name, &write, Some(file))
        .await?
        .demand(name, &write)?;
    for tag in tags {
        let from = format!("docker-archive:/var/tmp/images.tar:{tag}");
        let to = format!("containers-storage:{tag}");
        let copy = ["skopeo", "copy", "--quiet", &from, &to];
        docker.exec_ok(name, &copy, None).await?;
    }
    Ok(())
}

/// Where an entry of the runtime's state goes in the layer. What belongs to one running
/// daemon only is left out.
fn moved(runtime: Runtime, path: &Path) -> Option<PathBuf> {
    let state = Path::new(runtime.images_folder());
    let inside = path.strip_prefix(state.file_name()?).ok()?;
    let own = [
        "tmpmounts",
        "io.containerd.grpc.v1.introspection",
        "io.containerd.runtime.v2.task",
    ];
    if own.iter().any(|name| inside.starts_with(name)) {
        return None;
    }
    Some(state.strip_prefix("/").ok()?.join(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemons_own_state_is_left_out() {
        let moved = |runtime, path: &str| moved(runtime, Path::new(path));
        let blobs = "io.containerd.content.v1.content/blobs";
        assert_eq!(
            moved(Runtime::Containerd, &format!("containerd/{blobs}")),
            Some(Path::new("var/lib/containerd").join(blobs))
        );
        let own = "containerd/io.containerd.grpc.v1.introspection/uuid";
        assert_eq!(moved(Runtime::Containerd, own), None);
        assert_eq!(moved(Runtime::Containerd, "etc/passwd"), None);
        let layers = "containers/storage/overlay-layers/layers.json";
        let placed = Path::new("var/lib").join(layers);
        assert_eq!(moved(Runtime::CriO, layers), Some(placed));
    }
}
