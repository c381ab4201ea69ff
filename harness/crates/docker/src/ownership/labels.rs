//! The labels on everything that the crate makes: the owner, the purpose and the lifetime.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::owner::Owner;
use kubenest_base::{random, settings::RunId};

/// Who may end a resource: an [`Owner`] as text.
pub const OWNER: &str = "dev.kubenest.owner";
/// The run it belongs to.
pub const RUN: &str = "dev.kubenest.run";
/// The cluster it belongs to, when there is one.
pub const CLUSTER: &str = "dev.kubenest.cluster";
/// The boot of that cluster: a [`BootId`].
pub const BOOT: &str = "dev.kubenest.boot";
/// What it is for: `node`, `network`, `guard`.
pub const ROLE: &str = "dev.kubenest.role";
/// The name that a resource was made with: that of a container, or those of an image with blanks
/// between them. A resource with another name has only inherited the label, for example through
/// `docker commit` or `docker build`.
pub const NAME: &str = "dev.kubenest.name";
/// When it was made, in seconds since 1970.
pub const CREATED: &str = "dev.kubenest.created";
/// When nobody needs it any more, in seconds since 1970.
pub const EXPIRES: &str = "dev.kubenest.expires";
/// `true` on a resource that outlives its owner on purpose, else `false`.
pub const KEEP: &str = "dev.kubenest.keep";

/// Role of node images: a cache, which no sweep removes.
pub const NODE_IMAGE: &str = "node-image";

/// Role of guards.
pub(super) const GUARD: &str = "guard";

/// Role of the empty volume that marks a cluster as kept when its label [`KEEP`] says otherwise:
/// labels cannot be changed.
pub(super) const KEPT: &str = "kept";

/// Suffix of the roles of images. Every container inherits the labels of its image, so a container
/// with such a role is not ours.
pub(super) const IMAGE: &str = "-image";

/// How long a resource may stay when nobody can tell whether its owner lives.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// The random id of one boot of a cluster. It distinguishes two clusters of one name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BootId(String);

impl BootId {
    /// A new id that no other boot has.
    pub fn random() -> Self {
        Self(random::hex(8))
    }

    /// The id as it is written in labels.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The labels of one resource that is to be made.
#[derive(Debug, Clone)]
pub struct Labels {
    run: RunId,
    owner: Owner,
    role: String,
    cluster: Option<String>,
    boot: Option<BootId>,
    lifetime: Duration,
    keep: bool,
}

impl Labels {
    /// Labels of a resource of this role that belongs to this process and this run.
    pub fn new(role: impl Into<String>, run: &RunId) -> Self {
        Self {
            run: run.clone(),
            owner: Owner::current().clone(),
            role: role.into(),
            cluster: None,
            boot: None,
            lifetime: LIFETIME,
            keep: false,
        }
    }

    /// It belongs to this owner, and no longer to this process.
    #[must_use]
    pub fn owner(mut self, owner: &Owner) -> Self {
        self.owner = owner.clone();
        self
    }

    /// It belongs to this cluster.
    #[must_use]
    pub fn cluster(mut self, name: impl Into<String>) -> Self {
        self.cluster = Some(name.into());
        self
    }

    /// It belongs to this boot of its cluster; the guard of that boot removes it.
    #[must_use]
    pub fn boot(mut self, boot: &BootId) -> Self {
        self.boot = Some(boot.clone());
        self
    }

    /// How long it may stay when nobody can tell whether its owner lives; two hours if unset.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// It outlives its owner: only its name, or `clean` of everything, removes it.
    #[must_use]
    pub fn keep(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// The labels as the engine takes them.
    pub fn map(&self) -> HashMap<String, String> {
        let now = unix_now();
        let expires = now.saturating_add(self.lifetime.as_secs());
        let mut map = HashMap::from([
            (OWNER.to_owned(), self.owner.to_string()),
            (RUN.to_owned(), self.run.as_str().to_owned()),
            (ROLE.to_owned(), self.role.clone()),
            (CREATED.to_owned(), now.to_string()),
            (EXPIRES.to_owned(), expires.to_string()),
            // The label is always set, or a container would inherit its value from the image.
            (KEEP.to_owned(), self.keep.to_string()),
        ]);
        if let Some(cluster) = &self.cluster {
            map.insert(CLUSTER.to_owned(), cluster.clone());
        }
        if let Some(BootId(boot)) = &self.boot {
            map.insert(BOOT.to_owned(), boot.clone());
        }
        map
    }
}

/// The label [`NAME`] for a resource with labels of these keys, if the labels are ours.
pub fn name_label<'a>(
    mut keys: impl Iterator<Item = &'a String>,
    name: &str,
) -> Option<(String, String)> {
    keys.any(|key| key == OWNER)
        .then(|| (NAME.to_owned(), name.to_owned()))
}

/// Seconds since 1970.
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

#[cfg(test)]
mod tests {
    use kubenest_base::settings::Settings;

    use super::*;

    fn node() -> Labels {
        Labels::new("node", &Settings::from_env().run)
    }

    #[test]
    fn labels_say_whose_what_and_how_long() {
        let map = node().cluster("a").map();
        assert_eq!(map[OWNER], Owner::current().to_string());
        assert_eq!((map[ROLE].as_str(), map[CLUSTER].as_str()), ("node", "a"));
        let number = |key: &str| map[key].parse::<u64>().unwrap();
        assert_eq!(number(EXPIRES) - number(CREATED), 7200);
        assert_eq!(map[KEEP], "false");
        assert_eq!(node().keep(true).map()[KEEP], "true");
    }

    #[test]
    fn a_name_is_given_to_what_is_ours() {
        let label = Some((NAME.to_owned(), "c-worker".to_owned()));
        let ours = node().map();
        assert_eq!(name_label(ours.keys(), "c-worker"), label);
        let strangers = HashMap::from([("maintainer".to_owned(), "me".to_owned())]);
        assert_eq!(name_label(strangers.keys(), "c-worker"), None);
    }

    #[test]
    fn two_boots_of_one_name_have_numbers_of_their_own() {
        let labels = || node().cluster("a").boot(&BootId::random()).map();
        assert_ne!(labels()[BOOT], labels()[BOOT]);
    }
}
