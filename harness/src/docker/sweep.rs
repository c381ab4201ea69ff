//! Removes what a process, a run or a cluster left, found by our labels and by nothing else.

use std::collections::{HashMap, HashSet};

use bollard::{
    models::ContainerSummaryStateEnum as State,
    query_parameters::{
        ListContainersOptions, ListImagesOptions, ListNetworksOptions, ListVolumesOptions,
        RemoveVolumeOptions,
    },
};
use futures::{StreamExt, stream};

use super::{
    Docker,
    explain::Explain,
    is_gone,
    labels::{
        CLUSTER, EXPIRES, GUARD, IMAGE, KEEP, Liveness, NODE_IMAGE, OWNER, Owner, ROLE, RUN,
        unix_now,
    },
};
use crate::{Error, Result};

type Labels = HashMap<String, String>;

/// How many removals the engine is asked for at a time.
const AT_ONCE: usize = 8;

/// What to remove.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// What belongs to a process that is gone, or, where that cannot be told, is out of date.
    /// Nothing that is kept on purpose, and no guard that is at it itself.
    DeadOwners,
    /// What this run made and did not keep on purpose.
    Run(&'a str),
    /// All of the cluster of this name, kept or not.
    Cluster(&'a str),
    /// All that kubenest ever made in this engine.
    All,
}

/// Names of what a sweep removed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Containers, with their unnamed volumes.
    pub containers: Vec<String>,
    /// Networks.
    pub networks: Vec<String>,
    /// Named volumes.
    pub volumes: Vec<String>,
    /// Images that tests made and nothing uses; node images are a cache and stay.
    pub images: Vec<String>,
}

impl Removed {
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
    /// What the engine is asked to list. It only narrows: each thing is judged again.
    fn filters(self) -> HashMap<String, Vec<String>> {
        let mut labels = vec![OWNER.to_owned()];
        match self {
            Scope::Run(run) => labels.push(format!("{RUN}={run}")),
            Scope::Cluster(name) => labels.push(format!("{CLUSTER}={name}")),
            Scope::DeadOwners | Scope::All => {}
        }
        HashMap::from([("label".to_owned(), labels)])
    }

    /// Whether a container, network or volume of these labels is to go.
    fn covers(self, labels: &Labels, now: u64) -> bool {
        let by_image = labels.get(ROLE).is_some_and(|role| role.ends_with(IMAGE));
        !by_image && self.means(labels, now)
    }

    /// Whether a container of these labels is a guard at work. Its owner has just gone; it waits
    /// for what was being made then, of which a sweep sees nothing, and removes itself.
    fn is_at_work(self, labels: &Labels, running: bool, now: u64) -> bool {
        let guard = labels.get(ROLE).is_some_and(|role| role == GUARD);
        matches!(self, Scope::DeadOwners) && guard && running && !is_expired(labels, now)
    }

    /// Whether an image of these labels is to go.
    fn covers_image(self, labels: &Labels, now: u64) -> bool {
        labels.get(ROLE).is_some_and(|role| role != NODE_IMAGE) && self.means(labels, now)
    }

    fn means(self, labels: &Labels, now: u64) -> bool {
        let Some(owner) = labels.get(OWNER) else {
            return false;
        };
        let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
        match self {
            Scope::All => true,
            Scope::Cluster(name) => is(CLUSTER, name),
            _ if is(KEEP, "true") => false,
            Scope::Run(run) => is(RUN, run),
            Scope::DeadOwners => {
                match owner
                    .parse()
                    .map_or(Liveness::Unknown, |owner: Owner| owner.liveness())
                {
                    Liveness::Alive => false,
                    Liveness::Dead => true,
                    Liveness::Unknown => is_expired(labels, now),
                }
            }
        }
    }
}

fn is_expired(labels: &Labels, now: u64) -> bool {
    let at = labels.get(EXPIRES).and_then(|at| at.parse::<u64>().ok());
    at.is_some_and(|at| at < now)
}

/// Removes everything in `scope`: containers first, then the networks and volumes they used.
/// What cannot be removed does not stop the rest.
///
/// # Errors
/// The engine does not answer, or did not remove all of it; the error names what is left.
pub async fn sweep(docker: &Docker, scope: Scope<'_>) -> Result<Removed> {
    let mut failed = Vec::new();
    let containers = containers(docker, scope).await?;
    let containers = each(containers, &mut failed, |id| async move {
        docker.remove_container(&id).await
    })
    .await;
    let networks = networks(docker, scope).await?;
    let networks = each(networks, &mut failed, |id| async move {
        docker.remove_network(&id).await
    })
    .await;
    let volumes = volumes(docker, scope).await?;
    let volumes = each(volumes, &mut failed, |name| remove_volume(docker, name)).await;
    let images = images(docker, scope).await?;
    let images = each(images, &mut failed, |name| remove_image(docker, name)).await;
    if failed.is_empty() {
        return Ok(Removed {
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

/// Things in `scope` as id and name.
type Found = Vec<(String, String)>;

async fn containers(docker: &Docker, scope: Scope<'_>) -> Result<Found> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(scope.filters()),
        ..Default::default()
    };
    let list = docker
        .raw()
        .list_containers(Some(options))
        .await
        .explain(|| "list containers".into())?;
    let now = unix_now();
    Ok(list
        .into_iter()
        .filter(|item| {
            let labels = item.labels.clone().unwrap_or_default();
            let running = item.state == Some(State::RUNNING);
            scope.covers(&labels, now) && !scope.is_at_work(&labels, running, now)
        })
        .filter_map(|item| {
            let id = item.id?;
            let name = item.names.unwrap_or_default().into_iter().next();
            let name = name.map(|name| name.trim_start_matches('/').to_owned());
            Some((id.clone(), name.unwrap_or(id)))
        })
        .collect())
}

async fn networks(docker: &Docker, scope: Scope<'_>) -> Result<Found> {
    let options = ListNetworksOptions {
        filters: Some(scope.filters()),
    };
    let list = docker
        .raw()
        .list_networks(Some(options))
        .await
        .explain(|| "list networks".into())?;
    let now = unix_now();
    Ok(list
        .into_iter()
        .filter(|item| scope.covers(&item.labels.clone().unwrap_or_default(), now))
        .filter_map(|item| Some((item.id?, item.name?)))
        .collect())
}

async fn volumes(docker: &Docker, scope: Scope<'_>) -> Result<Found> {
    let options = ListVolumesOptions {
        filters: Some(scope.filters()),
    };
    let list = docker
        .raw()
        .list_volumes(Some(options))
        .await
        .explain(|| "list volumes".into())?;
    let now = unix_now();
    Ok(list
        .volumes
        .unwrap_or_default()
        .into_iter()
        .filter(|item| scope.covers(&item.labels, now))
        .map(|item| (item.name.clone(), item.name))
        .collect())
}

async fn images(docker: &Docker, scope: Scope<'_>) -> Result<Found> {
    let options = ListImagesOptions {
        filters: Some(scope.filters()),
        ..Default::default()
    };
    let list = docker
        .raw()
        .list_images(Some(options))
        .await
        .explain(|| "list images".into())?;
    // What a container still runs from stays: that is a cluster kept, or a user's own.
    let all = ListContainersOptions {
        all: true,
        ..Default::default()
    };
    let containers = docker.raw().list_containers(Some(all)).await;
    let used: HashSet<String> = containers
        .explain(|| "list containers".into())?
        .into_iter()
        .filter_map(|container| container.image_id)
        .collect();
    let now = unix_now();
    Ok(list
        .into_iter()
        .filter(|item| scope.covers_image(&item.labels, now) && !used.contains(&item.id))
        .flat_map(|item| match item.repo_tags.is_empty() {
            // Its name has gone to a newer build.
            true => vec![item.id],
            false => item.repo_tags,
        })
        .map(|name| (name.clone(), name))
        .collect())
}

async fn remove_image(docker: &Docker, name: String) -> Result<()> {
    match docker.remove_image(&name).await {
        // It goes with the last of those that are built upon it.
        Err(error) if error.report().contains("has dependent child images") => Ok(()),
        other => other,
    }
}

/// Removes things side by side; returns the names of those that are gone, sorted.
async fn each<F: Future<Output = Result<()>>>(
    found: Found,
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

async fn remove_volume(docker: &Docker, name: String) -> Result<()> {
    let options = RemoveVolumeOptions { force: true };
    match docker.raw().remove_volume(&name, Some(options)).await {
        Err(error) if !is_gone(&error) => Err(error).explain(|| format!("remove volume '{name}'")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    /// A process number above the kernel's highest: dead for certain.
    fn dead_owner() -> String {
        let own = Owner::current().to_string();
        let place = own.rsplit_once('/').expect("must have three parts").0;
        format!("{place}/4194305-1")
    }

    #[test]
    fn a_dead_owners_things_are_covered_and_a_living_ones_are_not() {
        let dead = dead_owner();
        let alive = Owner::current().to_string();
        assert!(Scope::DeadOwners.covers(&labels(&[(OWNER, &dead)]), NOW));
        assert!(!Scope::DeadOwners.covers(&labels(&[(OWNER, &alive), (EXPIRES, "1")]), NOW));
        assert!(!Scope::DeadOwners.covers(&labels(&[(OWNER, &dead), (KEEP, "true")]), NOW));
    }

    #[test]
    fn an_owner_nobody_can_see_is_judged_by_the_date() {
        for owner in ["elsewhere/0-0/1-1", "no owner at all"] {
            let until =
                |at: &str| Scope::DeadOwners.covers(&labels(&[(OWNER, owner), (EXPIRES, at)]), NOW);
            assert!(until("999"));
            assert!(!until("1001"));
            assert!(!until("soon"));
            assert!(!Scope::DeadOwners.covers(&labels(&[(OWNER, owner)]), NOW));
        }
    }

    #[test]
    fn a_run_spares_what_is_kept_and_a_name_does_not() {
        let kept = labels(&[(OWNER, "a"), (RUN, "r"), (CLUSTER, "c"), (KEEP, "true")]);
        assert!(!Scope::Run("r").covers(&kept, NOW));
        assert!(Scope::Cluster("c").covers(&kept, NOW));
        assert!(Scope::All.covers(&kept, NOW));
        let plain = labels(&[(OWNER, "a"), (RUN, "r"), (CLUSTER, "c")]);
        assert!(Scope::Run("r").covers(&plain, NOW));
        assert!(!Scope::Run("other").covers(&plain, NOW));
        assert!(!Scope::Cluster("other").covers(&plain, NOW));
    }

    #[test]
    fn a_guard_at_work_is_left_to_its_work() {
        let guard = labels(&[(OWNER, "a"), (ROLE, GUARD), (EXPIRES, "1001")]);
        assert!(Scope::DeadOwners.is_at_work(&guard, true, NOW));
        assert!(!Scope::DeadOwners.is_at_work(&guard, false, NOW), "it died");
        assert!(
            !Scope::DeadOwners.is_at_work(&guard, true, NOW + 2),
            "it hangs"
        );
        assert!(!Scope::All.is_at_work(&guard, true, NOW));
        let node = labels(&[(OWNER, "a"), (ROLE, "worker"), (EXPIRES, "1001")]);
        assert!(!Scope::DeadOwners.is_at_work(&node, true, NOW));
    }

    #[test]
    fn what_lacks_our_owner_is_never_covered() {
        let foreign = labels(&[(CLUSTER, "c"), (RUN, "r"), ("maintainer", "me")]);
        for scope in [
            Scope::All,
            Scope::DeadOwners,
            Scope::Run("r"),
            Scope::Cluster("c"),
        ] {
            assert!(!scope.covers(&foreign, NOW));
        }
    }
}
