//! One boot of kubenest's or kind's, from its begin until a test can run, and its removal.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use kubenest::{ClusterSpec, engine::Docker};
use kubenest_base::wait;
use kubenest_docker::{self as docker, Scope};
use kubenest_fixtures::kind::Kind;

use crate::{
    observe::{self, observe},
    reading::{Reading, Setup, stages},
};

pub(crate) async fn kubenest(docker: &Docker, setup: &Setup, number: usize) -> Result<Reading> {
    let name = format!("bench-kubenest-{}-{number}", std::process::id());
    let containers = setup.containers(&name);
    let spec = ClusterSpec::with_workers(setup.nodes - 1)
        .with_name(name)
        .with_recipe(&setup.recipe)?;
    let start = Instant::now();
    let boot = async {
        let cluster = spec.boot().await?;
        let done = start.elapsed();
        let (first_line, cpu) = cluster
            .case(async |case| {
                let first_line = start.elapsed();
                Ok((
                    first_line,
                    observe::cpu_seconds(case.cluster().nodes()).await?,
                ))
            })
            .await?;
        anyhow::Ok((cluster, done, first_line, cpu))
    };
    // Boxed: a boot is a large future.
    let ((cluster, done, first_line, cpu), observed) =
        tokio::try_join!(Box::pin(boot), observe(docker, &containers, start))?;
    let reading = Reading {
        done_seconds: done.as_secs_f64(),
        first_line_seconds: first_line.as_secs_f64(),
        first_line_cpu_seconds: cpu,
        node_peak_mib: observe::peak_mib(cluster.nodes()).await?,
        own_peak_mib: observe::process_peak_mib(std::process::id()),
        stages: stages(&cluster),
        ..observed
    };
    cluster.down().await?;
    Ok(reading)
}

pub(crate) async fn kind(
    docker: &Docker,
    kind: &Kind,
    image: &str,
    setup: &Setup,
    number: usize,
) -> Result<Reading> {
    let name = format!("bench-kind-{}-{number}", std::process::id());
    let folder = tempfile::tempdir()?;
    let kubeconfig = folder.path().join("kubeconfig");
    let containers = setup.containers(&name);
    let booted = async {
        let start = Instant::now();
        let create = async {
            let peak = create(docker, kind, image, setup, &name, &kubeconfig).await?;
            anyhow::Ok((start.elapsed(), peak))
        };
        let ((done, own_peak_mib), observed) =
            tokio::try_join!(create, observe(docker, &containers, start))?;
        // Who uses kind waits for the command, then for a first pod.
        let first_line_seconds = observed.pod_ready_seconds.max(done.as_secs_f64());
        let nodes = observe::attach(docker, &containers).await?;
        anyhow::Ok(Reading {
            done_seconds: done.as_secs_f64(),
            first_line_seconds,
            first_line_cpu_seconds: observe::cpu_seconds(&nodes).await?,
            node_peak_mib: observe::peak_mib(&nodes).await?,
            own_peak_mib,
            ..observed
        })
    };
    let reading = booted.await;
    docker::sweep(docker, Scope::Cluster(&name)).await?;
    reading
}

/// Runs `kind create cluster` and returns the peak of its memory, in MiB.
async fn create(
    docker: &Docker,
    kind: &Kind,
    image: &str,
    setup: &Setup,
    name: &str,
    kubeconfig: &Path,
) -> Result<f64> {
    let mut peak: f64 = 0.0;
    let watch = async {
        loop {
            if let Some(pid) = observe::pid_of("kind", name) {
                peak = peak.max(observe::process_peak_mib(pid));
            }
            wait::pace(Duration::from_millis(200)).await;
        }
    };
    let created = kind.create_with_workers(setup.nodes - 1, docker, name, image, kubeconfig);
    tokio::select! {
        created = created => created.map(drop)?,
        () = watch => unreachable!("the watch has no end"),
    }
    Ok(peak)
}
