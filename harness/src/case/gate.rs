//! The gate before a case: cases pass one at a time, and nodes are never repaired while a body
//! runs.
//!
//! On a leased cluster a gate that has passed counts for some seconds, unless a case has failed
//! since: many short tests follow each other there, and none of them may change a node. In this time
//! a case only looks whether each node's runtime answers and has the images that must stay. A fault
//! that appears meanwhile shows in the errors of the case, and the next gate names it.

use std::{
    cell::Cell,
    sync::{Mutex as SyncMutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Mutex, watch};

use crate::Cluster;
use kubenest_base::{
    Context, Result, progress,
    wait::{self, Probe},
};

/// How long a case that finds an unhealthy node may wait for the other cases to end.
const OTHERS: Duration = Duration::from_secs(300);

/// How long a passed gate counts on a leased cluster.
const FRESH: Duration = Duration::from_secs(10);

/// How long a leased cluster may take to be healthy: a machine that has just started eight tests
/// answers late, and a runtime may have been restarted a moment ago.
pub(crate) const HEALTHY: Duration = Duration::from_secs(10);

/// The running cases of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Running {
    count: watch::Sender<usize>,
    /// Held by the case that is at the gate.
    gate: Mutex<()>,
    /// When the last gate that passed began, if nothing has failed since.
    passed: SyncMutex<Option<Instant>>,
}

/// Counts a case as running until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a>(&'a Running);

impl Running {
    /// None, of a cluster whose gate has just passed.
    pub(crate) fn none_after_gate() -> Self {
        let running = Self::default();
        running.pass(Instant::now());
        running
    }

    /// Notes that a gate has passed that began at this time.
    pub(crate) fn pass(&self, begun: Instant) {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
    }

    /// Makes the next case prove everything again.
    pub(super) fn doubt(&self) {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether a gate has passed some seconds ago, and no case has failed since.
    pub(crate) fn is_fresh(&self) -> bool {
        let passed = *self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        passed.is_some_and(|begun| begun.elapsed() < FRESH)
    }

    fn others(&self) -> usize {
        *self.count.borrow()
    }

    fn enter(&self) -> Place<'_> {
        self.count.send_modify(|count| *count += 1);
        Place(self)
    }

    /// Whether all running cases end by the deadline. No new one begins: the caller holds the gate.
    async fn all_end_within(&self, deadline: Duration) -> bool {
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
    /// Admits a case once the nodes are healthy.
    pub(super) async fn enter(&self) -> Result<Place<'_>> {
        let running = self.running();
        if self.is_shared() {
            self.wait_until_healthy(running).await?;
            return Ok(running.enter());
        }
        let _one_at_a_time = running.gate.lock().await;
        if running.others() == 0 {
            self.restored_health().await?;
        } else {
            self.check_beside_others(running).await?;
        }
        self.protection().check(self.nodes()).await?;
        Ok(running.enter())
    }

    /// Looks at a shared cluster, whose runtime may have been restarted a moment ago, by a crash or
    /// by another test. Nothing is repaired.
    async fn wait_until_healthy(&self, running: &Running) -> Result<()> {
        let what = format!("cluster '{}' to be healthy", self.name());
        let sick = Cell::new(None);
        let healthy = wait::until(&what, HEALTHY, async || match self.look(running).await {
            Ok(()) => Probe::Ready(()),
            Err(error) => {
                let seen = format!("{error:#}");
                running.doubt();
                sick.set(Some(error));
                Probe::Pending(seen)
            }
        });
        // What is wrong says more than that it lasted.
        let ended = healthy.await;
        ended.map_err(|waited| sick.take().unwrap_or(waited))
    }

    async fn look(&self, running: &Running) -> Result<()> {
        let begun = Instant::now();
        if !running.is_fresh() {
            self.health().await?;
            running.pass(begun);
        }
        self.protection().check(self.nodes()).await
    }

    /// Checks health while other cases run. They may have broken a node on purpose, so repairs wait
    /// until they have ended.
    async fn check_beside_others(&self, running: &Running) -> Result<()> {
        let Err(sick) = self.health().await else {
            return Ok(());
        };
        let (name, others) = (self.name(), running.others());
        progress!("a case waits for {others} others on cluster '{name}': {sick:#}");
        if running.all_end_within(OTHERS).await {
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

    #[test]
    fn a_gate_counts_for_a_while_unless_something_fails() {
        let running = Running::default();
        assert!(!running.is_fresh(), "nothing was proven");
        let running = Running::none_after_gate();
        assert!(running.is_fresh());
        running.doubt();
        assert!(!running.is_fresh(), "a case has failed");
        running.pass(Instant::now().checked_sub(FRESH).unwrap());
        assert!(!running.is_fresh(), "it is too old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_case_waits_for_all_running_cases() {
        let running = Running::default();
        assert!(running.all_end_within(OTHERS).await, "nobody runs");
        let (one, another) = (running.enter(), running.enter());
        assert_eq!(running.others(), 2);
        drop(one);
        assert!(!running.all_end_within(OTHERS).await, "one of them runs");
        let (alone, ()) = tokio::join!(running.all_end_within(OTHERS), async { drop(another) });
        assert!(alone);
        assert_eq!(running.others(), 0);
    }
}
