//! The boot: from a spec to a cluster, by a list of steps.

use std::time::Instant;

use super::{
    BOOT, Cluster, ClusterSpec, Phase, clients::Clients, made::Made, pairs, steps, watchdog,
};
use crate::{verdict, verdict::Record};
use kubenest_base::{
    Error, ErrorKind, Result, parent, progress, random, settings::settings, wait, wait::Deadline,
};
use kubenest_diagnosis as diagnosis;
use kubenest_diagnosis::diagnose;
use kubenest_docker::{Docker, Scope, sweep};
use kubenest_evidence as evidence;
use kubenest_evidence::{Kept, Subject, Why};
use kubenest_forge::lockfile;
use kubenest_forge::{image, image::NodeImage};
use kubenest_health::health;
use kubenest_images::Protection;
use kubenest_recipe::compat::Stack;

/// Keeps the time of each step.
pub(super) struct Clock {
    phases: Vec<Phase>,
    start: Instant,
    /// Who is told of them, too.
    subject: Option<Subject>,
}

impl Clock {
    fn start() -> Self {
        Self {
            phases: Vec::new(),
            start: Instant::now(),
            subject: None,
        }
    }

    /// From now on the steps are told to this one, those before at once.
    fn tell(&mut self, subject: Option<&Subject>) {
        self.subject = subject.cloned();
        self.phases.iter().for_each(|phase| self.told(phase));
    }

    fn told(&self, phase: &Phase) {
        if let Some(subject) = &self.subject {
            subject.booted(format!("boot: {} took {:.2} s", phase.name, phase.seconds));
        }
    }

    /// The step that ended last, in words.
    fn last(&self) -> String {
        match self.phases.last() {
            Some(phase) => format!("the end of step '{}'", phase.name),
            None => "no step's end".into(),
        }
    }

    /// Ends the step of this name; the next one starts now.
    fn lap(&mut self, name: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        tracing::debug!("{name}: {seconds:.2} s");
        let phase = Phase {
            name: name.into(),
            seconds,
        };
        self.told(&phase);
        self.phases.push(phase);
        self.start = Instant::now();
    }
}

/// Boots a cluster that was checked. What was made is removed when a step fails.
pub(super) async fn boot(spec: ClusterSpec) -> Result<Cluster> {
    settings().check()?;
    evidence::check()?;
    parent::watch();
    evidence::watch();
    booted(spec).await.inspect_err(|error| {
        // A refusal may be what a test is about; all else is a broken set-up.
        if !matches!(error.kind(), ErrorKind::Refused | ErrorKind::Input) {
            verdict::leave(&Record::setup(error.report()));
        }
    })
}

/// The engine that was given, else the one that is found; one on which no node runs is refused.
async fn engine_of(spec: &mut ClusterSpec) -> Result<Docker> {
    let docker = match spec.docker.take() {
        Some(docker) => docker,
        None => kubenest_forge::engine::find().await?,
    };
    docker.nature().await?.require_nodes_can_run()?;
    Ok(docker)
}

async fn booted(mut spec: ClusterSpec) -> Result<Cluster> {
    let started = Instant::now();
    let mut clock = Clock::start();
    let keep = spec.keep.unwrap_or(settings().keep);
    let name = spec.name.clone().unwrap_or_else(made_up_name);

    pairs::at_once(&spec)?;
    let docker = engine_of(&mut spec).await?;
    // The sweep would end guards that are still saving.
    let (_, finished) = evidence::finish().await;
    // What others left in the way of their own removal is no reason not to boot.
    let swept = sweep(&docker, Scope::DeadOwners).await.map(drop);
    for error in [finished, swept].into_iter().filter_map(Result::err) {
        tracing::warn!("{}", error.report());
    }
    let recipe = match &spec.recipe {
        Some(recipe) => recipe.clone(),
        None => image::default_recipe(&docker).await?,
    };
    let planned = pairs::before(&spec, &recipe, &docker).await?;
    clock.lap("engine");

    let image = NodeImage::ensure(&docker, &recipe).await?;
    if let Some(runtime) = &image.runtime {
        spec.expected
            .snapshotter
            .get_or_insert_with(|| runtime.snapshotter.clone());
    }
    let planned = pairs::by_labels(&spec, planned, &image.versions)?;
    lockfile::hold_image(&docker, &recipe, &image).await?;
    clock.lap("image");

    progress!(
        "booting cluster '{name}' ({}, {} nodes)",
        recipe.name,
        spec.nodes.len()
    );
    let mut made = Made::new(docker, name, keep, spec.lifetime);
    match steps_in_time(&spec, &planned, image, &mut made, &mut clock).await {
        Ok(booted) => {
            let seconds = started.elapsed().as_secs_f64();
            progress!(
                "cluster '{}' is usable and healthy after {seconds:.1} s",
                made.name()
            );
            Ok(Cluster {
                nodes: booted.nodes,
                clients: booted.clients,
                kubeconfig: booted.kubeconfig,
                image: booted.image,
                protection: booted.protection,
                expected: spec.expected,
                started,
                phases: clock.phases,
                made,
            })
        }
        Err(error) => {
            let kept = match made.subject() {
                // What a test asks for is no failure.
                Some(subject) if !(spec.to_be_refused && error.kind() == ErrorKind::Refused) => {
                    evidence::keep(subject, &why(&error)).await
                }
                _ => None,
            };
            if let Err(removal) = made.remove().await {
                tracing::warn!("{}", removal.report());
            }
            Err(told(error, made.name(), kept))
        }
    }
}

fn why(error: &Error) -> Why {
    Why {
        reason: match error.kind() {
            ErrorKind::Refused => "gate refused",
            _ => "boot failed",
        },
        message: error.report(),
        ..Why::default()
    }
}

/// Says what failed, first of all the cause if the nodes' own words tell it.
fn told(error: Error, cluster: &str, kept: Option<Kept>) -> Error {
    let boot = format!("boot cluster '{cluster}'");
    let kind = error.kind();
    // What else the nodes say comes of it.
    let machine = wait::machine_cause(&error);
    let known = match kind {
        _ if machine.is_some() => None,
        // A refusal has found its cause itself.
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

struct Booted {
    nodes: Vec<kubenest_node::node::Node>,
    clients: Clients,
    kubeconfig: std::path::PathBuf,
    image: NodeImage,
    protection: Protection,
}

/// Does all steps, or ends the boot at its deadline.
async fn steps_in_time(
    spec: &ClusterSpec,
    planned: &Stack,
    image: NodeImage,
    made: &mut Made,
    clock: &mut Clock,
) -> Result<Booted> {
    let deadline = Deadline::begin(BOOT);
    let steps = Box::pin(steps_of(spec, planned, image, made, clock));
    match deadline.give(steps).await {
        Some(booted) => booted,
        None => Err(deadline.missed("all steps of the boot", &clock.last())),
    }
}

async fn steps_of(
    spec: &ClusterSpec,
    planned: &Stack,
    image: NodeImage,
    made: &mut Made,
    clock: &mut Clock,
) -> Result<Booted> {
    made.claim_names(spec.nodes.len()).await?;
    clock.tell(made.subject());
    if let Some(subject) = made.subject() {
        subject.made_of(&image.versions);
    }
    made.start_guard(&image.reference).await?;
    let network = made.make_network().await?;
    let (nodes, port) = steps::containers::start(spec, &image, made, &network).await?;
    clock.lap("containers");

    let control_plane = &nodes[0];
    let kubernetes = steps::containers::kubernetes_version(control_plane).await?;
    let token = bootstrap_token();
    let told_cgroup_v1 = pairs::before_kubeadm(spec, &kubernetes, made.docker()).await?;
    let documents = super::kubeadm::Documents {
        kubernetes: &kubernetes,
        cluster: made.name(),
        control_plane: control_plane.name(),
        token: &token,
        told_cgroup_v1,
        patches: &spec.kubeadm_patches,
    };
    // From here on the nodes' own services can give up: whoever does ends the boot.
    let work = async {
        steps::network::set_up(&nodes).await?;
        clock.lap("network");
        let run = async {
            steps::init::run(control_plane, &documents).await?;
            clock.lap("init");
            let dns = steps::dns::run(control_plane);
            let join = steps::join::run(&nodes, &documents);
            tokio::try_join!(dns, join)?;
            clock.lap("join");
            Ok(())
        };
        // As soon as the API server answers: node, account and pod network come by themselves.
        let usable = async {
            let reached = steps::init::reach(made.name(), control_plane, port).await?;
            steps::usable::wait(&reached.clients.here(), &nodes).await?;
            Ok(reached)
        };
        // On a sick runtime `kubeadm init` would wait minutes for a pod that cannot start.
        let fit = async {
            let fit = health::gate_runtime(&nodes, &spec.expected).await;
            fit.inspect_err(|error| sick(spec, error))
        };
        let (_, reached, _) = tokio::try_join!(run, usable, fit)?;
        clock.lap("usable");
        Result::Ok(reached)
    };
    let reached = tokio::select! {
        done = Box::pin(work) => done?,
        error = watchdog::watch(&nodes) => return Err(error),
    };
    let client = reached.clients.here();
    made.through(reached.tunnel);
    health::gate_running(&nodes, &client, &spec.expected)
        .await
        .and_then(|running| pairs::after(spec, planned, &running))
        .inspect_err(|error| sick(spec, error))?;
    lockfile::hold_running(&client, &image).await?;
    let protection = Protection::new(&kubernetes);
    protection.adopt(&nodes).await?;
    made.settle().await?;
    clock.lap("gate");
    Ok(Booted {
        nodes,
        clients: reached.clients,
        kubeconfig: reached.kubeconfig,
        image,
        protection,
    })
}

/// Sick nodes are a broken set-up, unlike a refusal before anything was started; unless they
/// are what a test wants to see.
fn sick(spec: &ClusterSpec, error: &Error) {
    if !spec.to_be_refused {
        verdict::leave(&Record::setup(error.report()));
    }
}

/// Short, so that node names stay below the 63 characters of a host name.
fn made_up_name() -> String {
    format!("kn-{}", random::hex(4))
}

fn bootstrap_token() -> String {
    format!("{}.{}", random::hex(3), random::hex(8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubenest_base::Context;

    /// What a boot is told of a `kubeadm init` that did not end.
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
            told(init_timed_out(None), "a", None).report(),
            @"boot cluster 'a': on node 'a-control-plane' etcd is running, kube-apiserver is created: run `kubeadm init --config /kind/kubeadm.conf` in 'a-control-plane': waited 180.0 s for its end; last seen: [control-plane-check] Checking kube-apiserver at https://172.18.0.2:6443/livez"
        );
    }

    #[test]
    fn a_machine_that_is_too_slow_is_the_cause_that_a_boot_names() {
        let machine = "the machine is too slow: its 2 processors were 99 % busy, at a load of 14.2";
        let machine = Error::setup(machine);
        let told = told(init_timed_out(Some(machine)), "a", None);
        assert_eq!(told.kind(), ErrorKind::Timeout);
        // How slow this machine is at this moment is measured.
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
