//! The pod in which the engine of a nested cluster runs, on a node of the cluster around it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::{Api, Client, api::LogParams, core::ApiResource};
use serde_json::{Value, json};

use super::needs::Needs;
use crate::cluster::{
    Cluster, SLOW, STEP, addresses::Subnet, clients::Clients, probe::container_id,
    removal::run_in_drop,
};
use kubenest_base::{
    Context, Error, Result,
    wait::{self, Probe},
};
use kubenest_docker::{
    Docker, ExecOutput,
    discover::{Endpoint, Nest, Origin},
    labels,
};
use kubenest_forge::image::NestedImage;
use kubenest_health::layer::LayerFacts;
use kubenest_node::{
    node::Node,
    objects::{self, ObjectRef, seen},
};

const NAMESPACE: &str = "default";
/// Runs in the pod until its engine's root is there.
const HOLD: &str = include_str!("hold.sh");
/// Then becomes the engine.
const START: &str = include_str!("start-engine.sh");
/// How long the engine has to end by itself: with less, the API server forgets the pod before the
/// kubelet has removed it.
const GRACE: u32 = 1;
/// Where the pod tells what it is like.
const FACTS: &str = "run/kubenest-layer";
/// The engine's socket.
const SOCKET: &str = "run/docker.sock";
/// Lines of an engine's log in an error.
const LINES: i64 = 15;

/// The container of a job beside the engine.
pub(super) const JOB: &str = "job";
/// The folder that a job shares with the engine beside it; the engine's socket is there, too.
const SHARED: &str = "/kubenest";

/// A pod with an engine. Dropping it removes it.
pub(in crate::cluster) struct EnginePod {
    name: String,
    uid: String,
    node: Node,
    /// The way to the outer API server, also from another runtime.
    clients: Clients,
    gone: bool,
}

impl EnginePod {
    /// Starts a pod that waits for the root of its engine, with a container of a job's image beside it if
    /// there is one.
    pub(super) async fn start(
        outer: &Cluster,
        name: &str,
        image: &NestedImage,
        needs: Needs,
        range: Subnet,
        job: Option<&str>,
    ) -> Result<Self> {
        let mut pod = manifest(name, &image.reference, needs, range);
        if let Some(job) = job {
            add_job(&mut pod, &image.reference, job);
        }
        let pod: Pod = serde_json::from_value(pod).context("write the pod of an engine")?;
        let clients = outer.clients.try_clone()?;
        let client = clients.here();
        let made = objects::create(&client, NAMESPACE, &pod).await?;
        let mut started = Self {
            name: name.to_owned(),
            uid: made.metadata.uid.unwrap_or_default(),
            node: outer.control_plane().clone(),
            clients,
            gone: false,
        };
        let what = format!("pod '{name}' to run in cluster '{}'", outer.name());
        let running = objects::until(started.pods(&client), name, &what, SLOW, |pod| match pod {
            // None of its containers is started again.
            Some(pod) if has_ended(pod) => Probe::Failed(Error::setup(seen(pod))),
            Some(pod) => running_on(pod).map_or_else(|| Probe::Pending(seen(pod)), Probe::Ready),
            None => Probe::Pending("no such pod".into()),
        });
        let node = running.await?;
        let found = outer.nodes().iter().find(|known| known.name() == node);
        started.node = found
            .ok_or_else(|| {
                Error::setup(format!("pod '{name}' is on node '{node}', which is none"))
            })?
            .clone();
        Ok(started)
    }

    /// Runs a command in one of its containers.
    pub(super) async fn exec(&self, container: &str, argv: Vec<String>) -> Result<ExecOutput> {
        let client = self.clients.here();
        let container = (self.name.as_str(), container).into();
        objects::exec(&self.pods(&client), container, argv).await
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The node that it runs on.
    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn uid(&self) -> &str {
        &self.uid
    }

    fn pods(&self, client: &Client) -> Api<Pod> {
        Api::namespaced(client.clone(), NAMESPACE)
    }

    /// The folder in which this machine sees the pod's root.
    pub(super) async fn root(&self) -> Result<PathBuf> {
        let client = self.clients.here();
        let pods = self.pods(&client);
        let found = objects::answer(|| format!("get pod '{}'", self.name), pods.get(&self.name));
        let found = found.await?;
        let id = container_id(&found).unwrap_or_default();
        // Every runtime names a container's cgroup after it. Its first process has the lowest number.
        let script = "grep --files-with-matches --no-messages --perl-regexp -- \"(?<!conmon-)$1\" \
                      /proc/[0-9]*/cgroup | tr -dc '0-9\\n' | sort --numeric-sort | head --lines=1";
        let argv = ["bash", "-c", script, "pid", id];
        let pid = self.node.within(STEP).exec_ok(&argv).await?.text();
        let pid = pid.trim().parse::<i32>();
        let pid = pid.with_context(|| format!("the first process of pod '{}'", self.name))?;
        self.node.root_of_process(pid).ok_or_else(|| {
            Error::refused(format!(
                "this process does not see the processes of node '{}', and so not the engine in \
                 its pod '{}'",
                self.node, self.name
            ))
            .cure("nest on an engine of this machine, as root")
        })
    }

    /// What it tells of itself, for a cluster with these address ranges. It may end instead.
    pub(super) async fn facts(&self, root: &Path, ranges: Vec<String>) -> Result<LayerFacts> {
        let path = root.join(FACTS);
        let what = format!("pod '{}' to tell what it is like", self.name);
        let text = self.until(&what, async || {
            Probe::from_result(std::fs::read_to_string(&path))
        });
        Ok(LayerFacts::read(&text.await?, ranges))
    }

    /// The engine, once it answers.
    pub(super) async fn engine(&self, nest: Nest, outer: &Docker) -> Result<Docker> {
        let socket = nest.root.join(SOCKET);
        let endpoint = Endpoint::unix(socket, Origin::Nested(nest));
        let what = format!("the engine in pod '{}'", self.name);
        self.until(&what, async || {
            Probe::from_result(Docker::at(&endpoint, outer.settings()).await)
        })
        .await
    }

    /// Waits for something in the pod as long as the pod runs; its log tells why it does not.
    async fn until<T>(&self, what: &str, look: impl AsyncFn() -> Probe<T>) -> Result<T> {
        let client = self.clients.here();
        let pods = self.pods(&client);
        let pause = Duration::from_millis(50);
        let ready = wait::until_with(pause, what, STEP, || look());
        let ended = objects::until(pods, &self.name, "its end", SLOW, |pod| match pod {
            Some(pod) if running_on(pod).is_some() => Probe::Pending("it runs".into()),
            Some(pod) => Probe::Ready(seen(pod)),
            None => Probe::Ready("it is gone".into()),
        });
        let failed = tokio::select! {
            ready = ready => match ready {
                Ok(ready) => return Ok(ready),
                Err(error) => error,
            },
            ended = ended => match ended {
                Ok(seen) => Error::setup(format!("pod '{}' has ended: {seen}", self.name)),
                Err(error) => error,
            },
        };
        let log = self.log(&client).await;
        Err(failed).with_context(|| format!("{what}; its log ends with\n{log}"))
    }

    /// The last lines that the pod's processes wrote.
    async fn log(&self, client: &Client) -> String {
        let params = LogParams {
            tail_lines: Some(LINES),
            ..LogParams::default()
        };
        let pods = self.pods(client);
        let log = objects::answer(|| "read its log".into(), pods.logs(&self.name, &params));
        log.await.unwrap_or_else(|error| error.report())
    }

    /// Leaves the pod where it is when this is dropped.
    pub(in crate::cluster) fn leave(&mut self) {
        self.gone = true;
    }

    /// Removes the pod with all that runs in it. A cluster around it that is gone has taken it along.
    pub(in crate::cluster) async fn remove(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.gone, true) {
            return Ok(());
        }
        let client = self.clients.here();
        let removed = self.remove_by(&client).await;
        match (
            removed,
            self.node.docker().container(self.node.name()).await,
        ) {
            (Err(error), Ok(Some(node))) if node.running => Err(error),
            _ => Ok(()),
        }
    }

    async fn remove_by(&self, client: &Client) -> Result<()> {
        let pod = ObjectRef {
            resource: ApiResource::erase::<Pod>(&()),
            namespace: Some(NAMESPACE.to_owned()),
            name: self.name.clone(),
        };
        pod.remove(client, Some(self.uid.clone())).await?;
        // The kubelet takes it from the API server when its processes, cgroups and volume are gone.
        objects::gone(self.pods(client), &self.name, SLOW).await
    }
}

impl Drop for EnginePod {
    fn drop(&mut self) {
        if self.gone {
            return;
        }
        run_in_drop(async || {
            if let Err(error) = self.remove().await {
                tracing::warn!("{}", error.report());
            }
        });
    }
}

/// The pod of an engine. It knows nothing of the cluster that it is in: not where the API server is,
/// and no token for it.
fn manifest(name: &str, image: &str, needs: Needs, range: Subnet) -> Value {
    let empty = |name| json!({"name": name, "value": ""});
    json!({
        "metadata": {"name": name, "labels": {labels::ROLE: "engine"}},
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            // Of the node: a server within the cluster would be asked for names of the nested one.
            "dnsPolicy": "Default",
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": GRACE,
            "containers": [{
                "name": "engine",
                "image": image,
                "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "sh", "-c", HOLD, "hold", START],
                "env": [
                    {"name": "RANGE", "value": range.to_string()},
                    empty("KUBERNETES_SERVICE_HOST"),
                    empty("KUBERNETES_SERVICE_PORT"),
                ],
                "securityContext": {"privileged": true},
                "resources": {"requests": {"memory": needs.memory.to_string()}},
                "volumeMounts": [{"name": "engine", "mountPath": "/nest"}],
            }],
            "volumes": [{"name": "engine", "emptyDir": {}}],
        },
    })
}

/// Adds a container that does nothing by itself, whatever its image has, and finds the engine beside it
/// as Docker's clients do. What it has in the shared folder, containers of the engine can mount from there.
fn add_job(pod: &mut Value, image: &str, job: &str) {
    let shared = json!({"name": "shared", "mountPath": SHARED});
    let busybox = format!("{SHARED}/busybox");
    let spec = &mut pod["spec"];
    let lists = [
        ("volumes", json!({"name": "shared", "emptyDir": {}})),
        (
            "containers",
            json!({
                "name": JOB,
                "image": job,
                "imagePullPolicy": "IfNotPresent",
                "command": [busybox, "tail", "-f", "/dev/null"],
                "workingDir": SHARED,
                "env": [{"name": "DOCKER_HOST", "value": format!("unix://{SHARED}/docker.sock")}],
                "securityContext": {"privileged": true},
                "volumeMounts": [shared],
            }),
        ),
    ];
    for (list, item) in lists {
        spec[list]
            .as_array_mut()
            .expect("the pod has it")
            .push(item);
    }
    let mounts = spec["containers"][0]["volumeMounts"].as_array_mut();
    mounts.expect("the engine has mounts").push(shared.clone());
    spec["initContainers"] = json!([{
        "name": "busybox",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/bin/busybox", "cp", "/bin/busybox", busybox],
        "volumeMounts": [shared],
    }]);
}

/// The node on which all containers of a pod run.
fn running_on(pod: &Pod) -> Option<String> {
    for state in states(pod)? {
        state.running.as_ref()?;
    }
    pod.spec.as_ref()?.node_name.clone()
}

/// Whether one of a pod's containers has ended.
fn has_ended(pod: &Pod) -> bool {
    states(pod).is_some_and(|mut states| states.any(|state| state.terminated.is_some()))
}

/// The states of a pod's containers, once it has some.
fn states(pod: &Pod) -> Option<impl Iterator<Item = ContainerState>> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let states = containers.iter().map(|one| one.state.clone());
    Some(states.map(Option::unwrap_or_default))
}
