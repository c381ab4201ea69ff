//! Leases: one cluster for all tests that ask for the same, in any thread and process.
//!
//! | file | does |
//! | --- | --- |
//! | `key.rs` | says which specs share a cluster, and finds the lease of theirs |
//! | `record.rs` | what a holder has to know of a cluster that somebody else booted |
//! | `attach.rs` | makes a handle of a record, after a look at the cluster's health |
//!
//! A lease and its cluster belong to those who hold it, not to the process that booted it. Each boot
//! has a lease of its own, so that a sick cluster is replaced beside those who still use it.

mod attach;
mod key;
mod record;

use std::time::{Duration, Instant};

use kubenest_base::{
    Error, Result,
    lock::FileLock,
    progress,
    wait::{self, Probe},
};
use kubenest_docker::{Lease, Owner};

pub(super) use self::record::Record;
use self::{
    attach::{Attachment, attach},
    key::LeaseKey,
};
use super::{
    Cluster, ClusterSpec,
    boot::{self, BootJob, Clock},
    inventory::Inventory,
};

/// How long an earlier cluster of the same name may take to go, whose holders may have to end first.
const GOES: Duration = Duration::from_secs(300);
/// How many clusters that turn out to be sick are replaced in one call.
const REPLACED: usize = 3;

/// A cluster of this spec that all tests share: the first who needs it boots it, in whatever thread
/// or process, and the others use the same.
///
/// Specs share a cluster if they ask for the same nodes of the same versions on the same engine,
/// under the same name if they name it, from the same cache. Whoever finds the cluster gone or
/// unhealthy gets another one.
///
/// Dropping the handle, and [`Cluster::down`], only release it. The cluster ends when nobody has
/// held it for ten minutes, or one minute where `CI` is set, or what `KUBENEST_IDLE` said in the
/// process that booted it. `kubenest list` shows who holds it; `kubenest down` ends it at once.
///
/// On a cluster that others use [`Cluster::case`] repairs nothing. A test that changes nodes needs
/// one of its own: [`ClusterSpec::boot`]. So does every test where the engine does not see the locks
/// of this machine, because it is on another one; there each call boots a cluster that ends with its
/// handle.
///
/// # Errors
/// As [`ClusterSpec::boot`]; or the name of the spec is that of another cluster, for example of one
/// that is leased from another cache.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// let cluster = kubenest::lease(&kubenest::ClusterSpec::single_node()).await?;
/// cluster
///     .case(async |case| {
///         println!("{} is mine alone", case.namespace());
///         Ok(())
///     })
///     .await
/// # }
/// ```
pub async fn lease(spec: &ClusterSpec) -> Result<Cluster> {
    spec.check()?;
    boot::begin(spec)?;
    // Boxed: it is a large future, and test threads have small stacks.
    boot::note_broken_setup(Box::pin(take(spec)).await)
}

async fn take(spec: &ClusterSpec) -> Result<Cluster> {
    let (started, mut clock) = (Instant::now(), Clock::start());
    let job = boot::plan_lease(spec, &mut clock).await?;
    if job.site.docker.socket().is_none() {
        boot::clear_leftovers(&job.site).await;
        let inventory = Inventory::new(job.site.clone());
        return boot::boot_planned(job, inventory, clock, started, false).await;
    }
    let key = LeaseKey::of(&job, spec.name.as_deref());
    let mut replaced = 0;
    loop {
        if let Some((lease, record)) = key.find(&job)? {
            match attach(&job, &lease, &record, &mut clock, started).await? {
                Attachment::Cluster(cluster) => return Ok(*cluster),
                Attachment::Ended => {}
                Attachment::Unfit(why) if replaced < REPLACED => {
                    let why = why.report();
                    progress!("cluster '{}' is replaced: {why}", record.name);
                    lease.end(&why)?;
                    replaced += 1;
                }
                Attachment::Unfit(why) => return Err(why),
            }
            continue;
        }
        let what = format!("the boot of a shared cluster of {}", job.image.recipe);
        let lock = FileLock::exclusive(&key.lock(&job), &what).await?;
        if key.find(&job)?.is_none() {
            return boot_first(job, spec, &key, clock, started).await;
        }
        // Another has booted it meanwhile. Nobody has to wait while this one looks at it.
        drop(lock);
    }
}

/// Boots the cluster that others will share; the caller has the lock of its key.
async fn boot_first(
    mut job: BootJob,
    spec: &ClusterSpec,
    key: &LeaseKey,
    clock: Clock,
    started: Instant,
) -> Result<Cluster> {
    boot::clear_leftovers(&job.site).await;
    if let Some(name) = &spec.name {
        wait_for_name(&job, key, name).await?;
    }
    let made = UnsettledLease(key.new_lease(&job)?);
    let hold = made.0.hold()?;
    job.site.owner = Owner::Lease(made.0.clone());
    let inventory = Inventory::new(job.site.clone()).with_hold(hold);
    let roles: Vec<_> = job.plan.nodes.iter().map(|node| node.role).collect();
    let cluster = boot::boot_planned(job, inventory, clock, started, spec.to_be_refused).await?;
    let Some(lease) = cluster.inventory.lease() else {
        return Ok(cluster);
    };
    // What leads through this process is of no use to others; without a record the lease ends with
    // this handle.
    if !cluster.inventory.has_tunnel() {
        lease.settle(&Record::of(&cluster, roles).to_bytes()?)?;
    }
    std::mem::forget(made);
    Ok(cluster)
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
