//! The names of clusters and of their nodes, each taken once.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Mutex, PoisonError},
};

use kubenest_base::Error;
use kubenest_docker::{Owner, labels::OWNER};
use kubenest_node::node::Role;

/// The names of this process's clusters on all engines, because the name is also that of folders.
static CLAIMED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A claim of a cluster's name, which no other cluster of this process has until the claim is
/// dropped.
pub(super) struct Claim(String);

impl Claim {
    pub(super) fn take(name: &str) -> Option<Self> {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        claimed
            .insert(name.to_owned())
            .then(|| Self(name.to_owned()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.remove(&self.0);
    }
}

/// The names of nodes of these roles, as kind names them: the second node of a role and later ones
/// have a number.
pub(in crate::cluster) fn node_names(cluster: &str, roles: &[Role]) -> Vec<String> {
    let name = |(at, role): (usize, &Role)| {
        let before = roles[..at].iter().filter(|other| *other == role).count();
        match before {
            0 => format!("{cluster}-{}", role.as_str()),
            _ => format!("{cluster}-{}{}", role.as_str(), before + 1),
        }
    };
    roles.iter().enumerate().map(name).collect()
}

/// The error for a cluster's name that this container has, whose labels say whose it is.
pub(super) fn name_taken(
    cluster: &str,
    container: &str,
    labels: &HashMap<String, String>,
) -> Error {
    let owner = labels.get(OWNER).and_then(|owner| owner.parse().ok());
    let whose = match &owner {
        Some(Owner::Lease(lease)) => format!(
            ", which is leased from the cache '{}'",
            lease.cache().display()
        ),
        _ => String::new(),
    };
    Error::input(format!(
        "cluster name '{cluster}' is taken by container '{container}'{whose}"
    ))
    .cure(format!(
        "choose another name, or remove that cluster: `kubenest down {cluster}`, \
         or `kind delete cluster --name {cluster}` if it is kind's"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_by_role_as_kind_names_them() {
        use Role::{ControlPlane, Worker};
        assert_eq!(
            node_names("a", &[ControlPlane, Worker, Worker, Worker]),
            ["a-control-plane", "a-worker", "a-worker2", "a-worker3"]
        );
    }

    #[test]
    fn a_name_is_claimed_once_at_a_time() {
        let first = Claim::take("claimed-once");
        assert!(first.is_some());
        assert!(Claim::take("claimed-once").is_none());
        assert!(Claim::take("claimed-otherwise").is_some());
        drop(first);
        assert!(Claim::take("claimed-once").is_some());
    }
}
