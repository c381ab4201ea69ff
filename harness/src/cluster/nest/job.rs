//! Pods in which a job of a CI runs, with a Docker engine.

use kubenest_base::{Context, Error, Result};
use kubenest_docker::{Docker, ExecOutput};

use super::{EnginePod, Wanted, needs::Needs, pod::JOB, require, start_engine};
use crate::{
    NodeSpec,
    cluster::{Cluster, boot::Clock, site::random_name},
};

/// A pod with a container for a job and a Docker engine beside it, as a CI that runs its jobs on
/// Kubernetes has it. Dropping it removes it, with all that its engine runs.
pub struct JobPod {
    pod: EnginePod,
    docker: Docker,
}

impl Cluster {
    /// Starts a pod in which a job of a CI can run that uses Docker: one container of this image, which
    /// the cluster's nodes have, and an engine beside it. Both share the folder `/kubenest` and the
    /// network: what a container of the engine publishes, the job reaches at 127.0.0.1.
    ///
    /// The container waits for [commands](JobPod::exec), whatever its image has. `DOCKER_HOST` is set
    /// in it.
    ///
    /// ```no_run
    /// # async fn example() -> kubenest::Result<()> {
    /// use kubenest::ClusterSpec;
    ///
    /// let ci = ClusterSpec::single_node().boot().await?;
    /// ci.images().load("ci/tools:v1").await?;
    /// let job = ci.job_pod("ci/tools:v1").await?;
    /// let told = job.exec(&["docker", "version"]).await?;
    /// assert_eq!(told.status, 0);
    /// job.down().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As those of [`nest`](Self::nest); or the nodes have no such image.
    pub async fn job_pod(&self, image: &str) -> Result<JobPod> {
        let started = Box::pin(start(self, image)).await;
        started.with_context(|| format!("start a job of '{image}' in '{}'", self.name()))
    }
}

async fn start(outer: &Cluster, image: &str) -> Result<JobPod> {
    for node in outer.nodes() {
        if node.cri().await?.image(image).await?.is_none() {
            return Err(
                Error::not_found(format!("node '{node}' has no image '{image}'"))
                    .cure("load it first: cluster.images().load(...)"),
            );
        }
    }
    // A job makes a cluster of one node at least.
    let needs = Needs::of(&[NodeSpec::control_plane()]);
    require(outer, needs).await?;
    let name = random_name();
    let wanted = Wanted {
        name: &name,
        needs,
        images: &[],
        job: Some(image),
        tolerated: &outer.expected.tolerated,
    };
    let (pod, docker) = start_engine(outer, &wanted, &mut Clock::start()).await?;
    Ok(JobPod { pod, docker })
}

impl JobPod {
    /// Its name, in the namespace `default`.
    pub fn name(&self) -> &str {
        self.pod.name()
    }

    /// The engine beside the job.
    pub fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Runs a command in the job's container to its end, with an empty standard input, and accepts any
    /// exit status. It may take five minutes.
    ///
    /// # Errors
    /// The command cannot be started: a failure of the test. Or the API server or kubelet does not
    /// answer, or the command does not end.
    pub async fn exec(&self, argv: &[impl AsRef<str>]) -> Result<ExecOutput> {
        let argv = argv.iter().map(|arg| arg.as_ref().to_owned()).collect();
        self.pod.exec(JOB, argv).await
    }

    /// Removes it, with all that its engine runs.
    ///
    /// # Errors
    /// The API server does not answer, or the pod does not end.
    pub async fn down(mut self) -> Result<()> {
        self.pod.remove().await
    }
}
