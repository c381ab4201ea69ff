//! Clusters in a pod of another cluster.
//!
//! A privileged pod runs a Docker engine of its own, whose data is on a volume of the pod. The pod
//! needs no image but busybox: the engine's root and the image of its nodes are links to the files
//! that the engine around it has, so that nothing is sent through the layers. What the pod is like
//! is judged before a node starts. From then on the cluster is booted as any other, on that engine.

mod job;
mod link;
mod needs;
mod pod;

use std::time::Instant;

use kubenest_base::{Context, Error, Result, machine::Machine, progress};
use kubenest_docker::{Docker, Owner, discover::Nest};
use kubenest_forge::image::{self, NestedImage, NodeImage};

pub use self::job::JobPod;
use self::needs::Needs;
pub(super) use self::pod::EnginePod;
use super::{
    Cluster, ClusterSpec, STEP,
    addresses::{Addresses, engine_range},
    boot::{self, Clock},
    inventory::Inventory,
    site::{Site, random_name},
};

impl Cluster {
    /// Boots a cluster in a pod of this one: a Docker engine runs in the pod, and the nodes of the
    /// new cluster are its containers. The result is a cluster like any other, in which another one
    /// can be nested. Its images come from the engine of this cluster, and no byte of them is sent.
    ///
    /// It is removed with its pod, and this cluster's removal takes it along, whatever ends it. A
    /// cluster that others share has no clusters nested in it.
    ///
    /// ```no_run
    /// # async fn example() -> kubenest::Result<()> {
    /// use kubenest::ClusterSpec;
    ///
    /// let outer = ClusterSpec::single_node().boot().await?;
    /// let inner = outer.nest(&ClusterSpec::single_node()).await?;
    /// assert_eq!(inner.depth(), 1);
    /// inner.down().await?;
    /// outer.down().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`boot`](ClusterSpec::boot). Refused, before anything is started, where it does not fit or
    /// would be a fourth layer; and where the pod is not fit for a cluster, with the check, the layer
    /// and the cure. The engine has to be on this machine and keep its images by `overlay2`.
    pub async fn nest(&self, spec: &ClusterSpec) -> Result<Cluster> {
        // Booting is a large future; test threads have small stacks.
        Box::pin(nest(self, spec)).await
    }

    /// How many clusters are around this one: 0 unless it was [nested](Self::nest).
    pub fn depth(&self) -> u8 {
        self.inventory.site().depth
    }
}

async fn nest(outer: &Cluster, spec: &ClusterSpec) -> Result<Cluster> {
    boot::begin(spec)?;
    let (started, mut clock) = (Instant::now(), Clock::start());
    let run = async {
        let (site, pod) = prepare(outer, spec, &mut clock).await?;
        let job = boot::plan_on(spec, site, &mut clock).await?;
        let inventory = Inventory::new(job.site.clone()).in_pod(pod);
        boot::boot_planned(job, inventory, clock, started, spec.to_be_refused).await
    };
    let what = || format!("nest a cluster in '{}'", outer.name());
    boot::note_broken_setup(Box::pin(run).await.with_context(what))
}

/// The site of a cluster in a pod, and the pod.
async fn prepare(
    outer: &Cluster,
    spec: &ClusterSpec,
    clock: &mut Clock,
) -> Result<(Site, EnginePod)> {
    needs::check(spec)?;
    let needs = Needs::of(&spec.nodes);
    require(outer, needs).await?;
    let around = outer.inventory.site().around_nested();
    let recipe = match &spec.recipe {
        Some(recipe) => recipe.clone(),
        None => image::default_recipe(&around.engine).await?,
    };
    let docker = outer.docker();
    let node_image = NodeImage::ensure(docker, &recipe).await?;
    let node_image = image_of(outer, &node_image.reference).await?;
    let name = spec.name.clone().unwrap_or_else(random_name);
    let wanted = Wanted {
        name: &name,
        needs,
        images: std::slice::from_ref(&node_image),
        job: None,
        tolerated: &spec.expected.tolerated,
    };
    let (pod, docker) = start_engine(outer, &wanted, clock).await?;
    progress!("cluster '{name}' is nested in a pod of '{}'", outer.name());
    let site = Site {
        settings: docker.settings().clone(),
        docker,
        owner: Owner::current().clone(),
        depth: outer.depth() + 1,
        name,
        keep: outer.inventory.site().keep,
        lifetime: spec.lifetime,
        around: Some(around),
    };
    Ok((site, pod))
}

/// Refuses what does not fit into a cluster.
async fn require(outer: &Cluster, needs: Needs) -> Result<()> {
    Addresses::at_depth(outer.depth() + 1)?;
    if outer.is_shared() {
        return Err(Error::refused(format!(
            "cluster '{}' is shared with other tests: nothing is nested in it",
            outer.name()
        ))
        .cure("boot a cluster for it, or lease one exclusively: #[kubenest::test(exclusive)]"));
    }
    link::check(&outer.docker().info().await?)?;
    needs.require(Machine::this(), free_disk(outer).await?)
}

/// What a pod with an engine has to be like.
struct Wanted<'a> {
    name: &'a str,
    needs: Needs,
    /// The images that its engine starts with.
    images: &'a [NestedImage],
    /// The image of the container beside the engine.
    job: Option<&'a str>,
    /// The checks of the layer that may fail.
    tolerated: &'a [String],
}

/// Makes the pod, starts its engine and judges the layer.
async fn start_engine(
    outer: &Cluster,
    wanted: &Wanted<'_>,
    clock: &mut Clock,
) -> Result<(EnginePod, Docker)> {
    let Wanted { name, needs, .. } = *wanted;
    let docker = outer.docker();
    let (engine, start) =
        tokio::try_join!(image::nested_engine(docker), image::nested_pod(docker))?;
    outer.images().load(start.reference.as_str()).await?;
    clock.lap("images around");

    let depth = outer.depth() + 1;
    let range = engine_range(depth);
    let pod = EnginePod::start(outer, name, &start, needs, range, wanted.job).await?;
    let root = pod.root().await?;
    clock.lap("pod");
    let at_hand = &outer.image().reference;
    let linked = link::link(pod.node(), pod.uid(), &engine, wanted.images, at_hand).await?;
    tracing::debug!(
        "the engine of '{name}' was given {} files of {} MiB in {:.2} s: 0 bytes were sent",
        linked.files,
        linked.bytes >> 20,
        linked.seconds
    );
    clock.lap("images linked");
    let addresses = Addresses::at_depth(depth)?;
    let ranges = [addresses.pods(), addresses.services(), range].map(String::from);
    let facts = pod.facts(&root, ranges.into()).await?;
    let around = outer.inventory.site().around_nested().path;
    let layer = format!("{around}/{name}");
    facts.judge(&layer).require(wanted.tolerated)?;
    let docker = pod.engine(Nest { root, around }, docker).await?;
    clock.lap("engine in pod");
    Ok((pod, docker))
}

/// The bytes that are free where the nodes of a cluster, and all that is nested in them, write.
async fn free_disk(outer: &Cluster) -> Result<u64> {
    let argv = ["stat", "--file-system", "--format=%a %S", "/var"];
    let told = outer
        .control_plane()
        .within(STEP)
        .exec_ok(&argv)
        .await?
        .text();
    let numbers = told.split_whitespace().map(str::parse::<u64>);
    let numbers: Result<Vec<_>, _> = numbers.collect();
    let numbers = numbers.context("read the free disk of a node")?;
    Ok(numbers.iter().product())
}

async fn image_of(outer: &Cluster, reference: &str) -> Result<NestedImage> {
    let found = outer.docker().image(reference).await?;
    let found = found.ok_or_else(|| Error::not_found(format!("no image '{reference}'")))?;
    Ok(NestedImage {
        reference: reference.to_owned(),
        id: found.id,
    })
}
