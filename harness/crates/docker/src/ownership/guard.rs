//! The guard: a small container that removes a cluster when its owner dies.
//!
//! A process that gets `kill -9` cannot clean up, so another process must do it. The guard holds
//! the other end of a stream that this process keeps open. When the stream ends without a
//! [`release`](Guard::release), the guard removes, through the engine's socket, everything with the
//! labels of this owner, cluster and boot, and then itself. It has no network, and can write only
//! to the folder into which it may have to save what the nodes say.
//!
//! The guard of a lease mounts the folder of the cache's leases. It waits until nobody has held the
//! lease for the idle time, marks its end so that nobody can hold it any more, and removes its files
//! too. It outlives the process that started it. Where the engine is on another machine the guard
//! cannot see that folder; then it removes nothing and leaves the removal to a sweep.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Mutex,
    time::Duration,
};

use bollard::{
    container::{AttachContainerResults, LogOutput},
    models::{ContainerCreateBody, HostConfig, Mount, MountType},
    query_parameters::{AttachContainerOptions, CreateContainerOptions},
};
use futures::StreamExt;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::io::AsyncWrite;

use super::{
    labels::{BOOT, BootId, CLUSTER, GUARD, Labels, OWNER, name_label},
    owner::{Lease, Owner},
};
use crate::{Docker, container::HOST_USERS, explain::Explain};
use kubenest_base::{
    Context, Error, Result, background,
    wait::{self, Probe},
};

/// Path of the socket on the engine's own host, whatever path this client uses.
const ENGINE_SIDE_SOCKET: &str = "/var/run/docker.sock";

/// How long a guard may take to say that it reaches the engine.
const START: Duration = Duration::from_secs(60);

/// How long a guard may take to remove a cluster.
const FINISH: Duration = Duration::from_secs(180);

/// What a guard saves of the nodes before it removes them: the output of a script that it runs in
/// each node, in a folder that only the folder's owner can read.
#[derive(Clone, Copy)]
pub struct Saving<'a> {
    /// A folder of this machine. The script runs only while the file `known.json` is in it, with
    /// the contents of the file `cases`. The raw output goes to `<container>.raw`, and the file
    /// `saved` appears when all is done.
    pub folder: &'a Path,
    /// A bash script. Its arguments are a folder of the case that began first and the namespaces of
    /// all running cases, or two empty strings.
    pub script: &'a str,
    /// Empties the folder. It is called once the guard has its name and before it starts: until
    /// then the folder may belong to another cluster of this name.
    pub prepare: &'a (dyn Fn() -> Result<()> + Sync),
}

/// The resources that a guard watches over: those of one owner and one boot of a cluster, made or
/// still to be made.
#[derive(Debug, Clone)]
pub struct Ward<'a> {
    owner: Owner,
    cluster: &'a str,
    boot: &'a BootId,
    containers: &'a [String],
    idle: Duration,
    folder: Option<PathBuf>,
}

impl<'a> Ward<'a> {
    /// The resources of this process and this boot of a cluster.
    pub fn new(cluster: &'a str, boot: &'a BootId) -> Self {
        Self {
            owner: Owner::current().clone(),
            cluster,
            boot,
            containers: &[],
            idle: Duration::ZERO,
            folder: None,
        }
    }

    /// The resources of this owner instead of this process.
    #[must_use]
    pub fn owner(self, owner: &Owner) -> Self {
        let owner = owner.clone();
        Self { owner, ..self }
    }

    /// Names of containers that will be made. The guard also notices when a container of such a
    /// name is still being made.
    #[must_use]
    pub fn containers(self, containers: &'a [String]) -> Self {
        Self { containers, ..self }
    }

    /// How long a lease waits for another holder after the last one has released it.
    #[must_use]
    pub fn idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// A folder of this machine that the guard of a lease removes with the rest.
    #[must_use]
    pub fn folder(self, folder: PathBuf) -> Self {
        let folder = Some(folder);
        Self { folder, ..self }
    }

    fn guard_name(&self) -> String {
        format!("{}-guard", self.cluster)
    }
}

/// A running guard. Dropped without [`release`](Guard::release), it removes the cluster.
pub struct Guard {
    docker: Docker,
    id: String,
    saves: bool,
    sees_lease: bool,
    /// The end of this stream, whatever ends it, is the signal to the guard. Nobody uses it: the
    /// lock is there so that threads can share a guard.
    _stream: Mutex<Pin<Box<dyn AsyncWrite + Send>>>,
}

impl Guard {
    /// Starts a guard. `image` needs bash, jq, and curl or socat, and flock for a lease: every node
    /// image has them.
    ///
    /// # Errors
    /// The guard cannot be started, or does not reach the engine from within.
    pub async fn start(docker: &Docker, image: &str, ward: &Ward<'_>) -> Result<Self> {
        Self::start_saving(docker, image, ward, None).await
    }

    /// As [`start`](Guard::start), and the guard saves what the nodes say before it removes them.
    /// It cannot save where the engine is not on this machine.
    pub async fn start_saving(
        docker: &Docker,
        image: &str,
        ward: &Ward<'_>,
        saving: Option<Saving<'_>>,
    ) -> Result<Self> {
        let usual = Path::new(ENGINE_SIDE_SOCKET);
        let near = docker.socket().unwrap_or(usual);
        let own = || docker.labels(GUARD);
        let what = || format!("start the guard of cluster '{}'", ward.cluster);
        let folders = Folders {
            saving,
            lease: match &ward.owner {
                Owner::Process(_) => None,
                Owner::Lease(lease) => Some(lease),
            },
            folder: ward.folder.as_deref(),
        };
        if docker.socket().is_some() && !folders.is_empty() {
            let body = body(own(), image, ward, near, folders)?;
            let nothing = || Ok(());
            let prepare = saving.map_or(&nothing as _, |saving| saving.prepare);
            match Self::start_with(docker, &ward.guard_name(), body, prepare).await {
                Ok(started) => {
                    return Ok(Self {
                        saves: saving.is_some(),
                        sees_lease: folders.lease.is_some(),
                        ..started
                    });
                }
                Err(error) => tracing::debug!("a guard that sees folders: {}", error.report()),
            }
        }
        let start = async |socket| {
            let body = body(own(), image, ward, socket, Folders::default())?;
            Self::start_with(docker, &ward.guard_name(), body, &|| Ok(())).await
        };
        let error = match start(near).await {
            Err(error) if near != usual => error,
            started => return started.with_context(what),
        };
        // A client's path to a remote engine, or to one in a virtual machine, means nothing on
        // the engine's side; its usual path may.
        let started = start(usual).await;
        started.map_err(|_| error).with_context(what)
    }

    /// Whether it saves what nodes say before it removes them.
    pub fn saves(&self) -> bool {
        self.saves
    }

    /// Whether it sees who holds the lease that it watches.
    pub fn sees_lease(&self) -> bool {
        self.sees_lease
    }

    /// Ends the guard, because the cluster is gone already or is kept on purpose.
    ///
    /// # Errors
    /// The engine does not answer; the guard then stays.
    pub async fn release(self) -> Result<()> {
        let released = self.docker.remove_container(&self.id).await;
        if released.is_err() {
            self.hold();
        }
        released
    }

    /// Leaves the guard running until this process ends; then it removes the cluster.
    pub fn hold(self) {
        std::mem::forget(self);
    }

    /// Makes the guard remove the cluster now, including resources that are still being made, and
    /// waits for it. The cluster of a lease is removed when nobody holds the lease any more.
    ///
    /// # Errors
    /// The guard does not end, or the engine does not answer.
    pub async fn finish(self) -> Result<()> {
        let (docker, id) = (self.docker.clone(), self.id.clone());
        drop(self);
        wait::until("the guard's end", FINISH, async || {
            match docker.container(&id).await {
                Ok(None) => Probe::Ready(()),
                Ok(Some(_)) => Probe::Pending("it runs".into()),
                Err(error) => Probe::Failed(error),
            }
        })
        .await
    }

    async fn start_with(
        docker: &Docker,
        name: &str,
        body: ContainerCreateBody,
        prepare: &(dyn Fn() -> Result<()> + Sync),
    ) -> Result<Self> {
        let options = CreateContainerOptions {
            name: Some(name.to_owned()),
            ..Default::default()
        };
        let created = docker.raw().create_container(Some(options), body).await;
        let id = created.explain(|| format!("create container '{name}'"))?.id;
        // The attached stream keeps the guard alive. It runs in the background, because the cluster
        // may outlive this runtime.
        let attached = async {
            prepare()?;
            background::run(attach(docker.clone(), id.clone())).await
        };
        let started = wait::within("the guard to reach the engine", START, attached).await;
        match started {
            Ok(input) => Ok(Self {
                docker: docker.clone(),
                id,
                saves: false,
                sees_lease: false,
                _stream: Mutex::new(input),
            }),
            Err(error) => {
                docker.remove_container(&id).await.ok();
                Err(error)
            }
        }
    }
}

/// Starts a guard and returns the stream that keeps it alive.
async fn attach(docker: Docker, id: String) -> Result<Pin<Box<dyn AsyncWrite + Send>>> {
    let options = AttachContainerOptions {
        stream: true,
        stdin: true,
        stdout: true,
        stderr: true,
        ..Default::default()
    };
    let attached = docker.raw().attach_container(&id, Some(options)).await;
    let mut attached = attached.explain(|| "attach to the guard".into())?;
    docker.start_container(&id).await?;
    reaches_engine(&mut attached, &id).await?;
    Ok(attached.input)
}

/// Waits until the guard has found its own container through its socket. This proves that it talks
/// to the engine that it runs in.
async fn reaches_engine(attached: &mut AttachContainerResults, id: &str) -> Result<()> {
    let mut said = String::new();
    while let Some(part) = attached.output.next().await {
        let part: LogOutput = part.explain(|| "read from the guard".into())?;
        said.push_str(&String::from_utf8_lossy(&part.into_bytes()));
        if said.contains(id) {
            return Ok(());
        }
        if said.contains('\n') {
            break;
        }
    }
    Err(Error::setup(format!(
        "the guard does not reach its engine: {}",
        said.trim()
    ))
    .cure(
        "the engine's socket must be where DOCKER_HOST says, or at /var/run/docker.sock on the \
         engine's machine; the node image must have bash, jq, and curl or socat",
    ))
}

/// The folders of this machine that are mounted into a guard.
#[derive(Clone, Copy, Default)]
struct Folders<'a> {
    saving: Option<Saving<'a>>,
    lease: Option<&'a Lease>,
    /// A folder that goes with the lease.
    folder: Option<&'a Path>,
}

impl Folders<'_> {
    fn is_empty(&self) -> bool {
        self.saving.is_none() && self.lease.is_none()
    }

    fn mounts(&self) -> Vec<Mount> {
        let saving = self.saving.map(|saving| bind(saving.folder, "/saved"));
        // To remove a folder takes the one that it is in.
        let lease = self.lease.map(|lease| bind(&lease.leases(), "/leases"));
        let home = self.folder.and_then(Path::parent);
        let home = home.map(|home| bind(home, "/folders"));
        let home = home.filter(|_| lease.is_some());
        saving.into_iter().chain(lease).chain(home).collect()
    }

    /// The variables of the guard of a lease.
    fn variables(&self, idle: Duration) -> Vec<String> {
        let Some(lease) = self.lease else {
            return Vec::new();
        };
        let folder = self.folder.and_then(Path::file_name);
        vec![
            format!("LEASE={}", lease.id().as_str()),
            format!("IDLE={}", idle.as_secs()),
            format!("FOLDER={}", folder.unwrap_or_default().to_string_lossy()),
        ]
    }

    /// The capability to read and write the folders, which belong to their owner alone, whoever
    /// that is.
    fn capabilities(&self) -> Vec<String> {
        match self.is_empty() {
            true => Vec::new(),
            false => vec!["DAC_OVERRIDE".to_owned()],
        }
    }
}

fn bind(from: &Path, to: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(from.to_string_lossy().into_owned()),
        target: Some(to.to_owned()),
        ..Default::default()
    }
}

/// `own` are the guard's own labels, without those of its owner and its ward.
fn body(
    own: Labels,
    image: &str,
    ward: &Ward<'_>,
    socket: &Path,
    folders: Folders<'_>,
) -> Result<ContainerCreateBody> {
    let name = ward.guard_name();
    let want = HashMap::from([
        (OWNER, ward.owner.to_string()),
        (CLUSTER, ward.cluster.to_owned()),
        (BOOT, ward.boot.as_str().to_owned()),
    ]);
    let own = own.owner(&ward.owner);
    let mut own = own.cluster(ward.cluster).boot(ward.boot).map();
    own.extend(name_label([OWNER.to_owned()].iter(), &name));
    let label = want.iter().map(|(key, value)| format!("{key}={value}"));
    let filters = serde_json::json!({ "label": label.collect::<Vec<_>>() }).to_string();
    let labels = serde_json::to_string(&want).context("write the guard's labels")?;
    let owner = match ward.owner {
        Owner::Process(_) => "process",
        Owner::Lease(_) if folders.lease.is_some() => "lease",
        Owner::Lease(_) => "unseen lease",
    };
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(own),
        entrypoint: Some(vec![
            "bash".into(),
            "-c".into(),
            include_str!("guard.sh").into(),
        ]),
        cmd: Some(Vec::new()),
        env: Some(
            [
                format!("GUARD={name}"),
                format!(
                    "FILTERS={}",
                    utf8_percent_encode(&filters, NON_ALPHANUMERIC)
                ),
                format!("LABELS={labels}"),
                format!("NAMES={}", ward.containers.join("\n")),
                format!("LOOK={}", folders.saving.map_or("", |saving| saving.script)),
                format!("OWNER={owner}"),
            ]
            .into_iter()
            .chain(folders.variables(ward.idle))
            .collect(),
        ),
        user: Some("0:0".into()),
        open_stdin: Some(true),
        stdin_once: Some(true),
        attach_stdin: Some(true),
        host_config: Some(HostConfig {
            auto_remove: Some(true),
            init: Some(false),
            network_mode: Some("none".into()),
            // Only the engine's own root may open its socket.
            userns_mode: Some(HOST_USERS.into()),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".into()]),
            cap_add: Some(folders.capabilities()),
            // SELinux keeps containers from the engine's socket unless told otherwise.
            security_opt: Some(vec!["no-new-privileges".into(), "label=disable".into()]),
            mounts: Some(
                [bind(socket, "/engine.sock")]
                    .into_iter()
                    .chain(folders.mounts())
                    .collect(),
            ),
            // Avoids a copy of the node image's /var into a volume.
            tmpfs: Some(HashMap::from([("/var".into(), String::new())])),
            ..Default::default()
        }),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests;
