//! Makes a plan, a site and a node image of a spec: every choice is made and judged here, before
//! anything is started.

use kubenest_base::Result;
use kubenest_docker::{Scope, sweep};
use kubenest_evidence as evidence;
use kubenest_forge::{
    image::{self, NodeImage},
    lockfile,
};
use kubenest_recipe::compat::Stack;

use super::clock::Clock;
use crate::cluster::{ClusterSpec, pairs, plan::Plan, site::Site};

/// A plan, and all that is needed to boot it.
pub(in crate::cluster) struct BootJob {
    pub(in crate::cluster) plan: Plan,
    /// The versions that will meet, as far as they are known before a node runs.
    pub(in crate::cluster) stack: Stack,
    pub(in crate::cluster) site: Site,
    pub(in crate::cluster) image: NodeImage,
}

/// Resolves a spec, and refuses a combination that is known not to work.
pub(super) async fn plan(spec: &ClusterSpec, clock: &mut Clock) -> Result<BootJob> {
    pairs::judge_spec(spec)?;
    let site = Site::of(spec).await?;
    clear_leftovers(&site).await;
    resolve(spec, site, clock).await
}

/// As [`plan`], for a cluster that may be up already: what others left is not cleared away.
pub(in crate::cluster) async fn plan_lease(
    spec: &ClusterSpec,
    clock: &mut Clock,
) -> Result<BootJob> {
    plan_on(spec, Site::of(spec).await?, clock).await
}

/// Removes what dead processes left, after making evidence of it.
pub(in crate::cluster) async fn clear_leftovers(site: &Site) {
    // This comes before the sweep, which would end guards that are still saving.
    let (_, finished) = evidence::finish(&site.settings).await;
    // Leftovers of others that cannot be removed are no reason not to boot.
    let swept = sweep(&site.docker, Scope::DeadOwners).await.map(drop);
    for error in [finished, swept].into_iter().filter_map(Result::err) {
        tracing::warn!("{}", error.report());
    }
}

/// As [`plan`], on a site that was made for it.
pub(in crate::cluster) async fn plan_on(
    spec: &ClusterSpec,
    site: Site,
    clock: &mut Clock,
) -> Result<BootJob> {
    pairs::judge_spec(spec)?;
    resolve(spec, site, clock).await
}

async fn resolve(spec: &ClusterSpec, site: Site, clock: &mut Clock) -> Result<BootJob> {
    let docker = &site.docker;
    let recipe = match &spec.recipe {
        Some(recipe) => recipe.clone(),
        None => image::default_recipe(site.outermost_engine()).await?,
    };
    let mut plan = Plan::of(spec, &recipe, site.addresses()?);
    let stack = pairs::judge_plan(&plan, &recipe, docker).await?;
    clock.lap("engine");

    let image = match spec.recipe {
        Some(_) => NodeImage::ensure(docker, &recipe).await?,
        None => NodeImage::ensure_default(docker, &recipe).await?,
    };
    // A whole image is known better by its labels than by its name.
    plan.runtime = image.runtime;
    pairs::refuse_other_runtime(&plan, &image.recipe)?;
    if let Some(settings) = &image.settings {
        plan.expected
            .snapshotter
            .get_or_insert_with(|| settings.snapshotter.clone());
    }
    let stack = pairs::judge_labels(&plan, stack, &image.versions)?;
    lockfile::hold_image(docker, &recipe, &image).await?;
    clock.lap("image");
    tracing::debug!("plan {} of cluster '{}'", plan.key(), site.name);
    Ok(BootJob {
        plan,
        stack,
        site,
        image,
    })
}
