//! The guard: a small container that removes a cluster when the process that owns it dies.
//!
//! A process that gets `kill -9` can do nothing any more, so somebody else has to. The guard
//! holds the other end of a stream that this process keeps open; when the stream ends without
//! a [`release`](Guard::release), it removes what bears the labels of owner, cluster and boot
//! through the engine's socket, and then itself. It has no network, and cannot write but to the
//! folder in which it may have to save what nodes say.

use std::{collections::HashMap, path::Path, pin::Pin, time::Duration};

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
    owner::Owner,
};
use crate::{Docker, container::HOST_USERS, explain::Explain};
use kubenest_base::{
    Context, Error, Result, background,
    wait::{self, Probe},
};

/// Where an engine's own host has its socket, whatever this client goes through.
const ENGINE_SIDE_SOCKET: &str = "/var/run/docker.sock";

/// How long a guard may take to say that it reaches the engine.
const START: Duration = Duration::from_secs(60);

/// How long a guard may take to remove a cluster.
const FINISH: Duration = Duration::from_secs(180);

/// What a guard saves of nodes before it removes them: what a script says that it runs in each,
/// to a folder that only its owner can look into.
#[derive(Clone, Copy)]
pub struct Saving<'a> {
    /// A folder of this machine. The script runs while `known.json` is in it, with what `cases`
    /// holds; its raw output is `<container>.raw`, and `saved` is there when all is done.
    pub folder: &'a Path,
    /// For bash; its arguments are a folder of the case that began first and the namespaces of
    /// all that run, or two empty words.
    pub script: &'a str,
    /// Empties the folder. It is called when the guard has its name, before it starts: until
    /// then the folder may be that of another cluster of this name.
    pub prepare: &'a (dyn Fn() -> Result<()> + Sync),
}

/// A running guard. Dropped without [`release`](Guard::release), it removes the cluster.
pub struct Guard {
    docker: Docker,
    id: String,
    saves: bool,
    /// Its end, however it comes, is the guard's signal.
    _stream: Pin<Box<dyn AsyncWrite + Send>>,
}

impl Guard {
    /// Starts a guard over the things of this process and boot of a cluster, made or yet to be
    /// made. `image` needs bash, jq, and curl or socat: every node image does. `containers` names
    /// those to be made: of these it also sees that they are just being made.
    ///
    /// # Errors
    /// The guard cannot be started, or does not reach the engine from within.
    pub async fn start(
        docker: &Docker,
        image: &str,
        cluster: &str,
        boot: &BootId,
        containers: &[String],
    ) -> Result<Self> {
        Self::start_saving(docker, image, (cluster, boot), containers, None).await
    }

    /// As [`start`](Guard::start); before it removes nodes, the guard saves what they say. Where
    /// the engine is not on this machine it cannot.
    pub async fn start_saving(
        docker: &Docker,
        image: &str,
        (cluster, boot): (&str, &BootId),
        containers: &[String],
        saving: Option<Saving<'_>>,
    ) -> Result<Self> {
        let usual = Path::new(ENGINE_SIDE_SOCKET);
        let near = docker.socket().unwrap_or(usual);
        let what = || format!("start the guard of cluster '{cluster}'");
        let name = format!("{cluster}-guard");
        let body = |socket, saving| body(image, (cluster, boot), containers, socket, saving);
        if let (Some(_), Some(saving)) = (docker.socket(), saving) {
            let body = body(near, Some(saving))?;
            match Self::start_with(docker, &name, body, saving.prepare).await {
                Ok(started) => {
                    return Ok(Self {
                        saves: true,
                        ..started
                    });
                }
                Err(error) => tracing::debug!("a guard that saves: {}", error.report()),
            }
        }
        let start = async |socket| {
            let body = body(socket, None)?;
            Self::start_with(docker, &name, body, &|| Ok(())).await
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

    /// Ends the guard: the cluster is gone already, or is kept on purpose.
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

    /// Leaves the guard alone until this process ends, when it removes the cluster.
    pub fn hold(self) {
        std::mem::forget(self);
    }

    /// Has the guard remove the cluster now, with what is still being made, and waits for it.
    ///
    /// # Errors
    /// It does not end, or the engine does not answer.
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
        // The cluster may outlive this runtime, and with it the stream that the guard lives by.
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
                _stream: input,
            }),
            Err(error) => {
                docker.remove_container(&id).await.ok();
                Err(error)
            }
        }
    }
}

/// Starts a guard; returns the stream that it lives by.
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

/// The guard looks itself up through its socket: that it finds itself proves that it talks to
/// the engine it runs in.
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

fn body(
    image: &str,
    (cluster, boot): (&str, &BootId),
    containers: &[String],
    socket: &Path,
    saving: Option<Saving<'_>>,
) -> Result<ContainerCreateBody> {
    let name = format!("{cluster}-guard");
    let want = HashMap::from([
        (OWNER, Owner::current().to_string()),
        (CLUSTER, cluster.to_owned()),
        (BOOT, boot.as_str().to_owned()),
    ]);
    let mut own = Labels::new(GUARD).cluster(cluster).boot(boot).map();
    own.extend(name_label([OWNER.to_owned()].iter(), &name));
    let label = want.iter().map(|(key, value)| format!("{key}={value}"));
    let filters = serde_json::json!({ "label": label.collect::<Vec<_>>() }).to_string();
    let labels = serde_json::to_string(&want).context("write the guard's labels")?;
    let bind = |from: &Path, to: &str| Mount {
        typ: Some(MountType::BIND),
        source: Some(from.to_string_lossy().into_owned()),
        target: Some(to.to_owned()),
        ..Default::default()
    };
    let folder = saving.map(|saving| bind(saving.folder, "/saved"));
    Ok(ContainerCreateBody {
        image: Some(image.to_owned()),
        labels: Some(own),
        entrypoint: Some(vec![
            "bash".into(),
            "-c".into(),
            include_str!("guard.sh").into(),
        ]),
        cmd: Some(Vec::new()),
        env: Some(vec![
            format!("GUARD={name}"),
            format!(
                "FILTERS={}",
                utf8_percent_encode(&filters, NON_ALPHANUMERIC)
            ),
            format!("LABELS={labels}"),
            format!("NAMES={}", containers.join("\n")),
            format!("LOOK={}", saving.map_or("", |saving| saving.script)),
        ]),
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
            // The folder is the owner's, whoever that is, and nobody else's.
            cap_add: folder.as_ref().map(|_| vec!["DAC_OVERRIDE".into()]),
            // SELinux keeps containers from the engine's socket unless told otherwise.
            security_opt: Some(vec!["no-new-privileges".into(), "label=disable".into()]),
            mounts: Some(
                [bind(socket, "/engine.sock")]
                    .into_iter()
                    .chain(folder)
                    .collect(),
            ),
            // Spares the copy of a node image's /var into a volume.
            tmpfs: Some(HashMap::from([("/var".into(), String::new())])),
            ..Default::default()
        }),
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ownership::labels::NAME;

    fn body_of(boot: &BootId) -> ContainerCreateBody {
        body("image", ("a", boot), &[], Path::new("/run/e.sock"), None).unwrap()
    }

    fn variable(body: ContainerCreateBody, name: &str) -> String {
        let all = body.env.unwrap().into_iter();
        let value = |line: String| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        all.filter_map(value).next().unwrap()
    }

    #[test]
    fn a_guard_is_shut_in_and_bears_its_owners_labels() {
        let body = body_of(&BootId::random());
        let labels = body.labels.unwrap();
        assert_eq!(labels[OWNER], Owner::current().to_string());
        assert_eq!(labels[NAME], "a-guard");
        let host = body.host_config.unwrap();
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!(host.userns_mode.as_deref(), Some("host"));
        assert_eq!(
            (host.readonly_rootfs, host.auto_remove),
            (Some(true), Some(true))
        );
        assert_eq!(
            host.mounts.unwrap()[0].source.as_deref(),
            Some("/run/e.sock")
        );
    }

    #[test]
    fn filters_reach_the_engine_as_data() {
        let filters = variable(body_of(&BootId::random()), "FILTERS");
        assert!(!filters.contains(['"', ' ', '&', '{']), "{filters}");
    }

    #[test]
    fn a_guard_wants_and_finds_the_things_of_its_own_boot_only() {
        let (one, other) = (BootId::random(), BootId::random());
        for (boot, has) in [(&one, true), (&other, false)] {
            for name in ["FILTERS", "LABELS"] {
                let value = variable(body_of(&one), name);
                assert_eq!(value.contains(boot.as_str()), has, "{value}");
            }
        }
    }
}
