//! The boot: makes a plan of a spec, and boots the plan stage by stage.

mod bring_up;
mod clock;
mod gate;
mod planning;
mod provision;
mod stages;

use std::{sync::Arc, time::Instant};

use kubenest_base::{
    Error, ErrorKind, Origin, Result, parent, progress,
    wait::{self, Deadline},
};
use kubenest_diagnosis as diagnosis;
use kubenest_diagnosis::diagnose;
use kubenest_evidence as evidence;
use kubenest_evidence::{Bundle, Occasion};

pub(super) use self::{
    clock::Clock,
    planning::{BootJob, clear_leftovers, plan_lease, plan_on},
};
use super::{BOOT, Cluster, ClusterSpec, inventory::Inventory, room, site::Site};
use crate::{case::Running, verdict};

/// Boots a checked spec. Everything that was made is removed when a step fails.
pub(super) async fn boot(spec: ClusterSpec) -> Result<Cluster> {
    let run = async || {
        let (started, mut clock) = (Instant::now(), Clock::start());
        let job = planning::plan(&spec, &mut clock).await?;
        let inventory = Inventory::new(job.site.clone());
        boot_planned(job, inventory, clock, started, spec.to_be_refused).await
    };
    begin(&spec)?;
    note_broken_setup(run().await)
}

/// What a process does before its first cluster.
pub(super) fn begin(spec: &ClusterSpec) -> Result<()> {
    let settings = Site::settings_of(spec);
    settings.check()?;
    evidence::check(settings)?;
    parent::watch(crate::settings());
    evidence::watch();
    Ok(())
}

/// Leaves a verdict where a test cannot have its cluster.
pub(super) fn note_broken_setup(booted: Result<Cluster>) -> Result<Cluster> {
    // An error of a boot within a test belongs to the harness, not to the behaviour under test.
    let booted = booted.map_err(|error| error.of(Origin::Harness));
    booted.inspect_err(|error| {
        // A test may expect a refusal; every other error is a broken set-up.
        if !matches!(error.kind(), ErrorKind::Refused | ErrorKind::Input) {
            verdict::leave(&verdict::broken_setup(error.report()));
        }
    })
}

/// Boots what was planned.
pub(super) async fn boot_planned(
    job: BootJob,
    mut inventory: Inventory,
    mut clock: Clock,
    started: Instant,
    to_be_refused: bool,
) -> Result<Cluster> {
    let BootJob {
        plan,
        stack,
        image,
        site,
    } = job;
    let turn = room::turn_to_boot(&site, &plan.nodes).await?;
    clock.lap("turn");
    // Time spent on unprepared images counts as time before the boot.
    let started = started + clock.unprepared();
    progress!(
        "booting cluster '{}' ({}, {} nodes)",
        inventory.name(),
        image.recipe,
        plan.nodes.len()
    );
    let deadline = Deadline::begin(BOOT);
    let stages = Box::pin(stages::run(
        &plan,
        &stack,
        &image,
        &mut inventory,
        &mut clock,
    ));
    let ended = match deadline.give(stages).await {
        Some(ended) => ended,
        None => Err(deadline.missed("all steps of the boot", &clock.last())),
    };
    drop(turn);
    match ended {
        Ok(parts) => {
            let seconds = started.elapsed().as_secs_f64();
            progress!(
                "cluster '{}' is usable and healthy after {seconds:.1} s",
                inventory.name()
            );
            Ok(Cluster {
                nodes: parts.machines.nodes,
                clients: Arc::new(parts.api_server.clients),
                kubeconfig: parts.api_server.kubeconfig,
                image,
                protection: parts.protection,
                expected: plan.expected,
                started,
                phases: clock.phases,
                running: Arc::new(Running::none_after_gate()),
                inventory,
            })
        }
        Err(error) => Err(give_up(error, &mut inventory, to_be_refused).await),
    }
}

/// Keeps evidence of a boot that failed, removes what was made, and says what failed.
async fn give_up(error: Error, inventory: &mut Inventory, to_be_refused: bool) -> Error {
    let refused = error.kind() == ErrorKind::Refused;
    // A refusal that the test asks for is no failure.
    let wanted = to_be_refused && refused;
    if refused && !wanted {
        // Unhealthy nodes are a broken set-up, unlike a refusal before anything was started.
        verdict::leave(&verdict::broken_setup(error.report()));
    }
    let kept = match inventory.subject() {
        Some(subject) if !wanted => evidence::keep(subject, &describe_occasion(&error)).await,
        _ => None,
    };
    if let Err(removal) = inventory.remove().await {
        tracing::warn!("{}", removal.report());
    }
    explain(error, inventory.name(), kept)
}

fn describe_occasion(error: &Error) -> Occasion {
    Occasion {
        reason: match error.kind() {
            ErrorKind::Refused => "gate refused",
            _ => "boot failed",
        },
        message: error.report(),
        ..Occasion::default()
    }
}

/// Explains a failed boot; the cause comes first if the nodes' own logs show it.
fn explain(error: Error, cluster: &str, kept: Option<Bundle>) -> Error {
    let boot = format!("boot cluster '{cluster}'");
    let kind = error.kind();
    // If the machine is the cause, everything else in the nodes' logs follows from it.
    let machine = wait::machine_cause(&error);
    let known = match kind {
        _ if machine.is_some() => None,
        // A refusal already names its cause.
        ErrorKind::Refused => None,
        _ => diagnose(&diagnosis::Evidence::error(&error))
            .into_iter()
            .next(),
    };
    let told = match (machine, known) {
        (Some(machine), _) => Error::new(kind, format!("{boot}: {machine}"))
            .because(error)
            .cure(machine.cure_text().unwrap_or_default()),
        (None, Some(known)) => Error::new(kind, format!("{boot}: {}", known.cause))
            .because(error)
            .cure(format!("{}; see {}", known.cure, known.links.join(" "))),
        (None, None) => Error::new(kind, boot).because(error),
    };
    match kept {
        Some(kept) => told.note(kept.to_string()),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubenest_base::Context;

    /// The error of a `kubeadm init` that did not end.
    fn init_timed_out(machine: Option<Error>) -> Error {
        let last = "[control-plane-check] Checking kube-apiserver at https://172.18.0.2:6443/livez";
        let waited = format!("waited 180.0 s for its end; last seen: {last}");
        let mut error = Error::timeout(waited);
        if let Some(machine) = machine {
            error = error.because(machine);
        }
        let run = "run `kubeadm init --config /kind/kubeadm.conf` in 'a-control-plane'";
        let error = Err::<(), _>(error).context(run).unwrap_err();
        let parts = "on node 'a-control-plane' etcd is running, kube-apiserver is created";
        Error::timeout(parts).because(error)
    }

    #[test]
    fn a_boot_that_took_too_long_says_what_was_being_waited_for() {
        insta::assert_snapshot!(
            explain(init_timed_out(None), "a", None).report(),
            @"boot cluster 'a': on node 'a-control-plane' etcd is running, kube-apiserver is created: run `kubeadm init --config /kind/kubeadm.conf` in 'a-control-plane': waited 180.0 s for its end; last seen: [control-plane-check] Checking kube-apiserver at https://172.18.0.2:6443/livez"
        );
    }

    #[test]
    fn a_machine_that_is_too_slow_is_the_cause_that_a_boot_names() {
        let machine = "the machine is too slow: its 2 processors were 99 % busy, at a load of 14.2";
        let machine = Error::setup(machine);
        let told = explain(init_timed_out(Some(machine)), "a", None);
        assert_eq!(told.kind(), ErrorKind::Timeout);
        // The factor is replaced, because it is measured on this machine at this moment.
        let now = r"KUBENEST_PATIENCE=\d+ \(now [\d.]+\)";
        let said = regex::Regex::new(now).unwrap();
        let report = told.report();
        let said = said.replace(&report, "KUBENEST_PATIENCE=2 (now 1.0)");
        insta::assert_snapshot!(said, @r"
        boot cluster 'a': the machine is too slow: its 2 processors were 99 % busy, at a load of 14.2: on node 'a-control-plane' etcd is running, kube-apiserver is created: run `kubeadm init --config /kind/kubeadm.conf` in 'a-control-plane': waited 180.0 s for its end; last seen: [control-plane-check] Checking kube-apiserver at https://172.18.0.2:6443/livez
        cure: run fewer tests or clusters at once, or give them more time: KUBENEST_PATIENCE=2 (now 1.0)
        ");
    }
}
