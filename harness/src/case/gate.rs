//! The gate before a case: one at a time, and nothing is put back under a body that runs.

use std::time::Duration;

use tokio::sync::{Mutex, watch};

use crate::Cluster;
use kubenest_base::{Context, Result, progress, wait};

/// How long a case that finds a node sick may wait for the others to end.
const OTHERS: Duration = Duration::from_secs(300);

/// The cases that run on a cluster.
#[derive(Debug, Default)]
pub(crate) struct Running {
    count: watch::Sender<usize>,
    /// Held by the case that looks.
    gate: Mutex<()>,
}

/// A case's place among those that run, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a Running);

impl Running {
    fn others(&self) -> usize {
        *self.count.borrow()
    }

    fn enter(&self) -> Place<'_> {
        self.count.send_modify(|count| *count += 1);
        Place(self)
    }

    /// Whether all that run have ended in time. None begins meanwhile: the caller has the gate.
    async fn have_ended(&self, deadline: Duration) -> bool {
        let mut count = self.count.subscribe();
        let ended = count.wait_for(|count| *count == 0);
        wait::at_most(deadline, ended).await.is_some()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count -= 1);
    }
}

impl Cluster {
    /// Lets a case in when the nodes are fit for it.
    pub(super) async fn enter(&self) -> Result<Place<'_>> {
        let running = self.running();
        let _one_at_a_time = running.gate.lock().await;
        if running.others() == 0 {
            self.restored_health().await?;
        } else {
            self.healthy_beside_others(running).await?;
        }
        self.protection().check(self.nodes()).await?;
        Ok(running.enter())
    }

    /// What another case does to a node is not put back under it: that waits for its end.
    async fn healthy_beside_others(&self, running: &Running) -> Result<()> {
        let Err(sick) = self.health().await else {
            return Ok(());
        };
        let (name, others) = (self.name(), running.others());
        progress!("a case waits for {others} others on cluster '{name}': {sick:#}");
        if running.have_ended(OTHERS).await {
            return self.restored_health().await.map(drop);
        }
        Err(sick).with_context(|| {
            format!("no case can begin beside {others} others on cluster '{name}'")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_to_be_alone_waits_for_all_who_run() {
        let running = Running::default();
        assert!(running.have_ended(OTHERS).await, "nobody runs");
        let (one, another) = (running.enter(), running.enter());
        assert_eq!(running.others(), 2);
        drop(one);
        assert!(!running.have_ended(OTHERS).await, "one of them runs");
        let (alone, ()) = tokio::join!(running.have_ended(OTHERS), async { drop(another) });
        assert!(alone);
        assert_eq!(running.others(), 0);
    }
}
