//! Everything that a boot has made so far, and its removal: on request, on failure, and on drop.

mod attached;
mod guarding;
mod names;
mod nested;
mod shared;

use std::collections::HashMap;

use futures::future::join_all;

pub(super) use self::names::node_names;
use self::names::{Claim, name_taken};
use super::{
    folder, kubeconfig, lease::Record, nest::EnginePod, removal::run_in_drop, site::Site,
    tunnel::Tunnel,
};
use kubenest_base::{Context, Error, Result, lock::FileLock, progress};
use kubenest_docker::{
    Docker, Guard, Holder, Lease, Owner,
    labels::{BOOT, BootId, CLUSTER, OWNER},
};
use kubenest_evidence as evidence;
use kubenest_evidence::{Occasion, Subject};
use kubenest_node::node::{KIND_CLUSTER, KIND_ROLE, Role};
use tempfile::TempPath;

/// The resources of one cluster.
pub(super) struct Inventory {
    site: Site,
    /// Distinguishes its resources from those of another cluster of the same name.
    boot: BootId,
    booted: bool,
    containers: Vec<String>,
    /// The id of its network.
    network: Option<String>,
    /// Whether a guard was requested. It may exist although no handle holds it.
    guarded: bool,
    /// The guard, which removes everything when this process is killed.
    guard: Option<Guard>,
    /// The subject of evidence; set with the first container.
    subject: Option<Subject>,
    /// The tunnel to the API server, if its port is not on this machine.
    tunnel: Option<Tunnel>,
    claim: Option<Claim>,
    /// This handle's hold of the lease that owns the cluster.
    hold: Option<Holder>,
    /// The turn of who has a cluster alone.
    turn: Option<FileLock>,
    /// The pod in which the engine of a nested cluster runs: all of the cluster is in it.
    pod: Option<EnginePod>,
    /// The kubeconfig of a cluster that others have made, of which nothing is removed.
    attached: Option<TempPath>,
}

impl Inventory {
    pub(super) fn new(site: Site) -> Self {
        Self {
            site,
            boot: BootId::random(),
            booted: false,
            containers: Vec::new(),
            network: None,
            guarded: false,
            guard: None,
            subject: None,
            tunnel: None,
            claim: None,
            hold: None,
            turn: None,
            pod: None,
            attached: None,
        }
    }

    /// Holds the lease that owns the cluster until the boot fails or the handle is dropped.
    pub(super) fn with_hold(mut self, hold: Holder) -> Self {
        self.hold = Some(hold);
        self
    }

    /// The resources of a cluster that was booted before, perhaps by another process, and is held.
    pub(super) fn attach(site: Site, boot: BootId, roles: &[Role], hold: Holder) -> Self {
        let mut attached = Self::new(site).with_hold(hold);
        attached.boot = boot;
        attached.booted = true;
        attached.containers = node_names(attached.name(), roles);
        let subject = Subject::new(attached.docker(), attached.name(), &attached.containers);
        attached.subject = Some(subject);
        attached
    }

    /// Keeps the turn of who has a cluster alone until the boot fails or the handle is dropped.
    pub(super) fn hold_turn(&mut self, turn: FileLock) {
        self.turn = Some(turn);
    }

    /// Whether others may use the cluster beside this handle: those who hold its lease too, or those
    /// who have made it.
    pub(super) fn is_shared(&self) -> bool {
        if self.attached.is_some() {
            return true;
        }
        self.lease().is_some() && !self.hold.as_ref().is_some_and(Holder::is_alone)
    }

    /// The lease that owns the cluster, if one does.
    pub(super) fn lease(&self) -> Option<&Lease> {
        match &self.site.owner {
            Owner::Lease(lease) => Some(lease),
            Owner::Process(_) => None,
        }
    }

    /// Whether the API server is reached through this process.
    pub(super) fn has_tunnel(&self) -> bool {
        self.tunnel.is_some()
    }

    /// Keeps the tunnel to the API server open for as long as this handle of the cluster lives.
    pub(super) fn hold_open(&mut self, tunnel: Option<Tunnel>) {
        self.tunnel = tunnel;
    }

    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    pub(super) fn boot(&self) -> &BootId {
        &self.boot
    }

    pub(super) fn name(&self) -> &str {
        &self.site.name
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.site.docker
    }

    /// Claims the names of the nodes of these roles.
    ///
    /// From here on containers with these names are removed, unless they have another owner's
    /// label.
    pub(super) async fn claim_names(&mut self, roles: &[Role]) -> Result<()> {
        let cluster = &self.site.name;
        let claim = Claim::take(cluster).ok_or_else(|| {
            Error::input(format!("cluster name '{cluster}' is taken in this process")).cure(
                "give each cluster a name of its own, or none: then one is made up; or remove the \
                 other first: Cluster::down()",
            )
        })?;
        let names = node_names(cluster, roles);
        for name in names.iter().chain([&self.guard_name()]) {
            if let Some(found) = self.site.docker.container(name).await? {
                return Err(name_taken(cluster, name, &found.labels));
            }
        }
        self.subject = Some(Subject::new(&self.site.docker, cluster, &names));
        self.containers = names;
        self.claim = Some(claim);
        Ok(())
    }

    /// The subject of evidence; `None` before anything was made.
    pub(super) fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Names of the nodes.
    pub(super) fn containers(&self) -> &[String] {
        &self.containers
    }

    /// Records that the boot succeeded: from now on the cluster is kept if that was asked for, or
    /// left to its lease.
    pub(super) async fn settle(&mut self) -> Result<()> {
        if self.site.keep
            && let Some(guard) = self.guard.take()
        {
            guard.release().await?;
        }
        if self.lease().is_some() {
            // The guard waits for the holders now, and no longer for this process, which is no
            // more than one of them.
            self.guard = None;
            self.begin_notebook();
        }
        self.booted = true;
        Ok(())
    }

    /// Whether the cluster stays. A cluster whose boot failed is kept only for those who debug the
    /// boot itself.
    fn stays(&self) -> bool {
        if self.booted {
            self.site.keep
        } else {
            self.site.settings.keep
        }
    }

    /// The labels of a resource of this role.
    pub(super) fn labels(&self, role: &str) -> HashMap<String, String> {
        self.site.labels(role, &self.boot).map()
    }

    /// The name of the cluster's network.
    pub(super) fn network(&self) -> String {
        format!("kubenest-{}", self.site.name)
    }

    /// The labels of a node: our own and kind's.
    pub(super) fn node_labels(&self, role: Role) -> HashMap<String, String> {
        let mut labels = self.labels(role.as_str());
        labels.insert(KIND_CLUSTER.into(), self.site.name.clone());
        labels.insert(KIND_ROLE.into(), role.as_str().into());
        labels
    }

    /// Makes the cluster's network, and its folder.
    pub(super) async fn make_network(&mut self) -> Result<String> {
        let name = self.network();
        let labels = self.labels("network");
        self.network = Some(self.site.docker.create_network(&name, labels).await?);
        folder::make(&self.site)?;
        Ok(name)
    }

    /// Releases everything without removing it.
    ///
    /// # Errors
    /// The engine refuses. The cluster then stays as long as this process.
    pub(super) async fn leave(&mut self) -> Result<String> {
        let hint = self.hint();
        if self.attached.is_some() {
            self.forget();
            return Ok(hint);
        }
        if let Some(tunnel) = &self.tunnel
            && let Err(error) =
                kubeconfig::point_at(&self.site.settings, &self.site.name, tunnel.published)
        {
            tracing::warn!("{}", error.report());
        }
        let marked = match self.site.keep {
            true => Ok(()),
            false => self.keep().await,
        };
        let released = match (marked, self.guard.take()) {
            (Ok(()), Some(guard)) => guard.release().await,
            (Err(error), Some(guard)) => {
                guard.hold();
                Err(error)
            }
            (marked, None) => marked,
        };
        self.leave_pod();
        self.forget();
        released.with_context(|| format!("leave cluster '{}' up", self.site.name))?;
        Ok(hint)
    }

    /// Marks a cluster as kept that was not made to be kept. A leased one loses its guard.
    pub(super) async fn keep(&self) -> Result<()> {
        let Site {
            docker,
            owner,
            name,
            ..
        } = &self.site;
        docker.keep_cluster(owner, name, &self.boot).await?;
        if let Some(lease) = self.lease() {
            Record::keep(lease)?;
            self.remove_own(&self.guard_name()).await?;
        }
        Ok(())
    }

    /// Removes everything, or says how to look at what is kept.
    pub(super) async fn remove(&mut self) -> Result<()> {
        if self.attached.is_some() {
            self.forget();
            return Ok(());
        }
        if self.stays() {
            self.leave_pod();
            if !self.containers.is_empty() {
                progress!("{}", self.hint());
                self.forget();
            }
            return Ok(());
        }
        if self.booted && self.lease().is_some() {
            self.forget();
            return Ok(());
        }
        if self.pod.is_some() {
            return self.remove_pod().await;
        }
        // After a signal, evidence is still being collected from the nodes.
        evidence::unless_ending(async {}).await;
        if let Some(subject) = &self.subject {
            subject.forget();
        }
        if let Some(lease) = self.lease() {
            lease.end("its boot failed")?;
            self.hold = None;
        }
        let mut failed = None;
        if !self.booted
            && let Some(guard) = self.guard.take()
        {
            // A container that is still being made cannot be removed by name; the guard waits for
            // it.
            failed = guard.finish().await.err();
        }
        let removals = self.containers.iter().map(|name| self.remove_own(name));
        let removed = join_all(removals).await;
        let mut failed = failed.or_else(|| removed.into_iter().find_map(Result::err));
        if let Some(network) = &self.network {
            let removed = self.remove_shared(network).await;
            std::fs::remove_dir_all(folder::path(&self.site.settings, &self.site.name)).ok();
            // A leftover container keeps the network in use, so the container's error is the cause.
            failed = failed.or(removed.err());
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if self.guarded {
            // The guard is removed last, so that it can finish the removal if this process dies
            // before.
            self.remove_own(&self.guard_name()).await?;
        }
        self.forget();
        Ok(())
    }

    /// Removes a container unless somebody else had its name first.
    async fn remove_own(&self, name: &str) -> Result<()> {
        let Some(found) = self.site.docker.container(name).await? else {
            return Ok(());
        };
        let owner = self.site.owner.to_string();
        let is = |key: &str, value: &str| found.labels.get(key).is_some_and(|is| is == value);
        let ours = is(OWNER, &owner) && is(CLUSTER, &self.site.name);
        if ours && is(BOOT, self.boot.as_str()) {
            self.site.docker.remove_container(&found.id).await?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        if let Some(subject) = self.subject.take() {
            subject.forget();
        }
        if self.guarded {
            evidence::remove_empty_notebook(&self.site.settings, &self.site.name);
        }
        self.containers.clear();
        self.network = None;
        self.guard = None;
        self.tunnel = None;
        self.hold = None;
    }

    /// Why the cluster is dropped without a removal, if that deserves evidence.
    fn drop_occasion(&self) -> Option<Occasion> {
        let (reason, message) = match (std::thread::panicking(), self.booted) {
            (true, _) => ("panicked", "the test panicked"),
            (false, false) => ("interrupted", "the boot was given up"),
            (false, true) => return None,
        };
        Some(Occasion {
            reason,
            message: message.to_owned(),
            ..Occasion::default()
        })
    }
}

/// The safety net: a test that panicked, a boot that was given up.
impl Drop for Inventory {
    fn drop(&mut self) {
        if self.containers.is_empty() {
            return;
        }
        let why = self.drop_occasion();
        let lives_on = self.attached.is_some() || (self.lease().is_some() && !self.stays());
        if why.is_none() && lives_on {
            // This handle lets go, and nothing is removed.
            self.forget();
            return;
        }
        run_in_drop(async || {
            if let (Some(why), Some(subject)) = (why, &self.subject)
                && let Some(kept) = evidence::keep_once(subject, &why).await
            {
                progress!("{kept}");
            }
            if let Err(error) = self.remove().await {
                tracing::warn!("{}", error.report());
            }
        });
    }
}
