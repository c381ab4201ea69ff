//! The handle of a cluster that others have made: it removes nothing.

use kubenest_evidence::Subject;
use tempfile::TempPath;

use super::{Inventory, Site, Tunnel};

impl Inventory {
    /// The nodes of a cluster that others have made. Its kubeconfig file and the tunnel to its API
    /// server end with the handle.
    pub(in crate::cluster) fn of_others(
        site: Site,
        nodes: Vec<String>,
        kubeconfig: TempPath,
        tunnel: Tunnel,
    ) -> Self {
        let mut attached = Self::new(site);
        attached.booted = true;
        attached.subject = Some(Subject::new(attached.docker(), attached.name(), &nodes));
        attached.containers = nodes;
        attached.attached = Some(kubeconfig);
        attached.tunnel = Some(tunnel);
        attached
    }
}
