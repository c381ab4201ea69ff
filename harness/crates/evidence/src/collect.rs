//! Collects the evidence of a cluster: from its nodes, its engine and this machine.

use std::{path::Path, time::Duration};

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    Bundle,
    look::look,
    notes::About,
    occasion::Occasion,
    part::{CriAnswer, Kind, Parts},
    redact,
    secrets::learn,
    subject::Subject,
    writer::write,
};
use kubenest_base::{Result, wait};
use kubenest_docker::Docker;
use kubenest_node::node::{Node, Role};

/// How long all looks together may take, unless a signal leaves less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long one question to the engine or to CRI may take.
const QUESTION: Duration = Duration::from_secs(8);
/// How many lines of a container's own output are kept.
const TAIL: usize = 5_000;

/// Writes a bundle of what can be collected in this time, into `home` or the default place of the
/// cluster's bundles.
pub(super) async fn collect(
    subject: &Subject,
    why: &Occasion,
    home: Option<&Path>,
    patience: Duration,
) -> Result<Bundle> {
    let mut about = subject.about();
    if let Some(home) = home {
        about.cluster.home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
    }
    let own = gather(subject.docker(), &about, patience);
    let (mut found, around) = tokio::join!(own, gather_around(subject, patience));
    found.merge(around);
    if let Some(lock) = subject
        .docker()
        .settings()
        .lock
        .as_deref()
        .and_then(|path| std::fs::read(path).ok())
    {
        found.add(Kind::LockFile.of_none(), lock);
    }
    let secrets = learn(redact::secrets_in(&found.documents()));
    write(&about, why, found, &secrets)
}

/// What the clusters around this one say: when it no longer answers, they still do.
async fn gather_around(subject: &Subject, patience: Duration) -> Parts {
    let layers = subject.around();
    let asked = layers.iter().map(|layer| async move {
        // Its own cases are not what this bundle is about.
        let about = About {
            cluster: layer.about().cluster,
            ..About::default()
        };
        let found = gather(layer.docker(), &about, patience).await;
        found.of_layer(&layer.path(), &about.cluster.nodes)
    });
    let mut all = Parts::default();
    join_all(asked)
        .await
        .into_iter()
        .for_each(|found| all.merge(found));
    all
}

pub(super) async fn gather(docker: &Docker, about: &About, patience: Duration) -> Parts {
    let short = QUESTION.min(patience);
    let nodes = || about.cluster.nodes.iter();
    let looks = nodes().map(|node| look(docker, about, node, patience));
    let daemons = nodes().map(|node| runtime(docker, node, short));
    let engine = nodes().map(|node| container(docker, node, short));
    let (looks, daemons, engine, host) = tokio::join!(
        join_all(looks),
        join_all(daemons),
        join_all(engine),
        host(docker, short)
    );
    let mut found = Parts::default();
    looks
        .into_iter()
        .chain(daemons)
        .chain(engine)
        .for_each(|part| found.merge(part));
    found.merge(host);
    found
}

/// What the container runtime says over CRI.
async fn runtime(docker: &Docker, node: &str, deadline: Duration) -> Parts {
    let mut found = Parts::default();
    let ask = async {
        let node = Node::attach(docker, node, Role::Worker).await?;
        let cri = node.cri().await?;
        let (version, status, images, containers) = tokio::try_join!(
            cri.version(),
            cri.status(true),
            cri.images(),
            cri.containers()
        )?;
        let conditions = status.conditions().iter().map(|condition| {
            json!({"type": condition.kind, "holds": condition.holds,
                "reason": condition.reason, "message": condition.message})
        });
        let info = status.info.iter().map(|(key, text)| {
            (
                key.clone(),
                serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
            )
        });
        let images: Vec<Value> = images
            .iter()
            .map(|image| {
                json!({"id": image.id, "tags": image.tags, "digests": image.digests,
                "size": image.size, "pinned": image.pinned})
            })
            .collect();
        Ok((
            json!({"version": {"name": version.runtime_name, "version": version.runtime_version,
                    "api": version.runtime_api_version},
                "conditions": conditions.collect::<Vec<_>>(),
                "info": info.collect::<serde_json::Map<_, _>>()}),
            json!(images),
            containers,
        ))
    };
    match wait::within("the runtime's answers", deadline, ask).await {
        Ok((status, images, containers)) => {
            for (answer, value) in [
                (CriAnswer::Status, status),
                (CriAnswer::Images, images),
                (CriAnswer::Containers, containers),
            ] {
                found.add(Kind::Cri(answer).of(node), value.to_string());
            }
        }
        Err(error) => found.miss("CRI", node, &error.report()),
    }
    found
}

/// What the engine says of a node's container.
async fn container(docker: &Docker, node: &str, deadline: Duration) -> Parts {
    let mut found = Parts::default();
    let inspect = wait::within("inspect", deadline, docker.inspect(node));
    let logs = wait::within("logs", deadline, docker.stamped_logs(node, TAIL));
    let (inspect, logs) = tokio::join!(inspect, logs);
    match inspect {
        Ok(document) => found.add(Kind::Container.of(node), document.to_string()),
        Err(error) => found.miss("inspect", node, &error.report()),
    }
    match logs {
        Ok(text) => found.add(Kind::ContainerLog.of(node), text),
        Err(error) => found.miss("container's output", node, &error.report()),
    }
    found
}

/// The machine of this process, and its engine.
async fn host(docker: &Docker, deadline: Duration) -> Parts {
    let mut found = Parts::default();
    match wait::within("the engine's answer", deadline, docker.info()).await {
        Ok(info) => {
            let about = json!({"version": info.version, "storage_driver": info.storage_driver,
                "cgroup_version": info.cgroup_version, "data_root": info.data_root,
                "containerd_store": info.containerd_store,
                "endpoint": docker.endpoint().to_string()});
            found.add(Kind::Engine.of_none(), about.to_string());
        }
        Err(error) => found.miss("engine", "", &error.report()),
    }
    let files = [
        "/proc/version",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/pressure/memory",
        "/proc/pressure/io",
        "/etc/os-release",
        "/proc/sys/fs/inotify/max_user_instances",
    ];
    let read = files.iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(((*path).to_owned(), text.trim().into()))
    });
    let files: serde_json::Map<String, Value> = read.collect();
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let about =
        json!({"kubenest": env!("CARGO_PKG_VERSION"), "processors": threads, "files": files});
    found.add(Kind::Host.of_none(), about.to_string());
    found
}
