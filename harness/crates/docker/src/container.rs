//! Makes, starts, inspects and removes containers.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use bollard::{
    errors::Error as EngineError,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerSummary, HostConfig,
        HostConfigCgroupnsModeEnum as CgroupNs, Mount, MountType, MountVolumeOptions, PortBinding,
    },
    query_parameters::{
        CreateContainerOptions, KillContainerOptions, ListContainersOptions, LogsOptions,
        RemoveContainerOptions, StopContainerOptions,
    },
};
use futures::StreamExt;

use super::{
    Docker,
    explain::Explain,
    is_gone,
    ownership::{freezer, labels},
};
use kubenest_base::{
    Context, Result,
    wait::{self, Probe},
};

/// How long the removal of a container by another process may take.
const REMOVAL: Duration = Duration::from_secs(120);

/// User namespace mode in which root of the container is root of the engine's host, also where the
/// engine remaps users (userns-remap).
pub(super) const HOST_USERS: &str = "host";

/// What a container is made of.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Its name and host name.
    pub name: String,
    /// The image, by reference or id.
    pub image: String,
    /// Labels; see [`Labels`](super::Labels).
    pub labels: HashMap<String, String>,
    /// Replaces the image's entry point.
    pub entrypoint: Option<Vec<String>>,
    /// Arguments.
    pub cmd: Vec<String>,
    /// Variables as `NAME=value`.
    pub env: Vec<String>,
    /// All of root's rights, own cgroup namespace: what a node needs.
    pub privileged: bool,
    /// Name of the network; none means no network at all.
    pub network: Option<String>,
    /// Container ports (TCP) to reach from the host on 127.0.0.1; 0 picks a free host port.
    pub ports: Vec<(u16, u16)>,
    /// Folders of the host: from, to, read-only.
    pub binds: Vec<(String, String, bool)>,
    /// Paths that get a volume of their own, removed with the container. The engine copies what the
    /// image has there.
    pub volumes: Vec<String>,
    /// Paths that get an empty volume of their own, removed with the container.
    pub empty_volumes: Vec<String>,
    /// A volume that several containers have.
    pub shared_volume: Option<SharedVolume>,
    /// Another container, whose volumes this one mounts read-only.
    pub volumes_from: Option<String>,
    /// Paths that are mounted in memory (tmpfs), each with its mount options.
    pub tmpfs: HashMap<String, String>,
    /// Keeps standard input open for an attached stream; the container sees when that stream ends.
    pub stdin: bool,
    /// The root file system cannot be written.
    pub read_only: bool,
}

/// A volume by name, which the engine makes with the first container that has it, empty.
#[derive(Debug, Clone)]
pub struct SharedVolume {
    /// Its name.
    pub name: String,
    /// Its labels; see [`Labels`](super::Labels). It is not removed with a container.
    pub labels: HashMap<String, String>,
    /// Where it is mounted.
    pub path: String,
}

/// How a container is doing.
#[derive(Debug, Clone)]
pub struct ContainerState {
    /// The full id.
    pub id: String,
    /// It runs now.
    pub running: bool,
    /// How its first process ended, if it did.
    pub exit_code: i64,
    /// Process id of its first process on the engine's host.
    pub pid: i32,
    /// Address on its first network.
    pub ip: Option<IpAddr>,
    /// Host ports on loopback by container port.
    pub ports: HashMap<u16, u16>,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Folders of the engine's host that are mounted into it, by their place in it.
    pub mounts: HashMap<String, String>,
}

impl Docker {
    /// Makes and starts a container; its name is its handle.
    ///
    /// # Errors
    /// The engine refuses, for example a name in use. What was made is removed again.
    pub async fn run(&self, spec: &ContainerSpec) -> Result<()> {
        self.create(spec).await?;
        let started = self.raw().start_container(&spec.name, None).await;
        if let Err(cause) = started {
            self.remove_container(&spec.name).await.ok();
            return Err(cause).explain(|| format!("start container '{}'", spec.name));
        }
        Ok(())
    }

    /// Makes a container without starting it.
    ///
    /// # Errors
    /// The engine refuses, for example a name in use.
    pub async fn create(&self, spec: &ContainerSpec) -> Result<()> {
        let options = CreateContainerOptions {
            name: Some(spec.name.clone()),
            ..Default::default()
        };
        self.raw()
            .create_container(Some(options), spec.body())
            .await
            .explain(|| format!("create container '{}'", spec.name))?;
        Ok(())
    }

    /// Starts a container that was made or stopped before.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn start_container(&self, name: &str) -> Result<()> {
        self.raw()
            .start_container(name, None)
            .await
            .explain(|| format!("start container '{name}'"))
    }

    /// Asks a container to end, and kills it after `grace`.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn stop_container(&self, name: &str, grace: Duration) -> Result<()> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptions {
            t: Some(seconds),
            signal: None,
        };
        self.raw()
            .stop_container(name, Some(options))
            .await
            .explain(|| format!("stop container '{name}'"))
    }

    /// Sends a signal, for example `SIGKILL`.
    ///
    /// # Errors
    /// The engine refuses; the container does not run.
    pub async fn kill_container(&self, name: &str, signal: &str) -> Result<()> {
        let options = KillContainerOptions {
            signal: signal.to_owned(),
        };
        self.raw()
            .kill_container(name, Some(options))
            .await
            .explain(|| format!("signal container '{name}'"))
    }

    /// Removes a container with its volumes, running or not. A missing container is no error.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn remove_container(&self, name: &str) -> Result<()> {
        let what = || format!("remove container '{name}'");
        let mut removed = self.delete(name).await;
        if removed.as_ref().is_err_and(cannot_be_killed)
            && let Some(found) = self.container(name).await?
            && freezer::thaw(&found.id)
        {
            removed = self.delete(name).await;
        }
        match removed {
            // A sweep or a guard is removing the container already. Wait until it is gone, because
            // the caller may go on to remove the container's network.
            Err(EngineError::DockerResponseServerError {
                status_code: 409,
                message,
            }) => {
                wait::until(&what(), REMOVAL, async || {
                    match self.container(name).await {
                        Ok(None) => Probe::Ready(()),
                        Ok(Some(found)) => {
                            freezer::thaw(&found.id);
                            Probe::Pending(message.clone())
                        }
                        Err(error) => Probe::Failed(error),
                    }
                })
                .await
            }
            Err(error) if !is_gone(&error) => Err(error).explain(what),
            _ => Ok(()),
        }
    }

    async fn delete(&self, name: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptions {
            force: true,
            v: true,
            link: false,
        };
        self.raw().remove_container(name, Some(options)).await
    }

    /// How a container is doing; `None` when there is none of that name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn container(&self, name: &str) -> Result<Option<ContainerState>> {
        match self.raw().inspect_container(name, None).await {
            Ok(found) => Ok(Some(state(found))),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error).explain(|| format!("inspect container '{name}'")),
        }
    }

    /// All that the engine knows of a container.
    ///
    /// # Errors
    /// There is no such container, or the engine does not answer.
    pub async fn inspect(&self, name: &str) -> Result<serde_json::Value> {
        let what = || format!("inspect container '{name}'");
        let found = self
            .raw()
            .inspect_container(name, None)
            .await
            .explain(what)?;
        serde_json::to_value(found).with_context(what)
    }

    /// Name of every container, running or not, that has this label, and the label's value.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn named_by(&self, label: &str) -> Result<Vec<(String, String)>> {
        let found = self.list_labelled(label).await?;
        let named = found.into_iter().filter_map(|container| {
            let name = container.names?.into_iter().next()?;
            let value = container.labels?.remove(label)?;
            Some((name.trim_start_matches('/').to_owned(), value))
        });
        Ok(named.collect())
    }

    /// Labels of every container, running or not, that was made with this label. A container that
    /// inherited the label, through an image made by `docker commit`, does not count.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn labelled(&self, label: &str) -> Result<Vec<HashMap<String, String>>> {
        let found = self.list_labelled(label).await?;
        let own = found.into_iter().filter_map(|container| {
            let labels = container.labels.unwrap_or_default();
            let names = container.names.unwrap_or_default();
            let is_name =
                |own: &String| names.iter().any(|name| name.trim_start_matches('/') == own);
            labels
                .get(labels::NAME)
                .is_none_or(is_name)
                .then_some(labels)
        });
        Ok(own.collect())
    }

    async fn list_labelled(&self, label: &str) -> Result<Vec<ContainerSummary>> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListContainersOptions {
            all: true,
            filters: Some(filters),
            ..Default::default()
        };
        self.raw()
            .list_containers(Some(options))
            .await
            .explain(|| "list containers".into())
    }

    /// The last `tail` lines that a container's first process wrote.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn logs(&self, name: &str, tail: usize) -> Result<String> {
        self.log_lines(name, tail, false).await
    }

    /// As [`logs`](Docker::logs), each line behind its time.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn stamped_logs(&self, name: &str, tail: usize) -> Result<String> {
        self.log_lines(name, tail, true).await
    }

    async fn log_lines(&self, name: &str, tail: usize, timestamps: bool) -> Result<String> {
        let options = LogsOptions {
            stdout: true,
            stderr: true,
            timestamps,
            tail: tail.to_string(),
            ..Default::default()
        };
        let mut stream = self.raw().logs(name, Some(options));
        let mut text = String::new();
        while let Some(part) = stream.next().await {
            let part = part.explain(|| format!("logs of container '{name}'"))?;
            text.push_str(&String::from_utf8_lossy(&part.into_bytes()));
        }
        Ok(text)
    }
}

impl ContainerSpec {
    fn body(&self) -> ContainerCreateBody {
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        let bind = |(from, to, read_only): &(String, String, bool)| Mount {
            typ: Some(MountType::BIND),
            source: Some(from.clone()),
            target: Some(to.clone()),
            read_only: Some(*read_only),
            ..Default::default()
        };
        let mounts = self.binds.iter().map(bind);
        let port = |&(inside, outside): &(u16, u16)| {
            let binding = PortBinding {
                host_ip: Some("127.0.0.1".into()),
                host_port: Some(if outside == 0 {
                    String::new()
                } else {
                    outside.to_string()
                }),
            };
            (format!("{inside}/tcp"), Some(vec![binding]))
        };
        let mut labels = self.labels.clone();
        labels.extend(labels::name_label(self.labels.keys(), &self.name));
        ContainerCreateBody {
            hostname: Some(self.name.clone()),
            image: Some(self.image.clone()),
            labels: Some(labels),
            entrypoint: self.entrypoint.clone(),
            cmd: some(&self.cmd),
            env: some(&self.env),
            open_stdin: Some(self.stdin),
            stdin_once: Some(self.stdin),
            attach_stdin: Some(self.stdin),
            exposed_ports: some(&self.ports.iter().map(|(p, _)| format!("{p}/tcp")).collect()),
            volumes: some(&self.volumes),
            host_config: Some(HostConfig {
                privileged: Some(self.privileged),
                init: Some(false),
                // An engine with userns-remap refuses privileged containers without this mode, and
                // no other container could read their volumes.
                userns_mode: (self.privileged || self.volumes_from.is_some())
                    .then(|| HOST_USERS.to_owned()),
                cgroupns_mode: self.privileged.then_some(CgroupNs::PRIVATE),
                security_opt: self.privileged.then(|| {
                    vec![
                        "seccomp=unconfined".to_owned(),
                        "apparmor=unconfined".to_owned(),
                    ]
                }),
                network_mode: Some(self.network.clone().unwrap_or_else(|| "none".into())),
                port_bindings: Some(self.ports.iter().map(port).collect()),
                mounts: Some(
                    mounts
                        .chain(self.empty_volumes.iter().map(|path| empty_volume(path)))
                        .chain(self.shared_volume.as_ref().map(shared_volume))
                        .collect(),
                ),
                tmpfs: Some(self.tmpfs.clone()),
                volumes_from: self
                    .volumes_from
                    .as_ref()
                    .map(|name| vec![format!("{name}:ro")]),
                readonly_rootfs: Some(self.read_only),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

fn empty_volume(path: &str) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        target: Some(path.to_owned()),
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn shared_volume(volume: &SharedVolume) -> Mount {
    let mut mount = empty_volume(&volume.path);
    mount.source = Some(volume.name.clone());
    if let Some(options) = &mut mount.volume_options {
        options.labels = Some(volume.labels.clone());
    }
    mount
}

fn cannot_be_killed(error: &EngineError) -> bool {
    matches!(error, EngineError::DockerResponseServerError { message, .. }
        if message.contains("could not kill"))
}

fn state(found: ContainerInspectResponse) -> ContainerState {
    let state = found.state.unwrap_or_default();
    let network = found.network_settings.unwrap_or_default();
    let ports = network
        .ports
        .unwrap_or_default()
        .into_iter()
        .filter_map(|(port, bound)| {
            let inside = port.strip_suffix("/tcp")?.parse().ok()?;
            let outside = bound?.first()?.host_port.as_ref()?.parse().ok()?;
            Some((inside, outside))
        });
    let ip = network
        .networks
        .unwrap_or_default()
        .into_values()
        .find_map(|network| network.ip_address?.parse().ok());
    let mounts = found.mounts.unwrap_or_default().into_iter();
    let mounts = mounts.filter_map(|mount| Some((mount.destination?, mount.source?)));
    ContainerState {
        mounts: mounts.collect(),
        id: found.id.unwrap_or_default(),
        running: state.running.unwrap_or(false),
        exit_code: state.exit_code.unwrap_or(0),
        pid: i32::try_from(state.pid.unwrap_or(0)).unwrap_or(0),
        ip,
        ports: ports.collect(),
        labels: found
            .config
            .and_then(|config| config.labels)
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_needs_it_has_the_engines_own_root() {
        let users = |spec: ContainerSpec| spec.body().host_config.unwrap().userns_mode;
        let host = Some("host".to_owned());
        assert_eq!(users(ContainerSpec::default()), None);
        let node = ContainerSpec {
            privileged: true,
            ..ContainerSpec::default()
        };
        assert_eq!(users(node), host);
        let reader = ContainerSpec {
            volumes_from: Some("a".into()),
            ..ContainerSpec::default()
        };
        assert_eq!(users(reader), host);
    }
}
