//! The clusters on an engine, and why each still stands.

use std::{collections::BTreeMap, fmt, time::Duration};

use kubenest_base::Result;
use kubenest_docker::{Docker, LeaseState, Liveness, Owner, labels};
use kubenest_node::node::KIND_ROLE;

use super::lease::Record;

/// A cluster as described by its containers' labels.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// How many nodes it has.
    pub nodes: usize,
    /// Why it still stands.
    pub standing: Standing,
}

/// Why a cluster still stands, as far as this process can see; its text is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It stays until it is removed by name.
    Kept,
    /// These processes hold its lease.
    Held(Vec<u32>),
    /// Nobody holds its lease, and its guard removes it after this time.
    Idle(Duration),
    /// Its lease takes no more holders, for this reason; these processes still hold it.
    Ended {
        /// Why.
        why: String,
        /// Process ids.
        holders: Vec<u32>,
    },
    /// It belongs to this process, which runs.
    Owned(u32),
    /// Its owner is gone, and so is its guard: the next boot removes it.
    Abandoned,
    /// Its owner is on another machine, in another container, or hidden from this user.
    Unseen,
}

impl Standing {
    /// The standing of a cluster of this owner, which is not kept.
    fn of(owner: Option<&Owner>) -> Self {
        let Some(owner) = owner else {
            return Self::Unseen;
        };
        match (owner, owner.liveness()) {
            (_, Liveness::Unknown) => Self::Unseen,
            (Owner::Process(process), Liveness::Alive) => Self::Owned(process.pid()),
            (Owner::Process(_), Liveness::Dead) => Self::Abandoned,
            (Owner::Lease(lease), _) => {
                let wait = lease.record().map(|record| Record::read(&record));
                let wait = wait.and_then(Result::ok).map(|record| record.idle());
                Self::of_lease(lease.state(), wait)
            }
        }
    }

    /// The standing of a cluster of a lease in this state, whose guard waits this long for another
    /// holder.
    fn of_lease(state: LeaseState, wait: Option<Duration>) -> Self {
        let LeaseState {
            holders,
            idle,
            ended,
        } = state;
        match (ended, idle) {
            (Some(why), _) => Self::Ended { why, holders },
            (None, _) if !holders.is_empty() => Self::Held(holders),
            (None, Some(idle)) => Self::Idle(wait.unwrap_or_default().saturating_sub(idle)),
            // Its guard has not looked yet, or there is none.
            (None, None) => wait.map_or(Self::Abandoned, Self::Idle),
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept => f.write_str("kept until `kubenest down`"),
            Self::Held(holders) => write!(f, "leased: held by {}", processes(holders)),
            Self::Idle(rest) => {
                let (minutes, seconds) = (rest.as_secs() / 60, rest.as_secs() % 60);
                write!(
                    f,
                    "leased: held by nobody, goes in {minutes} min {seconds} s"
                )
            }
            Self::Ended { why, holders } if holders.is_empty() => {
                write!(f, "leased: being removed, because {}", or_idle(why))
            }
            Self::Ended { why, holders } => write!(
                f,
                "leased: goes with {}, because {}",
                processes(holders),
                or_idle(why)
            ),
            Self::Owned(process) => write!(f, "goes with process {process}"),
            Self::Abandoned => f.write_str("abandoned: the next boot removes it"),
            Self::Unseen => f.write_str("its owner cannot be seen from here"),
        }
    }
}

/// A guard that ends a lease gives no reason, because there is only one.
fn or_idle(why: &str) -> &str {
    match why.lines().next() {
        None | Some("") => "nobody holds it",
        Some(why) => why,
    }
}

fn processes(ids: &[u32]) -> String {
    let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
    match ids.as_slice() {
        [one] => format!("process {one}"),
        more => format!("processes {}", more.join(", ")),
    }
}

/// Lists the clusters on an engine, by name.
///
/// # Errors
/// The engine does not answer.
pub async fn list(docker: &Docker) -> Result<Vec<Listed>> {
    let mut found: BTreeMap<String, Listed> = BTreeMap::new();
    let left = docker.kept_boots().await?;
    for labels in docker.labelled(labels::OWNER).await? {
        let (Some(name), true) = (labels.get(labels::CLUSTER), labels.contains_key(KIND_ROLE))
        else {
            continue;
        };
        let left = labels
            .get(labels::BOOT)
            .is_some_and(|boot| left.contains(boot));
        let kept = left || labels.get(labels::KEEP).is_some_and(|keep| keep == "true");
        let owner = labels
            .get(labels::OWNER)
            .and_then(|owner| owner.parse().ok());
        let cluster = found.entry(name.clone()).or_insert_with(|| Listed {
            name: name.clone(),
            nodes: 0,
            standing: match kept {
                true => Standing::Kept,
                false => Standing::of(owner.as_ref()),
            },
        });
        cluster.nodes += 1;
    }
    Ok(found.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(state: LeaseState) -> String {
        Standing::of_lease(state, Some(Duration::from_secs(600))).to_string()
    }

    #[test]
    fn why_a_leased_cluster_stands_is_said_in_words() {
        let seen = [
            LeaseState {
                holders: vec![12, 34],
                ..LeaseState::default()
            },
            LeaseState {
                idle: Some(Duration::from_secs(75)),
                ..LeaseState::default()
            },
            LeaseState {
                ended: Some("node 'a' is gone".into()),
                holders: vec![12],
                idle: None,
            },
            LeaseState {
                ended: Some(String::new()),
                ..LeaseState::default()
            },
        ];
        insta::assert_snapshot!(seen.map(told).join("\n"), @r"
        leased: held by processes 12, 34
        leased: held by nobody, goes in 8 min 45 s
        leased: goes with process 12, because node 'a' is gone
        leased: being removed, because nobody holds it
        ");
        let before_its_guard_looks = Standing::of_lease(LeaseState::default(), None);
        assert_eq!(before_its_guard_looks, Standing::Abandoned);
    }

    #[test]
    fn a_process_that_runs_owns_its_clusters() {
        let own = std::process::id();
        let standing = Standing::of(Some(Owner::current()));
        assert_eq!(standing, Standing::Owned(own));
        assert_eq!(standing.to_string(), format!("goes with process {own}"));
    }
}
