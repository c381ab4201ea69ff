//! Helpers of the shim-protocol-version suite.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use kubenest::{
    Case, Cluster, ClusterSpec, NodeSpec,
    cluster::probe_pod,
    health::Report,
    k8s_openapi::api::core::v1::{Event, Pod},
    kube::api::{DeleteParams, ListParams},
    node::{FileEntry, Node},
    recipe::Recipe,
    telemetry,
    wait::{self, Probe},
};
use kubenest_base::store::Store;
use kubenest_forge::component;
use kubenest_recipe::recipe::{Component, Content, RuntimeParts};

/// A node whose containerd reads a plain address and ignores `runtime_path`.
pub const CONTAINERD_1_6: &str = "v1.32.1-containerd-1.6.20";
/// A node whose containerd reads a plain address, or JSON up to version 2.
pub const CONTAINERD_1_7: &str = "v1.32.1-containerd-1.7.24";
/// A node whose containerd reads a plain address and JSON.
pub const CONTAINERD_2_0: &str = "v1.32.1-containerd-2.0.2";
/// A node image with a daemon of 1.7.24 and a shim of 2.0.2.
pub const SKEWED: &str = "skew-1.7.24-shim-2.0.2";

/// The path of a node's own shim.
pub const OWN_SHIM: &str = "/usr/local/bin/containerd-shim-runc-v2";

/// A few seconds suffice on an idle machine.
const SOON: Duration = Duration::from_secs(120);

const BIN: &str = "/usr/local/bin";
const SHIM: &str = "containerd-shim-runc-v2";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const CONFIG: &str = "/etc/containerd/config.toml";

/// Boots a node whose containerd can be restarted without losing pods.
pub async fn boot(recipe: &str) -> Result<Cluster> {
    boot_with(recipe, "").await
}

/// As [`boot`], with a patch of containerd's configuration.
pub async fn boot_with(recipe: &str, containerd: &str) -> Result<Cluster> {
    telemetry::start();
    // On cgroup v1 systemd moves sandboxes out of their device cgroups, and containerd 1.7 ends
    // such sandboxes when it is restarted.
    let cgroupfs = "[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]\n\
                    SystemdCgroup = false";
    let kubelet = "{kind: KubeletConfiguration, cgroupDriver: cgroupfs}";
    let cluster = ClusterSpec::single_node()
        .with_recipe(recipe)?
        .with_containerd_patch(cgroupfs)?
        .with_containerd_patch(containerd)?
        .with_kubeadm_patch(kubelet)?
        .boot();
    Ok(cluster.await?)
}

/// A node with a good image that finds the shim of another containerd release first in the daemon's
/// PATH, from its boot on.
pub async fn spec_with_another_shim(recipe: &str, release: &str) -> Result<ClusterSpec> {
    let (_, shim) = daemon_and_shim(release)?;
    let shim = component::provide(&Store::of(kubenest::settings()), &shim).await?;
    let folder = shim.files.join("usr/local/bin").display().to_string();
    // The first folder in the PATH of systemd's services.
    let node = NodeSpec::control_plane().with_read_only_mount(folder, "/usr/local/sbin");
    Ok(ClusterSpec::of([node]).with_recipe(recipe)?)
}

/// Installs the shim of another containerd on the node and puts it first in the daemon's PATH.
/// Running pods keep their own shims.
pub async fn plant(node: &Node, release: &str) -> Result<()> {
    let folder = format!("/opt/shims/{release}");
    let (_, shim) = daemon_and_shim(release)?;
    let shim = program(&shim, SHIM, &folder).await?;
    node.write_files(&[shim]).await?;
    set_path(node, &format!("{folder}:{PATH}")).await
}

/// As [`plant`], but the shim that the daemon finds claims to be of the node's own release.
pub async fn plant_disguised(node: &Node, release: &str) -> Result<()> {
    plant(node, release).await?;
    let folder = "/opt/shims/disguised";
    let script = include_str!("disguise.sh")
        .replace("@OWN@", OWN_SHIM)
        .replace("@OTHER@", &format!("/opt/shims/{release}/{SHIM}"));
    let mut disguise = FileEntry::new(format!("{folder}/{SHIM}"), script);
    disguise.mode = 0o755;
    node.write_files(&[disguise]).await?;
    set_path(node, &format!("{folder}:{PATH}")).await
}

/// Makes the daemon find its own shim again.
pub async fn remove_planted_shim(node: &Node) -> Result<()> {
    set_path(node, PATH).await
}

/// Replaces containerd's programs on disk, as a package manager does, while the daemon keeps
/// running.
pub async fn upgrade(node: &Node, release: &str) -> Result<()> {
    let (daemon, shim) = daemon_and_shim(release)?;
    node.write_files(&[
        program(&daemon, "containerd", BIN).await?,
        program(&daemon, "ctr", BIN).await?,
        program(&shim, SHIM, BIN).await?,
    ])
    .await?;
    Ok(())
}

/// Sets the path of the node's own shim in containerd's configuration.
pub async fn set_runtime_path(node: &Node) -> Result<()> {
    const TYPE: &str = "runtime_type = \"io.containerd.runc.v2\"";
    let config = String::from_utf8(node.read_file(CONFIG).await?)?;
    ensure!(config.contains(TYPE), "'{CONFIG}' has no '{TYPE}'");
    let path = format!("{TYPE}\nruntime_path = \"{OWN_SHIM}\"");
    let config = config.replace(TYPE, &path);
    node.write_files(&[FileEntry::new(CONFIG, config)]).await?;
    restart(node).await
}

/// Restarts the daemon, and waits until it can start pods.
pub async fn restart(node: &Node) -> Result<()> {
    node.exec_ok(&["systemctl", "restart", "containerd"])
        .await?;
    let conditions = async || {
        let status = node.cri().await?.status(false).await?;
        Ok::<_, kubenest::Error>(status.conditions().to_vec())
    };
    wait::until("the daemon to be ready", SOON, async || {
        match conditions().await {
            Ok(all) => {
                let ready = ["RuntimeReady", "NetworkReady"]
                    .iter()
                    .all(|kind| all.iter().any(|c| c.kind == *kind && c.holds));
                Probe::from_option(ready.then_some(()), || format!("{all:?}"))
            }
            Err(error) => Probe::Pending(error.report()),
        }
    })
    .await?;
    Ok(())
}

/// Creates a pod and checks that it stays in `ContainerCreating`, with this message of a
/// `FailedCreatePodSandBox` event, in which `…` stands for ids.
pub async fn assert_sandbox_failure(case: &Case<'_>, pod: &str, expected: &str) -> Result<()> {
    let made = case.create(&probe_pod(case.node(), pod).await?).await?;
    let uid = made.metadata.uid.unwrap_or_default();
    let failed = format!("involvedObject.uid={uid},reason=FailedCreatePodSandBox");
    let (events, failed) = (case.api::<Event>(), ListParams::default().fields(&failed));
    let what = format!("FailedCreatePodSandBox: {expected}");
    case.until(&what, SOON, async || {
        let found = match events.list(&failed).await {
            Ok(found) => found.into_iter().filter_map(|event| event.message),
            Err(error) => return Probe::Pending(error.to_string()),
        };
        // Attempts during the daemon's restart fail with other messages and are repeated.
        let told: Vec<_> = found.map(|message| without_ids(&message)).collect();
        match told.iter().any(|message| message == expected) {
            true => Probe::Ready(()),
            false => Probe::Pending(told.join("; ")),
        }
    })
    .await?;
    let pods = case.api::<Pod>();
    let reason = case.until("the pod's state", SOON, async || {
        match pods.get(pod).await {
            Ok(pod) => Probe::from_option(waiting_reason(&pod), || "no container's state".into()),
            Err(error) => Probe::Pending(error.to_string()),
        }
    });
    assert_eq!(reason.await?, "ContainerCreating");
    pods.delete(pod, &DeleteParams::default().grace_period(0))
        .await?;
    Ok(())
}

/// Creates a pod, and waits until it is Ready.
pub async fn start_pod(case: &Case<'_>, pod: &str) -> Result<()> {
    case.create(&probe_pod(case.node(), pod).await?).await?;
    case.pod_ready(pod, SOON).await?;
    Ok(())
}

/// Waits until the health gate passes the node, which a restart of the daemon disturbs briefly.
pub async fn wait_until_healthy(case: &Case<'_>) -> Result<Report> {
    let report = case.until("the node to be healthy", SOON, async || {
        Probe::from_result(case.cluster().health().await)
    });
    Ok(report.await?)
}

/// The health gate's observation of the shim, once the node is healthy.
pub async fn healthy_shim(case: &Case<'_>) -> Result<String> {
    let report = wait_until_healthy(case).await?;
    let shim = report.findings.into_iter().find(|f| f.name == "shim");
    Ok(shim.context("no finding 'shim'")?.observed)
}

fn daemon_and_shim(release: &str) -> Result<(Component, Component)> {
    let recipe = Recipe::named(&format!("v1.32.1-containerd-{release}"))?;
    match recipe.content {
        Content::Parts(parts) => match parts.runtime {
            RuntimeParts::Containerd { daemon, shim } => Ok((daemon, shim)),
            RuntimeParts::Crio { .. } => anyhow::bail!("'{}' has no containerd", recipe.name),
        },
        Content::Image(image) => anyhow::bail!("'{image}' has no parts"),
    }
}

/// A program of a component, as a file in a folder of a node.
async fn program(component: &Component, name: &str, folder: &str) -> Result<FileEntry> {
    let built = component::provide(&Store::of(kubenest::settings()), component).await?;
    let file = built.files.join("usr/local/bin").join(name);
    let content = std::fs::read(&file).with_context(|| file.display().to_string())?;
    let mut file = FileEntry::new(format!("{folder}/{name}"), content);
    file.mode = 0o755;
    Ok(file)
}

async fn set_path(node: &Node, path: &str) -> Result<()> {
    let path = format!("PATH={path}");
    node.exec_ok(&["systemctl", "set-environment", &path])
        .await?;
    restart(node).await
}

fn waiting_reason(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    containers
        .first()?
        .state
        .as_ref()?
        .waiting
        .as_ref()?
        .reason
        .clone()
}

/// Replaces the names of sandboxes and sockets, 64 random hex digits, by `…`.
fn without_ids(message: &str) -> String {
    let is_id = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut text = String::new();
    for word in message.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        text.push_str(if is_id(bare) { "…" } else { bare });
        text.push_str(&word[bare.len()..]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::without_ids;

    #[test]
    fn only_ids_are_replaced() {
        let id = "0a9f".repeat(16);
        let text =
            format!("dial \0{{\"unix:///run/s/{id}\"}} of \"{id}\": \x03Y/{id}\x1a\x05: face");
        let expected = "dial \0{\"unix:///run/s/…\"} of \"…\": \x03Y/…\x1a\x05: face";
        assert_eq!(without_ids(&text), expected);
        assert_eq!(
            without_ids(&format!("{id}0 {}", &id[1..])),
            format!("{id}0 {}", &id[1..])
        );
    }
}
