//! The layer of images that a node starts with: imported by the node's own containerd
//! and unpacked, so that no boot pays for it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    archive::{ImageSpec, write_archive_file},
    layer::{Layer, LayerWriter},
};
use crate::{
    Context, Error, Result,
    docker::{ContainerSpec, Docker, Labels},
    store::Store,
    wait::{self, Probe},
};

/// The label by which the kubelet's garbage collection knows an image to leave alone.
const PINNED: &str = "io.cri-containerd.pinned=pinned";

/// Where containerd keeps everything, without the leading slash.
const STATE: &str = "var/lib/containerd";

/// The layer of `images` as the containerd of `base` keeps them. `key` names all that
/// the layer depends on.
pub(crate) async fn layer(
    docker: &Docker,
    store: &Store,
    key: &str,
    base: &str,
    images: &[ImageSpec],
) -> Result<Layer> {
    Layer::cached(store, key, async |layer: &mut LayerWriter| {
        let scratch = tempfile::tempdir_in(store.root()).context("make a scratch folder")?;
        let archive = scratch.path().join("images.tar");
        let (specs, path) = (images.to_vec(), archive.clone());
        tokio::task::spawn_blocking(move || write_archive_file(&specs, &path))
            .await
            .context("pack images")??;
        let name = format!("kubenest-preload-{}", std::process::id());
        let state = scratch.path().join("state.tar");
        let imported = import(docker, &name, base, &archive, images, &state).await;
        docker.remove_container(&name).await?;
        imported?;
        layer.archive(&state, moved)
    })
    .await
}

async fn import(
    docker: &Docker,
    name: &str,
    base: &str,
    archive: &Path,
    images: &[ImageSpec],
    state: &Path,
) -> Result<()> {
    let spec = ContainerSpec {
        name: name.to_owned(),
        image: base.to_owned(),
        labels: Labels::new("preload").map(),
        entrypoint: Some(vec!["/usr/local/bin/containerd".into()]),
        privileged: true,
        // Not on the container's own file system: overlayfs does not stack on itself.
        volumes: vec!["/var".into()],
        ..ContainerSpec::default()
    };
    docker.run(&spec).await?;
    wait::until("containerd", Duration::from_secs(60), async || match docker
        .exec(name, &["ctr", "version"], None)
        .await
    {
        Ok(output) if output.status == 0 => Probe::Ready(()),
        Ok(output) => Probe::Pending(output.stderr),
        Err(error) => Probe::Failed(error),
    })
    .await?;
    let file = tokio::fs::File::open(archive)
        .await
        .context("open the images")?;
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
    for tag in images.iter().flat_map(|image| &image.tags) {
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
    docker.stop_container(name, Duration::from_secs(30)).await?;
    docker
        .get_archive(name, &format!("/{STATE}"), state)
        .await
        .map_err(|error| {
            Error::setup("cannot take the imported images out of containerd").because(error)
        })
}

/// Where an entry of containerd's state goes in the layer. What belongs to one running
/// daemon only is left out.
fn moved(path: &Path) -> Option<PathBuf> {
    let inside = path.strip_prefix("containerd").ok()?;
    let own = [
        "tmpmounts",
        "io.containerd.grpc.v1.introspection",
        "io.containerd.runtime.v2.task",
    ];
    if own.iter().any(|name| inside.starts_with(name)) {
        return None;
    }
    Some(Path::new(STATE).join(inside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_daemons_own_state_is_left_out() {
        assert_eq!(
            moved(Path::new(
                "containerd/io.containerd.content.v1.content/blobs"
            )),
            Some(PathBuf::from(
                "var/lib/containerd/io.containerd.content.v1.content/blobs"
            ))
        );
        assert_eq!(
            moved(Path::new(
                "containerd/io.containerd.grpc.v1.introspection/uuid"
            )),
            None
        );
        assert_eq!(moved(Path::new("etc/passwd")), None);
    }
}
