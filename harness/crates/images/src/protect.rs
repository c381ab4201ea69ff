//! Images that have to stay in the nodes: they are pinned, and their loss is noticed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::try_join_all;
use tokio::sync::RwLock;

use super::pin::{Pin, Pins, kubelet_heeds_pins};
use kubenest_base::{
    Error, Result, progress,
    wait::{self, Probe},
};
use kubenest_node::node::{
    Node,
    cri::{self, Cri},
};

/// The cure where something other than a kubelet removed an image.
pub(super) const REMOVERS: &str = "look for who calls `crictl rmi`, `ctr images rm` or RemoveImage";

/// How long CRI may take to see a changed label.
const SEEN: Duration = Duration::from_secs(30);

/// The images that have to stay in the nodes of a cluster.
#[derive(Debug)]
pub struct Protection {
    /// Whether the kubelet respects pins; if not, only its settings keep an image.
    kubelet_heeds_pins: bool,
    state: Mutex<State>,
    /// Checks share this lock and a release takes it alone. Otherwise a check could pin an image
    /// again that a release has just given up.
    looking: RwLock<()>,
}

#[derive(Debug, Default)]
struct State {
    /// As CRI spells them.
    names: BTreeSet<String>,
    /// Ids of images by node and name, as last seen.
    seen: BTreeMap<(String, String), String>,
}

/// A protected image that a node had and has lost.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Loss {
    pub(super) image: String,
    pub(super) id: String,
}

/// The part of a node's runtime that protection needs.
#[derive(Debug)]
pub(super) struct Daemon {
    node: String,
    cri: Cri,
    pins: Pins,
}

impl Protection {
    /// Protection for nodes whose kubelets are of this version. An unknown version counts as new.
    pub fn new(kubernetes: &str) -> Self {
        Self {
            kubelet_heeds_pins: kubelet_heeds_pins(kubernetes),
            state: Mutex::default(),
            looking: RwLock::default(),
        }
    }

    /// Protects the images that the nodes have pinned already, because the nodes came with them.
    pub async fn adopt(&self, nodes: &[Node]) -> Result<()> {
        self.adopt_if(nodes, |image, _| image.pinned).await
    }

    /// As [`adopt`](Self::adopt), for the images of these names: another process may have loaded
    /// more, and may let go of them.
    pub async fn adopt_named(&self, nodes: &[Node], known: &[String]) -> Result<()> {
        self.adopt_if(nodes, |_, name| known.iter().any(|known| known == name))
            .await
    }

    async fn adopt_if(
        &self,
        nodes: &[Node],
        is_wanted: impl Fn(&cri::Image, &str) -> bool,
    ) -> Result<()> {
        let found = nodes.iter().map(async |node| {
            let images = node.cri().await?.images().await?;
            for image in &images {
                for name in names(image).filter(|name| is_wanted(image, name)) {
                    self.note(node.name(), name, &image.id);
                }
            }
            Result::Ok(())
        });
        try_join_all(found).await?;
        Ok(())
    }

    /// Protection of the images of these names alone, as they were last seen.
    pub fn subset(&self, names: &[String]) -> Self {
        let is_wanted = |name: &String| names.contains(name);
        let state = self.state();
        let seen = state.seen.iter().filter(|((_, name), _)| is_wanted(name));
        let chosen = State {
            names: state
                .names
                .iter()
                .filter(|name| is_wanted(name))
                .cloned()
                .collect(),
            seen: seen.map(|(at, id)| (at.clone(), id.clone())).collect(),
        };
        Self {
            kubelet_heeds_pins: self.kubelet_heeds_pins,
            state: Mutex::new(chosen),
            looking: RwLock::default(),
        }
    }

    /// The protected images' names.
    pub fn names(&self) -> Vec<String> {
        self.state().names.iter().cloned().collect()
    }

    /// Protects images that a load has just given to a node, by the ids that CRI has for them now.
    /// Every later change of them is noticed.
    ///
    /// # Errors
    /// An image is gone already, or the node does not answer.
    pub(super) async fn protect_load(&self, node: &str, cri: &Cri, names: &[String]) -> Result<()> {
        for name in names {
            let Some(image) = cri.image(name).await? else {
                return Err(Error::refused(format!(
                    "image '{name}' is gone from node '{node}' right after it was loaded"
                ))
                .cure(REMOVERS));
            };
            self.note(node, name, &image.id);
        }
        Ok(())
    }

    /// Corrects a pin that the daemon reports: a pin that the kubelet ignores is only overlooked.
    pub(super) fn worth(&self, pin: Pin) -> Pin {
        match pin {
            Pin::Held if !self.kubelet_heeds_pins => Pin::Overlooked,
            pin => pin,
        }
    }

    /// Ends the protection of an image.
    pub(super) async fn forget(&self, name: &str) {
        let _no_look = self.looking.write().await;
        let mut state = self.state();
        state.names.remove(name);
        state.seen.retain(|(_, seen), _| seen != name);
    }

    /// Checks a node once: puts back lost pins, and reports a lost image.
    pub(super) async fn look(&self, daemon: &Daemon) -> Result<Option<Loss>> {
        let _looking = self.looking.read().await;
        let images = daemon.cri.images().await?;
        let there: HashMap<&str, &cri::Image> = images
            .iter()
            .flat_map(|image| names(image).map(move |name| (name, image)))
            .collect();
        for name in self.names() {
            let Some(image) = there.get(name.as_str()) else {
                // A name that is being moved to another image may be in no list for a moment.
                match self.seen_as(&daemon.node, &name) {
                    Some(id) if daemon.cri.image(&name).await?.is_none() => {
                        return Ok(Some(Loss { image: name, id }));
                    }
                    _ => continue,
                }
            };
            self.note(&daemon.node, &name, &image.id);
            if daemon.pins.heeded() && !image.pinned {
                if let Err(error) = daemon.pin(&name).await {
                    // The image may have disappeared since the list was made.
                    let id = image.id.clone();
                    return match daemon.image(&name).await? {
                        None => Ok(Some(Loss { image: name, id })),
                        Some(_) => Err(error),
                    };
                }
                progress!(
                    "pinned '{name}' on node '{}' again: something had taken its pin",
                    daemon.node
                );
            }
        }
        Ok(None)
    }

    /// Protects an image that a node has with this id: from now on its loss there is noticed.
    pub(super) fn note(&self, node: &str, name: &str, id: &str) {
        let mut state = self.state();
        state.names.insert(name.to_owned());
        let key = (node.to_owned(), name.to_owned());
        state.seen.insert(key, id.to_owned());
    }

    fn seen_as(&self, node: &str, name: &str) -> Option<String> {
        let key = (node.to_owned(), name.to_owned());
        self.state().seen.get(&key).cloned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every method fails when the node's runtime does not answer or refuses.
impl Daemon {
    pub(super) async fn open(node: &Node) -> Result<Self> {
        let (pins, cri) = tokio::try_join!(Pins::open(node), node.cri())?;
        Ok(Self {
            node: node.name().to_owned(),
            cri,
            pins,
        })
    }

    /// The node's name.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// The image of this name, if the node has it.
    pub(super) async fn image(&self, name: &str) -> Result<Option<cri::Image>> {
        self.cri.image(name).await
    }

    /// Pins an image and verifies the pin over CRI.
    pub(super) async fn pin(&self, name: &str) -> Result<Pin> {
        self.set(name, true, true).await
    }

    /// Removes an image's pin and verifies that over CRI. Another name of the same image may have
    /// its own pin; CRI then still reports the image as pinned.
    pub(super) async fn unpin(&self, name: &str) -> Result<Pin> {
        let others = self.pinned_by_others(name).await?;
        self.set(name, false, others).await
    }

    async fn pinned_by_others(&self, name: &str) -> Result<bool> {
        let image = self.cri.image(name).await?.unwrap_or_default();
        for other in names(&image).filter(|other| *other != name) {
            if self.pins.has(other).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Changes a pin, and waits until CRI reports the image as it then must be.
    async fn set(&self, name: &str, pin: bool, pinned: bool) -> Result<Pin> {
        self.pins.set(&[name.to_owned()], pin).await?;
        if !self.pins.heeded() {
            return Ok(Pin::Ignored);
        }
        let what = format!("CRI of node '{}' to see another pin of '{name}'", self.node);
        wait::until(&what, SEEN, async || match self.cri.image(name).await {
            Ok(Some(image)) if image.pinned == pinned => Probe::Ready(Pin::Held),
            Ok(Some(_)) => Probe::Pending(format!("pinned is not {pinned}")),
            Ok(None) => Probe::Pending("nothing of that name".to_owned()),
            Err(error) => Probe::Failed(error),
        })
        .await
    }
}

/// The names of an image: tags and digests.
fn names(image: &cri::Image) -> impl Iterator<Item = &str> {
    let digests = image.digests.iter();
    image.tags.iter().chain(digests).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_worth_what_the_kubelet_makes_of_it() {
        let old = Protection::new("1.27.3");
        assert_eq!(old.worth(Pin::Held), Pin::Overlooked);
        assert_eq!(old.worth(Pin::Ignored), Pin::Ignored);
        assert_eq!(Protection::new("1.32.1").worth(Pin::Held), Pin::Held);
    }

    #[tokio::test]
    async fn what_is_forgotten_is_missed_on_no_node() {
        let protection = Protection::new("1.32.1");
        protection.note("cp", "a:1", "sha256:aa");
        protection.note("worker", "a:1", "sha256:aa");
        protection.note("worker", "b:1", "sha256:bb");
        protection.forget("a:1").await;
        assert_eq!(protection.names(), ["b:1"]);
        assert_eq!(protection.seen_as("worker", "a:1"), None);
        assert_eq!(
            protection.seen_as("worker", "b:1").as_deref(),
            Some("sha256:bb")
        );
    }
}
