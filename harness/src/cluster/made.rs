//! What a boot has made so far, and its removal: when asked, on failure, when dropped.

use std::{collections::HashMap, path::PathBuf};

use futures::future::join_all;

use super::{kubeconfig, tunnel::Tunnel};
use crate::{
    Error, Result,
    docker::{
        Docker, Guard, Labels, Saving,
        labels::{CLUSTER, OWNER, Owner},
    },
    evidence::{self, Subject, Why},
    node::{KIND_CLUSTER, KIND_ROLE, Role},
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
    /// What evidence is collected of, from the first container on.
    subject: Option<Subject>,
    /// The way to the API server, where its port is not on this machine.
    tunnel: Option<Tunnel>,
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
            subject: None,
            tunnel: None,
        }
    }

    /// Keeps the way to the API server open for as long as the cluster is in use here.
    pub(super) fn through(&mut self, tunnel: Option<Tunnel>) {
        self.tunnel = tunnel;
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Takes the names of the nodes, the first of which is the control plane.
    ///
    /// From here on what bears them is removed, unless somebody else's label is on it.
    pub(super) async fn claim_names(&mut self, nodes: usize) -> Result<()> {
        let cluster = &self.name;
        let name = |index| match index {
            0 => format!("{cluster}-control-plane"),
            1 => format!("{cluster}-worker"),
            _ => format!("{cluster}-worker{index}"),
        };
        let names: Vec<String> = (0..nodes).map(name).collect();
        for name in names.iter().chain([&self.guard_name()]) {
            if self.docker.container(name).await?.is_some() {
                let taken = format!("cluster name '{cluster}' is taken by container '{name}'");
                return Err(Error::input(taken).cure(format!(
                    "choose another name, or remove that cluster: `kubenest down {cluster}`, \
                     or `kind delete cluster --name {cluster}` if it is kind's"
                )));
            }
        }
        self.subject = Some(Subject::new(&self.docker, cluster, &names));
        self.containers = names;
        Ok(())
    }

    /// What evidence is collected of; none before there is anything.
    pub(super) fn subject(&self) -> Option<&Subject> {
        self.subject.as_ref()
    }

    /// Names of the nodes.
    pub(super) fn containers(&self) -> &[String] {
        &self.containers
    }

    fn guard_name(&self) -> String {
        format!("{}-guard", self.name)
    }

    /// Has the death of this process watched, before anything else is made.
    pub(super) async fn start_guard(&mut self, image: &str) -> Result<()> {
        if !settings().keep {
            let folder = evidence::prepare(&self.name)?;
            if let Some(subject) = &self.subject {
                subject.note();
            }
            let saving = Saving {
                folder: &folder,
                script: evidence::LOOK,
            };
            let (docker, containers) = (&self.docker, &self.containers);
            let guard = Guard::start_saving(docker, image, &self.name, containers, Some(saving));
            let guard = guard.await?;
            if !guard.saves() {
                evidence::unprepare(&self.name);
            }
            self.guard = Some(guard);
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
        if let Some(tunnel) = &self.tunnel
            && let Err(error) = kubeconfig::point_at(&self.name, tunnel.published)
        {
            tracing::warn!("{}", error.report());
        }
        self.forget();
        hint
    }

    fn hint(&self) -> String {
        let kubeconfig = kubeconfig_path(&self.name);
        let engine: String = self
            .docker
            .endpoint()
            .variables()
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("{name}={} ", quote(value)))
            .collect();
        let mut text = format!("cluster '{}' is kept; look inside with\n", self.name);
        let kubeconfig = quote(&kubeconfig.to_string_lossy());
        text.push_str(&format!("  export KUBECONFIG={kubeconfig}\n"));
        if let Some(Tunnel { published, .. }) = &self.tunnel {
            text.push_str(&format!(
                "  # whose address, 127.0.0.1:{published}, is on the engine's machine only; here, \
                 forward it:\n  # ssh -NL {published}:127.0.0.1:{published} THAT-MACHINE\n"
            ));
        }
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
        // After a signal somebody is still looking at the nodes.
        evidence::unless_ending(async {}).await;
        if let Some(subject) = &self.subject {
            subject.forget();
        }
        let mut failed = None;
        if !self.booted
            && let Some(guard) = self.guard.take()
        {
            // What is just being made cannot be removed by name: the guard waits for it.
            failed = guard.finish().await.err();
        }
        let removals = self.containers.iter().map(|name| self.remove_own(name));
        let removed = join_all(removals).await;
        let mut failed = failed.or_else(|| removed.into_iter().find_map(Result::err));
        if let Some(network) = &self.network {
            let removed = self.docker.remove_network(network).await;
            std::fs::remove_dir_all(folder(&self.name)).ok();
            // A container that is left holds it: that one is the cause.
            failed = failed.or(removed.err());
        }
        if let Some(error) = failed {
            return Err(error);
        }
        // Last, so that it goes on if this process dies on the way.
        self.remove_own(&self.guard_name()).await?;
        self.forget();
        Ok(())
    }

    /// Removes a container unless somebody else had its name first.
    async fn remove_own(&self, name: &str) -> Result<()> {
        let Some(found) = self.docker.container(name).await? else {
            return Ok(());
        };
        let owner = Owner::current().to_string();
        let is = |key: &str, value: &str| found.labels.get(key).is_some_and(|is| is == value);
        if is(OWNER, &owner) && is(CLUSTER, &self.name) {
            self.docker.remove_container(&found.id).await?;
        }
        Ok(())
    }

    fn forget(&mut self) {
        if let Some(subject) = self.subject.take() {
            subject.forget();
        }
        self.containers.clear();
        self.network = None;
        self.guard = None;
        self.tunnel = None;
    }

    /// Why it is dropped without having been removed, if that is worth its evidence.
    fn lost(&self) -> Option<Why> {
        let (reason, message) = match (std::thread::panicking(), self.booted) {
            (true, _) => ("panicked", "the test panicked"),
            (false, false) => ("interrupted", "the boot was given up"),
            (false, true) => return None,
        };
        Some(Why {
            reason,
            message: message.to_owned(),
            ..Why::default()
        })
    }
}

/// The safety net: a test that panicked, a boot that was given up.
impl Drop for Made {
    fn drop(&mut self) {
        if self.containers.is_empty() {
            return;
        }
        let why = self.lost();
        // A runtime of its own: this one may be going down, and a drop cannot wait for it.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build();
                let Ok(runtime) = runtime else {
                    return;
                };
                let removed = runtime.block_on(async {
                    if let (Some(why), Some(subject)) = (why, &self.subject)
                        && let Some(kept) = evidence::keep_once(subject, &why).await
                    {
                        progress!("{kept}");
                    }
                    self.remove().await
                });
                if let Err(error) = removed {
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
