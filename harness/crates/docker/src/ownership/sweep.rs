//! Removes what an owner, a run or a cluster left. Resources are found by our labels only.

mod judge;

use std::collections::{HashMap, HashSet};

use bollard::{
    models::{ContainerSummaryStateEnum as State, SystemInfo},
    query_parameters::{
        ListContainersOptions, ListImagesOptions, ListNetworksOptions, ListVolumesOptions,
    },
};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;

use self::judge::{Judge, Kind, Thing};
use super::{
    labels::{CLUSTER, OWNER, RUN, unix_now},
    owner::{Lease, Liveness, Owner},
};
use crate::{Docker, explain::Explain};
use kubenest_base::{Error, Result};

/// How many removals the engine is asked for at a time.
const AT_ONCE: usize = 8;

/// What to remove.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Resources of a process that is gone, or of a lease that nobody holds and no guard watches: a
    /// guard waits for another holder. Where that cannot be told, resources that are out of date by
    /// the engine's clock and have no running guard. Never a resource that is kept on purpose, and
    /// never a guard that is still removing.
    DeadOwners,
    /// What this run made and did not keep on purpose, except resources of a lease that somebody
    /// holds. A process of another host, container or user belongs to another run of the same name,
    /// which is spared.
    Run(&'a str),
    /// All of the cluster of this name, kept or not.
    Cluster(&'a str),
    /// All that kubenest ever made in this engine.
    All,
}

/// Names of what a sweep removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Containers, with their unnamed volumes.
    pub containers: Vec<String>,
    /// Networks.
    pub networks: Vec<String>,
    /// Named volumes.
    pub volumes: Vec<String>,
    /// Images that tests made and nothing uses; node images are a cache and stay.
    pub images: Vec<String>,
}

impl SweepReport {
    /// There was nothing to remove.
    pub fn is_empty(&self) -> bool {
        let Self {
            containers,
            networks,
            volumes,
            images,
        } = self;
        [containers, networks, volumes, images]
            .iter()
            .all(|names| names.is_empty())
    }
}

impl Scope<'_> {
    /// Filters of the engine's lists. They only narrow: each resource is judged again.
    fn filters(self) -> HashMap<String, Vec<String>> {
        let mut labels = vec![OWNER.to_owned()];
        match self {
            Scope::Run(run) => labels.push(format!("{RUN}={run}")),
            Scope::Cluster(name) => labels.push(format!("{CLUSTER}={name}")),
            Scope::DeadOwners | Scope::All => {}
        }
        HashMap::from([("label".to_owned(), labels)])
    }
}

/// Removes everything in `scope`: containers first, then the networks and volumes they used.
/// What cannot be removed does not stop the rest.
///
/// # Errors
/// The engine does not answer, or did not remove all of it; the error names what is left.
pub async fn sweep(docker: &Docker, scope: Scope<'_>) -> Result<SweepReport> {
    let mut things = containers(docker, scope).await?;
    things.extend(networks(docker, scope).await?);
    things.extend(volumes(docker, scope).await?);
    things.extend(images(docker, scope).await?);
    let now = match things.iter().any(Thing::is_judged_by_date) {
        true => now_of(docker).await?,
        false => unix_now(),
    };
    let owners: HashSet<Owner> = things.iter().filter_map(Thing::owner).collect();
    let judge = Judge::new(scope, now, &things);
    let condemned: Vec<bool> = things.iter().map(|thing| judge.condemns(thing)).collect();
    drop(judge);
    let condemned = things.into_iter().zip(condemned);
    let mut condemned: Vec<Thing> = condemned
        .filter_map(|(thing, goes)| goes.then_some(thing))
        .collect();
    let ended = end_leases(scope, &mut condemned)?;
    let removed = remove(docker, condemned).await?;
    ended.iter().for_each(Lease::forget);
    if matches!(scope, Scope::DeadOwners) {
        forget_given_up(docker, &owners)?;
    }
    Ok(removed)
}

/// Removes the files of leases that own nothing in this engine and will own nothing any more.
fn forget_given_up(docker: &Docker, owners: &HashSet<Owner>) -> Result<()> {
    // A cache whose path no lease can have has none to forget.
    let mut given_up = Lease::all(&docker.settings().cache).unwrap_or_default();
    given_up.retain(|lease| lease.is_given_up() && !owners.contains(&Owner::Lease(lease.clone())));
    for lease in given_up {
        if lease.end_unless_held("its boot was killed")? {
            lease.forget();
        }
    }
    Ok(())
}

/// Ends the leases that own condemned resources, so that nobody takes hold of what is being
/// removed. The resources of one that somebody has just taken hold of are spared, unless the scope
/// asks for them by name.
fn end_leases(scope: Scope<'_>, condemned: &mut Vec<Thing>) -> Result<Vec<Lease>> {
    let mut ended = HashMap::new();
    for thing in condemned.iter() {
        let Some(Owner::Lease(lease)) = thing.owner() else {
            continue;
        };
        // The folder of a lease that cannot be seen is another machine's, or another one's.
        if ended.contains_key(&lease) || lease.liveness() == Liveness::Unknown {
            continue;
        }
        let has_ended = match scope {
            Scope::DeadOwners | Scope::Run(_) => {
                lease.end_unless_held("nobody held it, and it was swept")?
            }
            Scope::Cluster(_) | Scope::All => {
                lease.end("it was removed by name")?;
                true
            }
        };
        ended.insert(lease, has_ended);
    }
    condemned.retain(|thing| match thing.owner() {
        Some(Owner::Lease(lease)) => ended.get(&lease).copied().unwrap_or(true),
        _ => true,
    });
    let ended = ended.into_iter().filter(|(_, has_ended)| *has_ended);
    Ok(ended.map(|(lease, _)| lease).collect())
}

async fn remove(docker: &Docker, condemned: Vec<Thing>) -> Result<SweepReport> {
    let mut failed = Vec::new();
    let of = |kind| {
        let things = condemned.iter().filter(move |thing| thing.kind == kind);
        let name = |thing: &Thing| thing.names.first().unwrap_or(&thing.id).clone();
        things
            .map(|thing| (thing.id.clone(), name(thing)))
            .collect::<Names>()
    };
    let containers = remove_each(of(Kind::Container), &mut failed, |id| async move {
        docker.remove_container(&id).await
    })
    .await;
    let networks = remove_each(of(Kind::Network), &mut failed, |id| async move {
        docker.remove_network(&id).await
    })
    .await;
    let volumes = of(Kind::Volume);
    let volumes = remove_each(volumes, &mut failed, |name| async move {
        docker.remove_volume(&name).await
    })
    .await;
    let images = unused_names(docker, condemned).await?;
    let images = remove_each(images, &mut failed, |name| remove_image(docker, name)).await;
    if failed.is_empty() {
        return Ok(SweepReport {
            containers,
            networks,
            volumes,
            images,
        });
    }
    let left: Vec<String> = failed.iter().map(Error::report).collect();
    Err(Error::setup(format!(
        "not everything could be removed: {}",
        left.join("; ")
    ))
    .cure("disconnect or stop what still uses it, then `kubenest clean`"))
}

/// Resources to remove, as id and name.
type Names = Vec<(String, String)>;

/// The time by the engine's clock. The engine dates resources by that clock, and other machines
/// that use the engine have clocks of their own.
async fn now_of(docker: &Docker) -> Result<u64> {
    let info = docker.raw().info().await;
    let SystemInfo { system_time, .. } = info.explain(|| "ask the engine for the time".into())?;
    Ok(system_time
        .as_deref()
        .and_then(seconds)
        .unwrap_or_else(unix_now))
}

/// Seconds since 1970 of a date; `None` for an earlier date, which the engine uses for "no date".
fn seconds(date: &str) -> Option<u64> {
    let date: Timestamp = date.parse().ok()?;
    u64::try_from(date.as_second()).ok()
}

/// The date at these keys of an engine's answer. It is read from JSON, because its Rust type
/// depends on bollard's features.
fn date(answer: &impl Serialize, keys: &[&str]) -> Option<u64> {
    let answer = serde_json::to_value(answer).ok()?;
    let found = keys.iter().try_fold(&answer, |found, key| found.get(key))?;
    seconds(found.as_str()?)
}

async fn containers(docker: &Docker, scope: Scope<'_>) -> Result<Vec<Thing>> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(scope.filters()),
        ..Default::default()
    };
    let list = docker.raw().list_containers(Some(options)).await;
    let list = list.explain(|| "list containers".into())?.into_iter();
    let things = list.filter_map(|item| {
        let names = item.names.unwrap_or_default().into_iter();
        Some(Thing {
            kind: Kind::Container,
            id: item.id?,
            names: names
                .map(|name| name.trim_start_matches('/').to_owned())
                .collect(),
            labels: item.labels.unwrap_or_default(),
            made: item.created.and_then(|created| created.try_into().ok()),
            running: item.state == Some(State::RUNNING),
        })
    });
    Ok(things.collect())
}

async fn networks(docker: &Docker, scope: Scope<'_>) -> Result<Vec<Thing>> {
    let options = ListNetworksOptions {
        filters: Some(scope.filters()),
    };
    let list = docker.raw().list_networks(Some(options)).await;
    let list = list.explain(|| "list networks".into())?.into_iter();
    let things = list.filter_map(|item| {
        Some(Thing {
            kind: Kind::Network,
            made: date(&item, &["Created"]),
            id: item.id?,
            names: item.name.into_iter().collect(),
            labels: item.labels.unwrap_or_default(),
            running: false,
        })
    });
    Ok(things.collect())
}

async fn volumes(docker: &Docker, scope: Scope<'_>) -> Result<Vec<Thing>> {
    let options = ListVolumesOptions {
        filters: Some(scope.filters()),
    };
    let list = docker.raw().list_volumes(Some(options)).await;
    let list = list.explain(|| "list volumes".into())?.volumes;
    let things = list.into_iter().flatten().map(|item| Thing {
        kind: Kind::Volume,
        made: date(&item, &["CreatedAt"]),
        id: item.name.clone(),
        names: vec![item.name],
        labels: item.labels,
        running: false,
    });
    Ok(things.collect())
}

async fn images(docker: &Docker, scope: Scope<'_>) -> Result<Vec<Thing>> {
    let options = ListImagesOptions {
        filters: Some(scope.filters()),
        ..Default::default()
    };
    let list = docker.raw().list_images(Some(options)).await;
    let mut things = Vec::new();
    for item in list.explain(|| "list images".into())? {
        let mut image = Thing {
            kind: Kind::Image,
            id: item.id,
            names: item.repo_tags,
            labels: item.labels,
            made: None,
            running: false,
        };
        // An image states its own age. Where the age decides, the time counts at which the engine
        // got the image.
        if image.is_ours() && image.is_judged_by_date() {
            let about = docker.raw().inspect_image(&image.id).await;
            image.made = about
                .ok()
                .and_then(|about| date(&about, &["Metadata", "LastTagTime"]));
        }
        things.push(image);
    }
    Ok(things)
}

/// The names of images that no container runs from. An image in use belongs to a cluster that is
/// kept, or to a container of the user.
async fn unused_names(docker: &Docker, condemned: Vec<Thing>) -> Result<Names> {
    let all = ListContainersOptions {
        all: true,
        ..Default::default()
    };
    let containers = docker.raw().list_containers(Some(all)).await;
    let containers = containers.explain(|| "list containers".into())?.into_iter();
    let used: HashSet<String> = containers.filter_map(|item| item.image_id).collect();
    let images = condemned
        .into_iter()
        .filter(|thing| thing.kind == Kind::Image && !used.contains(&thing.id));
    Ok(images
        .flat_map(Thing::own_names)
        .map(|name| (name.clone(), name))
        .collect())
}

async fn remove_image(docker: &Docker, name: String) -> Result<()> {
    match docker.remove_image(&name).await {
        // The engine removes it with the last image that is built upon it.
        Err(error) if error.report().contains("has dependent child images") => Ok(()),
        other => other,
    }
}

/// Removes resources side by side and returns the names of those that are gone, sorted.
async fn remove_each<F: Future<Output = Result<()>>>(
    found: Names,
    failed: &mut Vec<Error>,
    remove: impl Fn(String) -> F,
) -> Vec<String> {
    let results: Vec<(String, Result<()>)> = stream::iter(found)
        .map(|(id, name)| {
            let removed = remove(id);
            async { (name, removed.await) }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let mut gone = Vec::new();
    for (name, result) in results {
        match result {
            Ok(()) => gone.push(name),
            Err(error) => failed.push(error),
        }
    }
    gone.sort();
    gone
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_engines_dates_are_read() {
        let answer = json!({"Metadata": {"LastTagTime": "2026-11-29T19:22:57.123456789Z"}});
        let keys = ["Metadata", "LastTagTime"];
        assert_eq!(date(&answer, &keys), Some(1_795_980_177));
        assert_eq!(date(&answer, &["Created"]), None);
        let elsewhere = json!({"CreatedAt": "2026-11-29T21:22:57+02:00"});
        assert_eq!(date(&elsewhere, &["CreatedAt"]), Some(1_795_980_177));
        let never = json!({"CreatedAt": "0001-01-01T00:00:00Z"});
        assert_eq!(date(&never, &["CreatedAt"]), None);
    }
}
