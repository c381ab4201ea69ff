//! What a boot has made so far, and its removal: when asked, on failure, when dropped.

use std::{collections::HashMap, path::PathBuf};

use futures::future::join_all;

use super::{KIND_CLUSTER, KIND_ROLE};
use crate::{
    Error, Result,
    docker::{
        Docker, Guard, Labels,
        labels::{OWNER, Owner},
    },
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
    booted: bool,
    containers: Vec<String>,
    network: Option<String>,
    /// Removes all of it when this process is killed.
    guard: Option<Guard>,
}

impl Made {
    pub(super) fn new(docker: Docker, name: String, keep: bool) -> Self {
        Self {
            docker,
            name,
            keep,
            booted: false,
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

    /// Refuses the name of another cluster, kubenest's or kind's own.
    pub(super) async fn refuse_taken_name(&self) -> Result<()> {
        let name = &self.name;
        for container in [format!("{name}-control-plane"), format!("{name}-guard")] {
            if self.docker.container(&container).await?.is_some() {
                let taken = format!("cluster name '{name}' is taken: container '{container}'");
                return Err(Error::input(taken).cure(format!(
                    "choose another name, or remove that cluster: `kubenest down {name}`, \
                     or `kind delete cluster --name {name}` if it is kind's"
                )));
            }
        }
        Ok(())
    }

    /// Has the death of this process watched, before anything else is made.
    pub(super) async fn start_guard(&mut self, image: &str) -> Result<()> {
        if !settings().keep {
            self.guard = Some(Guard::start(&self.docker, image, &self.name).await?);
        }
        Ok(())
    }

    /// Notes that the boot succeeded: from now on it is kept if that was asked for.
    pub(super) async fn settle(&mut self) -> Result<()> {
        if self.keep
            && let Some(guard) = self.guard.take()
        {
            guard.release().await?;
        }
        self.booted = true;
        Ok(())
    }

    /// What never worked is kept only by those who debug the boot itself.
    fn kept(&self) -> bool {
        if self.booted {
            self.keep
        } else {
            settings().keep
        }
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
        if self.kept() {
            if !self.containers.is_empty() {
                progress!("{}", self.leave());
            }
            return Ok(());
        }
        let mut failed = None;
        if !self.booted
            && let Some(guard) = self.guard.take()
        {
            // What was just being made is not there yet to be removed by name.
            failed = guard.finish().await.err();
        }
        let removals = self.containers.iter().map(|name| self.remove_own(name));
        let removed = join_all(removals).await;
        if let Some(network) = &self.network {
            self.docker.remove_network(network).await?;
            std::fs::remove_dir_all(folder(&self.name)).ok();
        }
        let failed = failed.or_else(|| removed.into_iter().find_map(Result::err));
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some(guard) = self.guard.take() {
            guard.release().await?;
        }
        self.forget();
        Ok(())
    }

    /// Removes a container that was noted, unless somebody else had its name first.
    async fn remove_own(&self, name: &str) -> Result<()> {
        let owner = Owner::current().to_string();
        match self.docker.container(name).await? {
            Some(found) if found.labels.get(OWNER) == Some(&owner) => {
                self.docker.remove_container(name).await
            }
            _ => Ok(()),
        }
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
        if self.containers.is_empty() && self.network.is_none() && self.guard.is_none() {
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
