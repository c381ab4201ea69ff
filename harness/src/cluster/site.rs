//! The place of a cluster and its owner.

use std::{sync::Arc, time::Duration};

use kubenest_base::{Error, Result, random, settings::Settings};
use kubenest_docker::{Docker, Labels, Owner, labels::BootId};

use super::{ClusterSpec, addresses::Addresses};

/// The place of a cluster and its owner: everything that the plan leaves open.
#[derive(Debug, Clone)]
pub(super) struct Site {
    /// The settings of the cluster's engine.
    pub(super) settings: Arc<Settings>,
    /// The engine that runs its containers.
    pub(super) docker: Docker,
    /// The owner, who may end the cluster; when the owner is gone, the cluster is swept.
    pub(super) owner: Owner,
    /// How many clusters are nested around it: 0 where the engine runs directly on a machine.
    pub(super) depth: u8,
    /// The cluster's name.
    pub(super) name: String,
    /// Whether it stays when its owner has ended.
    pub(super) keep: bool,
    /// Its lifetime where nobody can tell whether its owner lives.
    pub(super) lifetime: Option<Duration>,
    /// What is outermost around a nested cluster.
    pub(super) around: Option<Around>,
}

/// The outermost cluster around a nested one: with it everything ends.
#[derive(Debug, Clone)]
pub(super) struct Around {
    /// The engine that runs its nodes.
    pub(super) engine: Docker,
    /// Its name.
    pub(super) cluster: String,
    /// The names of all clusters around, the outermost first, with slashes between them.
    pub(super) path: String,
}

impl Site {
    /// The site that a spec asks for; an engine on which no node runs is refused.
    pub(super) async fn of(spec: &ClusterSpec) -> Result<Self> {
        if spec.nodes.iter().any(|node| node.engine_socket) {
            return Err(Error::refused(
                "only a node of a nested cluster can have its engine's socket: what a pod makes with \
                 it would stay on this machine's engine",
            )
            .cure("nest the cluster in another one: Cluster::nest"));
        }
        let settings = Self::settings_of(spec);
        let docker = match &spec.docker {
            Some(docker) => docker.clone(),
            None => kubenest_forge::engine::find(settings).await?,
        };
        docker.nature().await?.require_nodes_can_run()?;
        Ok(Self {
            settings: Arc::clone(settings),
            docker,
            owner: Owner::current().clone(),
            depth: 0,
            name: spec.name.clone().unwrap_or_else(random_name),
            keep: spec.keep.unwrap_or(settings.keep),
            lifetime: spec.lifetime,
            around: None,
        })
    }

    /// The settings for the boot of a spec: those of the engine that the spec names, else this
    /// process's own.
    pub(super) fn settings_of(spec: &ClusterSpec) -> &Arc<Settings> {
        match &spec.docker {
            Some(docker) => docker.settings(),
            None => crate::settings(),
        }
    }

    /// The engine that runs the nodes of the outermost cluster.
    pub(super) fn outermost_engine(&self) -> &Docker {
        self.around
            .as_ref()
            .map_or(&self.docker, |around| &around.engine)
    }

    /// The cluster's name behind those of all clusters around it.
    pub(super) fn layer(&self) -> String {
        match &self.around {
            Some(around) => format!("{}/{}", around.path, self.name),
            None => self.name.clone(),
        }
    }

    /// What is around a cluster that is nested in this one.
    pub(super) fn around_nested(&self) -> Around {
        Around {
            path: self.layer(),
            ..self.around.clone().unwrap_or_else(|| Around {
                engine: self.docker.clone(),
                cluster: self.name.clone(),
                path: String::new(),
            })
        }
    }

    /// The addresses within the cluster, which no cluster around it uses.
    ///
    /// # Errors
    /// The cluster is nested too deep.
    pub(super) fn addresses(&self) -> Result<Addresses> {
        Addresses::at_depth(self.depth)
    }

    /// The labels of a resource of this role that a boot of the cluster makes.
    pub(super) fn labels(&self, role: &str, boot: &BootId) -> Labels {
        let labels = self
            .docker
            .labels(role)
            .owner(&self.owner)
            .cluster(&self.name)
            .boot(boot)
            .keep(self.keep);
        match self.lifetime {
            Some(lifetime) => labels.lifetime(lifetime),
            None => labels,
        }
    }
}

/// A random cluster name, short enough that node names stay below the 63 characters of a host name.
pub(super) fn random_name() -> String {
    format!("kn-{}", random::hex(4))
}

#[cfg(test)]
mod tests {
    use kubenest_base::ErrorKind;

    use super::*;
    use crate::cluster::NodeSpec;

    #[tokio::test]
    async fn a_node_on_a_machines_own_engine_cannot_have_its_socket() {
        let spec = ClusterSpec::of([NodeSpec::control_plane().with_engine_socket()]);
        let error = Site::of(&spec).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("socket"), "{error}");
    }
}
