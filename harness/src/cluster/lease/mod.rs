//! Leases: one cluster for all tests that ask for the same, in any thread and process.
//!
//! | file | does |
//! | --- | --- |
//! | `request.rs` | what is asked for |
//! | `preparation.rs` | what is done to a cluster once, before tests get it |
//! | `key.rs` | says which requests share a cluster, and finds the leases of theirs |
//! | `known.rs` | gives a cluster again that this process has leased before |
//! | `record.rs` | what a holder has to know of a cluster that somebody else booted |
//! | `attach.rs` | makes a handle of a record, after a look at the cluster's health |
//! | `baseline/` | what a cluster was when it was handed out first, and putting it back |
//!
//! A lease and its cluster belong to those who hold it, not to the process that booted it. Each boot
//! has a lease of its own, so that a sick cluster is replaced beside those who still use it.

mod attach;
mod baseline;
mod key;
mod known;
mod preparation;
mod record;
mod request;

use std::time::{Duration, Instant};

use kubenest_base::{
    Error, ErrorKind, Result,
    lock::{self, FileLock},
    progress,
    wait::{self, Probe},
};
use kubenest_docker::{Holder, Lease, Owner};
use kubenest_evidence as evidence;

pub(super) use self::record::Record;
use self::{
    attach::attach,
    baseline::Baseline,
    key::{LeaseKey, Wanted},
    preparation::ResolvedPreparation,
};
pub use self::{
    preparation::Preparation,
    request::{LeaseRequest, lease},
};
use super::{
    Cluster,
    boot::{self, BootJob, Clock},
    inventory::Inventory,
    room,
};

/// How long an earlier cluster of the same name may take to go, whose holders may have to end first.
const GOES: Duration = Duration::from_secs(300);
/// How many clusters that turn out to be sick are replaced in one call.
const REPLACED: usize = 3;

/// Takes what is asked for.
async fn take(request: &LeaseRequest) -> Result<Cluster> {
    let (spec, started, mut clock) = (&request.spec, Instant::now(), Clock::start());
    if !request.exclusive
        && let Some(cluster) = known::lease_again(request, started).await?
    {
        return Ok(cluster);
    }
    let job = boot::plan_lease(spec, &mut clock).await?;
    let preparation = match &request.preparation {
        Some(preparation) => Some(preparation.resolve(&job.site.docker).await?),
        None => None,
    };
    let wanted = Wanted {
        name: spec.name.as_deref(),
        preparation: preparation
            .as_ref()
            .map(|done| (done.name.as_str(), done.content.as_str())),
        exclusive: request.exclusive,
    };
    let keyed = KeyedRequest {
        key: LeaseKey::of(&job, wanted),
        request,
        preparation,
        started,
    };
    if job.site.docker.socket().is_none() {
        return keyed.boot_unshared(job, clock).await;
    }
    match request.exclusive {
        true => keyed.take_alone(job, clock).await,
        false => {
            let cluster = keyed.share(job, clock).await?;
            let content = keyed.preparation.as_ref().map(|done| done.content.as_str());
            known::remember(request, content, &cluster);
            Ok(cluster)
        }
    }
}

/// A request whose key is known.
struct KeyedRequest<'a> {
    request: &'a LeaseRequest,
    preparation: Option<ResolvedPreparation>,
    key: LeaseKey,
    started: Instant,
}

impl KeyedRequest<'_> {
    /// Boots a cluster that ends with its handle: nobody else can see who holds it.
    async fn boot_unshared(&self, job: BootJob, clock: Clock) -> Result<Cluster> {
        boot::clear_leftovers(&job.site).await;
        let inventory = Inventory::new(job.site.clone());
        self.boot(job, inventory, clock).await
    }

    /// Boots the cluster of a job, and prepares it.
    async fn boot(&self, job: BootJob, inventory: Inventory, clock: Clock) -> Result<Cluster> {
        let refused = self.request.spec.to_be_refused;
        // It is a large future, as is that of an attachment; test threads have small stacks.
        let booted = boot::boot_planned(job, inventory, clock, self.started, refused);
        let cluster = Box::pin(booted).await?;
        match &self.preparation {
            Some(preparation) => preparation.prepare(cluster).await,
            None => Ok(cluster),
        }
    }

    /// Looks at a cluster that is up, and makes a handle of it; the inner error says why it is unfit.
    async fn attach(
        &self,
        job: &BootJob,
        lease: &Lease,
        record: &Record,
        hold: Holder,
        clock: &mut Clock,
    ) -> Result<Result<Cluster>> {
        Box::pin(attach(job, lease, record, hold, clock, self.started)).await
    }

    /// Takes the cluster that all share. The first who asks for it boots it.
    async fn share(&self, job: BootJob, mut clock: Clock) -> Result<Cluster> {
        let mut replaced = 0;
        loop {
            if let Some((lease, record)) = self.key.open(&job)?.into_iter().next() {
                let Some(hold) = unless_ended(lease.hold())? else {
                    continue;
                };
                match self.attach(&job, &lease, &record, hold, &mut clock).await? {
                    Ok(cluster) => {
                        cluster.remove_abandoned().await;
                        return Ok(cluster);
                    }
                    Err(why) => self.replace(&lease, &record, &why, &mut replaced)?,
                }
                continue;
            }
            let what = format!("the boot of a shared cluster of {}", job.image.recipe);
            let lock = FileLock::exclusive(&self.key.lock(&job), &what).await?;
            if self.key.open(&job)?.is_empty() {
                return self.boot_first(job, clock, None).await;
            }
            // Another has booted it meanwhile. Nobody has to wait while this one looks at it.
            drop(lock);
        }
    }

    /// Takes a cluster that nobody else has, as soon as this machine has a place for one.
    async fn take_alone(&self, job: BootJob, mut clock: Clock) -> Result<Cluster> {
        let most = room::exclusive_clusters(&job.plan.nodes);
        let what = format!("one of the {most} exclusive clusters that this machine holds");
        let turns = room::locks(&job.site, "exclusive", most);
        let turn = FileLock::any(&turns, &what, lock::LONGEST).await?;
        let mut replaced = 0;
        for (lease, record) in self.key.open(&job)? {
            let Some(Some(hold)) = unless_ended(lease.hold_alone())? else {
                continue;
            };
            match self.attach(&job, &lease, &record, hold, &mut clock).await? {
                Ok(mut cluster) => {
                    cluster.inventory.hold_turn(turn);
                    return Ok(cluster);
                }
                Err(why) => self.replace(&lease, &record, &why, &mut replaced)?,
            }
        }
        // A name is that of one cluster at a time.
        let _one_at_a_time = match &self.request.spec.name {
            Some(name) => {
                let what = format!("the boot of cluster '{name}'");
                Some(FileLock::exclusive(&self.key.lock(&job), &what).await?)
            }
            None => None,
        };
        self.boot_first(job, clock, Some(turn)).await
    }

    /// Ends a lease whose cluster is not fit to be handed out.
    fn replace(
        &self,
        lease: &Lease,
        record: &Record,
        why: &Error,
        replaced: &mut usize,
    ) -> Result<()> {
        if *replaced == REPLACED {
            return Err(
                Error::setup(format!("{REPLACED} clusters in a row were unfit"))
                    .because(why.report()),
            );
        }
        *replaced += 1;
        // It is written down, and shown to whoever lists clusters.
        let why = evidence::redactor(crate::settings())?.redact(&why.report());
        progress!("cluster '{}' is replaced: {why}", record.name);
        lease.end(&why)
    }

    /// Boots a cluster of this key, and lets others hold it from then on.
    async fn boot_first(
        &self,
        mut job: BootJob,
        clock: Clock,
        turn: Option<FileLock>,
    ) -> Result<Cluster> {
        boot::clear_leftovers(&job.site).await;
        for lease in self.key.outdated(&job)? {
            lease.end_unless_held("what it was prepared with has changed")?;
        }
        if let Some(name) = &self.request.spec.name {
            wait_for_name(&job, &self.key, name).await?;
        }
        let made = UnsettledLease(self.key.new_lease(&job)?);
        let hold = match self.request.exclusive {
            true => made
                .0
                .hold_alone()?
                .expect("a new lease must have no holder"),
            false => made.0.hold()?,
        };
        job.site.owner = Owner::Lease(made.0.clone());
        let mut inventory = Inventory::new(job.site.clone()).with_hold(hold);
        if let Some(turn) = turn {
            inventory.hold_turn(turn);
        }
        let roles: Vec<_> = job.plan.nodes.iter().map(|node| node.role).collect();
        let cluster = self.boot(job, inventory, clock).await?;
        let Some(lease) = cluster.inventory.lease() else {
            return Ok(cluster);
        };
        // What leads through this process is of no use to others; without a record the lease ends
        // with this handle.
        if !cluster.inventory.has_tunnel() {
            if self.request.exclusive {
                Baseline::of(&cluster).await?.write(&cluster)?;
            }
            lease.settle(&Record::of(&cluster, roles).to_bytes()?)?;
        }
        std::mem::forget(made);
        Ok(cluster)
    }
}

/// The hold of a lease, if the lease has not ended meanwhile.
fn unless_ended<T>(held: Result<T>) -> Result<Option<T>> {
    match held {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        held => held.map(Some),
    }
}

/// Waits until an earlier cluster of this name and key is gone. Nobody else can boot another: the
/// caller has the lock of the key.
async fn wait_for_name(job: &BootJob, key: &LeaseKey, name: &str) -> Result<()> {
    let what = format!("the earlier cluster '{name}' to go");
    let gone = wait::until(&what, GOES, async || {
        let earlier = match key.closed(job) {
            Ok(earlier) => earlier,
            Err(error) => return Probe::Failed(error),
        };
        let holders = earlier.iter().flat_map(|lease| lease.state().holders);
        let holders: Vec<_> = holders.map(|pid| pid.to_string()).collect();
        // The guard goes last, after the files of the lease.
        match key.guards(job, name).await {
            Ok(false) if earlier.is_empty() => Probe::Ready(()),
            Ok(_) if holders.is_empty() => Probe::Pending("its guard is removing it".into()),
            Ok(_) => Probe::Pending(format!("it is held by {}", holders.join(", "))),
            Err(error) => Probe::Failed(error),
        }
    });
    gone.await
        .map_err(|error| error.cure(format!("end those processes, or `kubenest down {name}`")))
}

/// A lease whose cluster is being made. Dropped, it forgets the lease: a guard, if there is one
/// already, then removes what was made.
struct UnsettledLease(Lease);

impl Drop for UnsettledLease {
    fn drop(&mut self) {
        self.0.forget();
    }
}

/// The error for a record that this version cannot read.
fn unreadable(cause: serde_json::Error) -> Error {
    Error::setup("another version of kubenest booted it").because(cause)
}
