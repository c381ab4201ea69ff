//! The pairs of versions that meet in a cluster: judged before anything is started, and once
//! more by what the nodes say.

use super::ClusterSpec;
use crate::{
    Result,
    compat::{self, Finding, ImageStore, Stack, version},
    docker::Docker,
    recipe::Recipe,
};

/// Refuses what is known not to work, before anything is started; what is unknown is warned of.
/// Returns what is planned.
pub(super) async fn before(spec: &ClusterSpec, recipe: &Recipe, docker: &Docker) -> Result<Stack> {
    let mut planned = planned(spec, recipe);
    // Only a loader meets the engine's own images.
    if planned.kind.is_some() {
        let engine = docker.info().await?;
        planned.engine = version(&engine.version);
        planned.engine_image_store = Some(match engine.containerd_store {
            true => ImageStore::Containerd,
            false => ImageStore::Graph,
        });
    }
    judge(spec, &compat::before_boot(&planned), &[])?;
    Ok(planned)
}

/// As [`before`], as far as a spec alone can tell: without an engine, in no time.
pub(super) fn at_once(spec: &ClusterSpec) -> Result<()> {
    let Some(recipe) = &spec.recipe else {
        return Ok(());
    };
    let findings = compat::before_boot(&planned(spec, recipe));
    compat::refuse_known_bad(&findings, &spec.expected.tolerated)
}

/// Refuses what turns out not to work, now that the nodes say what they run.
pub(super) fn after(spec: &ClusterSpec, planned: &Stack, running: &[Stack]) -> Result<()> {
    let known = compat::before_boot(planned);
    running
        .iter()
        .try_for_each(|node| judge(spec, &compat::after_boot(planned, node), &known))
}

fn planned(spec: &ClusterSpec, recipe: &Recipe) -> Stack {
    Stack {
        kind: spec.loader.clone(),
        ..Stack::of(recipe)
    }
}

/// Warns of what is unknown, unless it was before too, and refuses what is known to fail.
fn judge(spec: &ClusterSpec, findings: &[Finding], warned: &[Finding]) -> Result<()> {
    let new = findings.iter().filter(|finding| !warned.contains(finding));
    for warning in new.filter_map(Finding::warning) {
        tracing::warn!("{warning}");
    }
    compat::refuse_known_bad(findings, &spec.expected.tolerated)
}
