//! Loads images into nodes. Only the blobs that a node lacks are sent; the image is unpacked where
//! CRI looks for it, and pinned.
//!
//! A load never asks containerd for its configuration: it uses the snapshotter that CRI reports.
//! Everything is written under a lease that expires, and the name comes last. So a load that dies
//! in the middle is never visible, and its blobs are removed with the lease.
//!
//! A layer is sent unless the node has its blob or has it unpacked already. Pods then have what
//! they need, but `ctr images export` of such an image may miss layers that the node never had as
//! blobs.

mod content;
mod crio;
mod deliver;
mod engine;
mod export;
mod files;
mod layerdb;
mod layout;
mod manifest;
mod pin;
mod protect;
mod reference;
mod saved;
mod source;
mod target;
mod watch;

use std::{fmt, sync::Arc, time::Instant};

use futures::future::try_join_all;
use serde::Serialize;

use self::{
    deliver::mib,
    files::{Archive, Files, Folder},
    protect::Daemon,
    reference::Reference,
    source::{Place, Saved},
    target::Target,
};
pub use self::{pin::Pin, protect::Protection, source::ImageSource};
use kubenest_base::{Context, Error, Result, progress};
use kubenest_docker::Docker;
use kubenest_node::node::{Node, Runtime, containerd::Platform};

/// The images of some nodes.
#[derive(Debug, Clone, Copy)]
pub struct Images<'a> {
    docker: &'a Docker,
    nodes: &'a [Node],
    protection: Option<&'a Protection>,
}

/// What a load did.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Load {
    /// The images' names, as CRI spells them.
    pub names: Vec<String>,
    /// The load of each node.
    pub nodes: Vec<NodeLoad>,
    /// How long all of it took.
    pub seconds: f64,
}

/// What a load did to one node.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeLoad {
    /// The node's name.
    pub node: String,
    /// Bytes of the blobs sent.
    pub sent_bytes: u64,
    /// How many blobs (manifest, configuration, layers) were sent.
    pub sent_blobs: usize,
    /// How many blobs were not sent, because the node has them or has them unpacked.
    pub skipped_blobs: usize,
    /// How long it took.
    pub seconds: f64,
    /// Whether the kubelet's garbage collection leaves the image alone.
    pub pin: Pin,
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names.join("\n"))?;
        self.nodes
            .iter()
            .try_for_each(|load| write!(f, "\n  {load}"))
    }
}

impl fmt::Display for NodeLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}  {} in {:.2} s, {} of {} blobs sent, {}",
            self.node,
            mib(self.sent_bytes),
            self.seconds,
            self.sent_blobs,
            self.sent_blobs + self.skipped_blobs,
            self.pin
        )
    }
}

impl<'a> Images<'a> {
    /// The images of these nodes of an engine.
    pub fn of(docker: &'a Docker, nodes: &'a [Node]) -> Self {
        Self {
            docker,
            nodes,
            protection: None,
        }
    }

    /// Adds protection: a test during which a loaded image disappears fails.
    pub fn with_protection(self, protection: &'a Protection) -> Self {
        Self {
            protection: Some(protection),
            ..self
        }
    }

    /// Loads images into every node, and pins them. Each node is sent only what it lacks; the
    /// source is read once for all nodes. The images of a cluster are then
    /// [protected](Self::protect).
    ///
    /// # Errors
    /// There is no such image, it is not complete or for another platform, or a node cannot take
    /// it. The images that a node had before are unchanged.
    pub async fn load(&self, source: impl Into<ImageSource>) -> Result<Load> {
        let begun = Instant::now();
        let ImageSource { place, name } = source.into();
        let name = name.map(|name| Reference::parse(&name)).transpose()?;
        let is_crio = |node: &Node| node.runtime() == Runtime::CriO;
        let mut loaded = match self.nodes.iter().any(is_crio) {
            true => self.load_into_crio(place, name.as_ref()).await?,
            false => self.load_into_containerd(place, name.as_ref()).await?,
        };
        if let Some(protection) = self.protection {
            for load in &mut loaded.nodes {
                load.pin = protection.worth(load.pin);
            }
        }
        let weak = loaded.nodes.iter().find(|load| load.pin != Pin::Held);
        if let Some(NodeLoad { node, pin, .. }) = weak {
            let who = match pin {
                Pin::Ignored => "containerd",
                _ => "the kubelet",
            };
            progress!(
                "{who} of node '{node}' ignores pins: only the kubelet's settings keep images"
            );
        }
        loaded.seconds = begun.elapsed().as_secs_f64();
        let sent: u64 = loaded.nodes.iter().map(|node| node.sent_bytes).sum();
        progress!(
            "loaded {} into {}: {} sent in {:.1} s",
            loaded.names.join(", "),
            deliver::count(self.nodes.len(), "node"),
            deliver::mib(sent),
            loaded.seconds
        );
        Ok(loaded)
    }

    async fn load_into_containerd(&self, place: Place, name: Option<&Reference>) -> Result<Load> {
        let targets = try_join_all(self.nodes.iter().map(Target::open)).await?;
        let platform = targets.first().map(|target| target.platform.clone());
        let platform = platform.ok_or_else(no_node)?;
        self.pull_from_registry(&place).await?;
        let loaded = match place {
            Place::Engine(reference) | Place::Registry(reference) => {
                engine::load(self.docker, &targets, &reference, name).await?
            }
            Place::Files(saved) => {
                let (images, layers) = self.read_files(saved, &platform, name).await?;
                deliver_all(&targets, images, layers).await?
            }
        };
        if let Some(protection) = self.protection {
            let noted = targets
                .iter()
                .map(|target| protection.protect_load(&target.node, &target.cri, &loaded.names));
            try_join_all(noted).await?;
        }
        Ok(loaded)
    }

    async fn load_into_crio(&self, place: Place, name: Option<&Reference>) -> Result<Load> {
        let stores = try_join_all(self.nodes.iter().map(crio::Store::open)).await?;
        let first = stores.first().ok_or_else(no_node)?;
        let platform = first.platform().await?;
        self.pull_from_registry(&place).await?;
        let (images, layers) = match place {
            Place::Engine(reference) | Place::Registry(reference) => {
                let found = engine::image_with_layers(self.docker, &platform, &reference, name);
                let (image, layers) = found.await?;
                (vec![image], layers)
            }
            Place::Files(saved) => self.read_files(saved, &platform, name).await?,
        };
        let loaded = crio::load(&stores, &images, &layers).await?;
        if let Some(protection) = self.protection {
            let noted = stores
                .iter()
                .map(|store| protection.protect_load(store.node(), &store.cri, &loaded.names));
            try_join_all(noted).await?;
        }
        Ok(loaded)
    }

    /// Has the engine pull an image that is a registry's.
    async fn pull_from_registry(&self, place: &Place) -> Result<()> {
        let Place::Registry(reference) = place else {
            return Ok(());
        };
        if Reference::parse(reference)?.digest().is_none() {
            return Err(Error::input(format!(
                "'{reference}' may be another image tomorrow: it has no digest"
            ))
            .cure("name it by digest, as name@sha256:…"));
        }
        if self.docker.image(reference).await?.is_none() {
            progress!("pulling {reference}");
            self.docker.pull(reference).await?;
        }
        Ok(())
    }

    /// The images of an archive or a folder.
    async fn read_files(
        &self,
        saved: Saved,
        platform: &Platform,
        name: Option<&Reference>,
    ) -> Result<(Vec<manifest::Image>, Arc<dyn saved::Layers>)> {
        let (scratch, platform) = (self.docker.settings().cache.clone(), platform.clone());
        let read = tokio::task::spawn_blocking(move || {
            let files: Box<dyn Files> = match saved {
                Saved::Archive(path) => Box::new(Archive::open(&path, &scratch)?),
                Saved::Layout(path) => Box::new(Folder(path)),
            };
            saved::read(files, &platform)
        });
        let (mut images, saved) = read.await.context("read images")??;
        name_all(&mut images, name, &saved::Layers::place(&saved))?;
        Ok((images, Arc::new(saved)))
    }

    /// Pins an image on every node that has it. In a cluster it is also protected: a test during
    /// which the image disappears from a node fails, and a lost pin is put back. Loaded images are
    /// protected already, and so are pinned images that the nodes came with.
    ///
    /// # Errors
    /// No node has it.
    pub async fn protect(&self, name: &str) -> Result<Pin> {
        let name = Reference::parse(name)?.to_string();
        let pin = async |daemon: &Daemon, id: &str| {
            let pin = daemon.pin(&name).await?;
            if let Some(protection) = self.protection {
                protection.note(daemon.node(), &name, id);
            }
            Ok(pin)
        };
        let pins = self.on_nodes_with(&name, pin).await?;
        let pin = pins.into_iter().max().ok_or_else(|| {
            Error::not_found(format!("no node has image '{name}'"))
                .cure("load it first: cluster.images().load(…)")
        })?;
        let worth = |protection: &Protection| protection.worth(pin);
        Ok(self.protection.map_or(pin, worth))
    }

    /// Removes an image's pins and ends its protection, for a test that removes the image on
    /// purpose or has it garbage-collected. Another name of the same image keeps its own pin, and
    /// so the image.
    ///
    /// # Errors
    /// A node does not answer.
    pub async fn release(&self, name: &str) -> Result<()> {
        let name = Reference::parse(name)?.to_string();
        if let Some(protection) = self.protection {
            protection.forget(&name).await;
        }
        let unpin = async |daemon: &Daemon, _: &str| daemon.unpin(&name).await;
        self.on_nodes_with(&name, unpin).await?;
        Ok(())
    }

    /// The names of a cluster's protected images, as CRI spells them.
    pub fn protected(&self) -> Vec<String> {
        self.protection.map(Protection::names).unwrap_or_default()
    }

    async fn on_nodes_with<T>(
        &self,
        name: &str,
        act: impl AsyncFn(&Daemon, &str) -> Result<T>,
    ) -> Result<Vec<T>> {
        let acts = self.nodes.iter().map(async |node| {
            let daemon = Daemon::open(node).await?;
            match daemon.image(name).await? {
                Some(image) => act(&daemon, &image.id).await.map(Some),
                None => Ok(None),
            }
        });
        Ok(try_join_all(acts).await?.into_iter().flatten().collect())
    }
}

impl Load {
    fn new(names: &[String], nodes: Vec<NodeLoad>) -> Self {
        Self {
            names: names.to_vec(),
            nodes,
            seconds: 0.0,
        }
    }

    /// Adds what another image of the same load did.
    fn and(mut self, other: Self) -> Self {
        self.names.extend(other.names);
        for (node, more) in self.nodes.iter_mut().zip(other.nodes) {
            node.sent_bytes += more.sent_bytes;
            node.sent_blobs += more.sent_blobs;
            node.skipped_blobs += more.skipped_blobs;
            node.seconds += more.seconds;
        }
        self
    }
}

fn no_node() -> Error {
    Error::input("there is no node to load an image into")
}

/// Loads every image of some files.
async fn deliver_all(
    targets: &[Target],
    images: Vec<manifest::Image>,
    saved: Arc<dyn saved::Layers>,
) -> Result<Load> {
    // All images are loaded or none, so each is checked before the first is written.
    for image in &images {
        deliver::check(targets, image, &saved).await?;
    }
    let mut loads = Loads::default();
    for image in images {
        loads.add(deliver::load(targets, image, Arc::clone(&saved)).await)?;
    }
    loads.sum(&saved.place())
}

/// The loads of images that are loaded one after another.
#[derive(Default)]
struct Loads(Option<Load>);

impl Loads {
    /// Adds the next one. If it has failed, the error says which images are loaded already.
    fn add(&mut self, next: Result<Load>) -> Result<()> {
        self.0 = Some(match self.0.take() {
            Some(all) => {
                let before = || format!("'{}' is loaded; then", all.names.join("', '"));
                let next = next.with_context(before)?;
                all.and(next)
            }
            None => next?,
        });
        Ok(())
    }

    /// All of them as one load; there have to be some in this place.
    fn sum(self, place: &str) -> Result<Load> {
        let none = || Error::input(format!("{place} has no image"));
        self.0.ok_or_else(none)
    }
}

/// Gives a single image its name, or checks that all images have names.
fn name_all(images: &mut [manifest::Image], name: Option<&Reference>, place: &str) -> Result<()> {
    let count = images.len();
    if let Some(name) = name {
        let [image] = images else {
            let what = format!("{place} has {count} images, which cannot all be '{name}'");
            return Err(Error::input(what).cure("save the one that is meant alone"));
        };
        image.names = vec![name.to_string()];
    }
    let Some(unnamed) = images.iter().find(|image| image.names.is_empty()) else {
        return Ok(());
    };
    let what = match count {
        1 => format!("the image of {place} has no name"),
        _ => {
            let id = &unnamed.config.blob.digest;
            format!("one of the {count} images of {place} has no name: {id}")
        }
    };
    Err(Error::input(what).cure(match count {
        1 => "give it one that pods can use: ImageSource::with_name(\"name:tag\"), or --name name:tag",
        _ => "save it by a name that pods can use, or alone",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only if images can be loaded by a task of its own.
    #[test]
    fn a_load_can_be_spawned() {
        fn sendable(_: impl Send) {}
        let _ = |images: Images<'_>| sendable(images.load("a"));
    }

    #[test]
    fn a_load_is_told_node_by_node() {
        let node = |node: &str, sent_bytes, sent_blobs, pin| NodeLoad {
            node: node.into(),
            sent_bytes,
            sent_blobs,
            skipped_blobs: 5 - sent_blobs,
            seconds: 0.25,
            pin,
        };
        let loaded = Load {
            names: vec!["docker.io/library/app:dev".into()],
            nodes: vec![
                node("kind-control-plane", 3 << 20, 2, Pin::Held),
                node("kind-worker", 0, 0, Pin::Ignored),
            ],
            seconds: 0.3,
        };
        insta::assert_snapshot!(loaded.to_string(), @"
        docker.io/library/app:dev
          kind-control-plane  3.0 MiB in 0.25 s, 2 of 5 blobs sent, pinned
          kind-worker  0.0 MiB in 0.25 s, 0 of 5 blobs sent, not pinned: this containerd ignores pins
        ");
    }
}
