//! What a boot has made so far, and its removal: when asked, on failure, when dropped.

use std::{collections::HashMap, path::PathBuf};

use futures::future::join_all;

use super::{KIND_CLUSTER, KIND_ROLE};
use crate::{
    Result,
    docker::{Docker, Guard, Labels},
    node::Role,
    process::quote,
    progress,
    settings::settings,
};

/// The things of one cluster.
pub(super) struct Made {
    docker: Docker,
    name: String,
    keep: bool,
    containers: Vec<String>,
    network: Option<String>,
    /// Removes all of it when this process is killed.
    pub(super) guard: Option<Guard>,
}

impl Made {
    pub(super) fn new(docker: Docker, name: String, keep: bool) -> Self {
        Self {
            docker,
            name,
            keep,
            containers: Vec::new(),
            network: None,
            guard: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(super) fn kept(&self) -> bool {
        self.keep
    }

    pub(super) fn set_kept(&mut self, keep: bool) {
        self.keep = keep;
    }

    /// Labels of a node: ours, and kind's.
    pub(super) fn labels(&self, role: Role) -> HashMap<String, String> {
        let ours = Labels::new(role.as_str())
            .cluster(&self.name)
            .keep(self.keep);
        let mut labels = ours.map();
        labels.insert(KIND_CLUSTER.into(), self.name.clone());
        labels.insert(KIND_ROLE.into(), role.as_str().into());
        labels
    }

    /// Notes a container before it is made, so that a failure half-way removes it too.
    pub(super) fn container(&mut self, name: &str) {
        self.containers.push(name.to_owned());
    }

    /// Makes the cluster's network.
    pub(super) async fn make_network(&mut self) -> Result<String> {
        let name = format!("kubenest-{}", self.name);
        let labels = Labels::new("network").cluster(&self.name).keep(self.keep);
        self.docker.create_network(&name, labels.map()).await?;
        self.network = Some(name.clone());
        Ok(name)
    }

    /// Lets go of everything without removing it.
    pub(super) fn leave(&mut self) -> String {
        let hint = self.hint();
        self.forget();
        hint
    }

    fn hint(&self) -> String {
        let kubeconfig = kubeconfig_path(&self.name);
        let engine = match self.docker.socket() {
            Some(socket) => format!("DOCKER_HOST=unix://{} ", socket.display()),
            None => String::new(),
        };
        let mut text = format!("cluster '{}' is kept; look inside with\n", self.name);
        let kubeconfig = quote(&kubeconfig.to_string_lossy());
        text.push_str(&format!("  export KUBECONFIG={kubeconfig}\n"));
        for container in &self.containers {
            text.push_str(&format!("  {engine}docker exec -it {container} bash\n"));
        }
        text.push_str(&format!(
            "and remove it with\n  kubenest down {}",
            self.name
        ));
        text
    }

    /// Removes everything, or says how to look at what is kept.
    pub(super) async fn remove(&mut self) -> Result<()> {
        if self.keep {
            if !self.containers.is_empty() {
                progress!("{}", self.leave());
            }
            return Ok(());
        }
        let removals = self
            .containers
            .iter()
            .map(|name| self.docker.remove_container(name));
        let failed = join_all(removals).await.into_iter().find_map(Result::err);
        if let Some(network) = &self.network {
            self.docker.remove_network(network).await?;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some(guard) = self.guard.take() {
            guard.release().await?;
        }
        std::fs::remove_dir_all(folder(&self.name)).ok();
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        self.containers.clear();
        self.network = None;
        self.guard = None;
    }
}

/// The safety net: a test that panicked, a boot that was given up.
impl Drop for Made {
    fn drop(&mut self) {
        if self.containers.is_empty() && self.network.is_none() {
            return;
        }
        // A runtime of its own: this one may be going down, and a drop cannot wait for it.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                if let Ok(runtime) = runtime
                    && let Err(error) = runtime.block_on(self.remove())
                {
                    tracing::warn!("{}", error.report());
                }
            });
        });
    }
}

/// The folder of a cluster's own files.
pub(super) fn folder(name: &str) -> PathBuf {
    settings().cache.join("clusters").join(name)
}

/// The cluster's kubeconfig.
pub(super) fn kubeconfig_path(name: &str) -> PathBuf {
    folder(name).join("kubeconfig")
}
