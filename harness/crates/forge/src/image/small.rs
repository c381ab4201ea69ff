//! A small image with content of its own, for tests that load images.

use std::path::Path;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::{
    archive::{ImageSpec, write_archive},
    layer::Layer,
};
use crate::component;
use kubenest_base::digest::sha256_hex;
use kubenest_base::{Error, Result, store::Store};
use kubenest_docker::{Docker, FileEntry};
use kubenest_recipe::recipe::{Content, Recipe};

/// The recipe whose userland provides the program.
const DONOR: &str = "v1.32.1-containerd-2.0.2";

/// Path of the mark in the image.
const MARK: &str = "/mark";

/// An image of one program (busybox) and a text, in the engine.
///
/// Its content is unique, because an image that shares its id with another one is in use as long as
/// the other one is.
#[derive(Debug)]
pub struct SmallImage {
    docker: Docker,
    reference: String,
    mark: String,
}

impl SmallImage {
    /// Makes the image and loads it into the engine under a name derived from its content.
    ///
    /// # Errors
    /// The program cannot be fetched, or the engine refuses the image.
    pub async fn load(docker: &Docker, mark: &str) -> Result<Self> {
        let store = Store::of(docker.settings());
        let busybox = busybox(&store).await?;
        let text = mark_layer(&store, mark).await?;
        let hash = hash(mark);
        let reference = format!("kubenest.local/small:{hash}");
        let spec = ImageSpec {
            tags: vec![reference.clone()],
            layers: vec![busybox, text],
            labels: docker.labels("small-image").map().into_iter().collect(),
            entrypoint: vec!["/bin/busybox".into()],
            ..ImageSpec::default()
        };
        spec.load(docker).await?;
        Ok(Self {
            docker: docker.clone(),
            reference,
            mark: mark.to_owned(),
        })
    }

    /// The image's name.
    pub fn reference(&self) -> &str {
        &self.reference
    }

    /// The text in the image.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// A command that prints the mark as a line and then keeps running, for a pod with this image.
    pub fn command(&self) -> Vec<String> {
        let show = format!("/bin/busybox cat {MARK} && exec /bin/busybox sleep 3600");
        ["/bin/busybox", "sh", "-c", &show]
            .map(str::to_owned)
            .to_vec()
    }

    /// A pod that runs the [`command`](Self::command) of an image with this name. The image may be
    /// built on top of this one. The pod never pulls, since no registry has the image.
    pub fn pod(&self, name: &str, image: &str) -> Pod {
        let mut pod = Pod::default();
        pod.metadata.name = Some(name.to_owned());
        pod.spec = Some(PodSpec {
            containers: vec![Container {
                name: "small".into(),
                image: Some(image.to_owned()),
                image_pull_policy: Some("Never".into()),
                command: Some(self.command()),
                ..Container::default()
            }],
            termination_grace_period_seconds: Some(0),
            ..PodSpec::default()
        });
        pod
    }

    /// Removes the image from the engine; nodes keep their copies.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn remove(self) -> Result<()> {
        self.docker.remove_image(&self.reference).await
    }
}

/// The smallest image that can be imported, as a docker-archive: a text without a program, with an
/// id that no other reference has.
pub async fn tiny_archive(store: &Store, reference: &str) -> Result<Vec<u8>> {
    let spec = ImageSpec {
        tags: vec![reference.to_owned()],
        layers: vec![mark_layer(store, "tiny").await?],
        labels: [("dev.kubenest.name".to_owned(), reference.to_owned())].into(),
        ..ImageSpec::default()
    };
    let mut archive = Vec::new();
    write_archive(&[spec], &mut archive)?;
    Ok(archive)
}

/// The layer with the mark.
async fn mark_layer(store: &Store, mark: &str) -> Result<Layer> {
    let file = FileEntry::new(MARK, format!("{mark}\n"));
    let key = format!("mark-line-{}", hash(mark));
    Layer::cached(store, &key, async |layer| layer.file(&file)).await
}

fn hash(mark: &str) -> String {
    sha256_hex(mark.as_bytes())[..16].to_owned()
}

pub(super) async fn busybox(store: &Store) -> Result<Layer> {
    let Content::Parts(parts) = Recipe::named(DONOR)?.content else {
        return Err(Error::input(format!("recipe '{DONOR}' has no parts")));
    };
    let userland = component::provide(store, &parts.proxy_os).await?;
    let key = format!("busybox-{}", &userland.hash[..16]);
    Layer::cached(store, &key, async |layer| {
        layer.archive(&userland.rootfs(), |path| {
            let name = path.strip_prefix(".").unwrap_or(path);
            let wanted = [Path::new("bin/busybox"), Path::new("usr/bin/busybox")];
            wanted
                .contains(&name)
                .then(|| Path::new("bin/busybox").to_owned())
        })
    })
    .await
}
