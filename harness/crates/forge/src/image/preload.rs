//! The layer of the images that a node starts with. They are unpacked into the store of the node's
//! runtime in advance, so that no boot has to do that.
//!
//! containerd imports the images itself. CRI-O cannot, so skopeo fills its store, which has the
//! same format.

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

/// The label that makes the kubelet's garbage collection leave an image alone.
const PINNED: &str = "io.cri-containerd.pinned=pinned";

/// The program that writes the layer, which decides its content together with the images.
pub(crate) fn written_by(parts: &Parts) -> [String; 2] {
    match &parts.runtime {
        RuntimeParts::Containerd { daemon, .. } => {
            [daemon.source.hash(), parts.settings.snapshotter.clone()]
        }
        RuntimeParts::Crio { .. } => [parts.os.source.hash(), "skopeo".to_owned()],
    }
}

/// The layer with `images` in the store format of the runtime in `base`, the image of the layers
/// below. `key` names everything that the layer depends on.
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
    // Another process may be making the same layer on this engine for its own cache.
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
    layer.archive(&state, |path| layer_path(runtime, path))
}

/// The image of the layers below, which the engine has only while a layer on top of it is made.
struct Base {
    reference: String,
}

impl Base {
    /// Loads the image under a name that nobody else uses: others may build on the same layers.
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

    /// Removes the image. An error is ignored, since the new layer is good anyway and a sweep
    /// removes the image later.
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
        // The container needs a process of its own, so that skopeo can be started in it.
        Runtime::CriO => ["/bin/sleep", "infinity"].map(str::to_owned).to_vec(),
    };
    let spec = ContainerSpec {
        name: name.to_owned(),
        image: base.to_owned(),
        labels: docker.labels("preload").map(),
        entrypoint: Some(entrypoint),
        privileged: true,
        // /var needs a volume, since overlayfs cannot be stacked on the overlayfs of the container.
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
    // The daemon ends in an orderly way, so that its database is complete.
    docker.stop_container(name, Duration::from_secs(30)).await
}

async fn copy(
    docker: &Docker,
    name: &str,
    file: tokio::fs::File,
    tags: impl Iterator<Item = &String>,
) -> Result<()> {
    // skopeo seeks in an archive, which is impossible in a stream, so write a file first.
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

/// The path in the layer for an entry of the runtime's state; `None` for what belongs only to one
/// running daemon.
fn layer_path(runtime: Runtime, path: &Path) -> Option<PathBuf> {
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
        let moved = |runtime, path: &str| layer_path(runtime, Path::new(path));
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
