//! Where a cluster stands, and who keeps it.

use std::time::Duration;

use kubenest_base::{Result, random, settings::settings};
use kubenest_docker::Docker;
use kubenest_forge::engine;

use super::ClusterSpec;

/// Where a cluster stands, and who keeps it: all that its plan leaves open.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) docker: Docker,
    /// The cluster's name.
    pub(super) name: String,
    /// It stays when its user has ended.
    pub(super) keep: bool,
    /// How old it may get where nobody can tell whether its user lives.
    pub(super) lifetime: Option<Duration>,
}

impl Site {
    /// The site that a spec asks for; an engine on which no node runs is refused.
    pub(super) async fn of(spec: &ClusterSpec) -> Result<Self> {
        let docker = match &spec.docker {
            Some(docker) => docker.clone(),
            None => engine::find().await?,
        };
        docker.nature().await?.require_nodes_can_run()?;
        Ok(Self {
            docker,
            name: spec.name.clone().unwrap_or_else(made_up_name),
            keep: spec.keep.unwrap_or(settings().keep),
            lifetime: spec.lifetime,
        })
    }
}

/// Short, so that node names stay below the 63 characters of a host name.
fn made_up_name() -> String {
    format!("kn-{}", random::hex(4))
}
