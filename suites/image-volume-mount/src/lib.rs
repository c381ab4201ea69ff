//! Helpers of the image-volume-mount suite.

use std::time::Duration;

use anyhow::{Context, Result};
use kubenest::{
    Case, ClusterSpec,
    images::SmallImage,
    k8s_openapi::api::core::v1::{Container, ImageVolumeSource, Pod, PodSpec, Volume, VolumeMount},
    node::{FileEntry, Node},
    objects,
    wait::{self, Probe},
};
use kubenest_fixtures::{
    cri_client::CriClient,
    crictl::{Crictl, pod_on_node_network},
};
use serde_json::{Value, json};

/// A client whose cri-api has no image in a mount.
pub const OLD_CLIENT: &str = "0.30.0";
/// A client whose cri-api has an image in a mount.
pub const NEW_CLIENT: &str = "0.34.0";
/// A crictl that is as new.
pub const CRICTL: &str = "1.34.0";

/// containerd's error for a mount without host path, and without an image as far as it can see.
pub const NO_HOST_PATH: &str = "failed to generate container \"…\" spec: failed to generate \
     spec: failed to mkdir \"\": mkdir : no such file or directory";

/// An image that every node built by kubenest has.
pub const PAUSE: &str = "registry.k8s.io/pause:3.10";

/// A few seconds suffice on an idle machine.
const SOON: Duration = Duration::from_secs(120);

/// The volume's path in a container, and the command that shows its content.
const VOLUME: &str = "/volume";
const SHOW: [&str; 3] = ["/bin/busybox", "cat", "/volume/mark"];
const STAY: [&str; 3] = ["/bin/busybox", "sleep", "3600"];

/// One node whose API server and kubelet support image volumes, whether or not its containerd does.
pub fn spec(recipe: &str) -> kubenest::Result<ClusterSpec> {
    ClusterSpec::single_node()
        .with_recipe(recipe)?
        .with_kubeadm_patch("{kind: KubeletConfiguration, featureGates: {ImageVolume: true}}")?
        .with_kubeadm_patch(
            "{kind: ClusterConfiguration, apiServer: {extraArgs: \
             [{name: feature-gates, value: ImageVolume=true}]}}",
        )
}

/// A small unique image, side-loaded into the node's containerd. No registry has it.
pub async fn load(case: &Case<'_>, mark: &str) -> Result<SmallImage> {
    let docker = case.cluster().docker();
    let image = SmallImage::load(docker, &format!("{mark} in {}", case.namespace())).await?;
    let archive = docker.save_image(image.reference()).await?;
    let import = ["ctr", "--namespace", "k8s.io", "images", "import", "-"];
    case.node().exec_with(&import, archive).await?;
    let cri = case.node().cri().await?;
    // CRI sees images that other clients imported with a short delay.
    case.until("CRI to see the image", SOON, async || {
        match cri.image(image.reference()).await {
            Ok(found) => Probe::from_option(found.map(drop), || "it does not".into()),
            Err(error) => Probe::Failed(error),
        }
    })
    .await?;
    Ok(image)
}

/// As [`load`], by kubenest's own loader, which serves every runtime. The image is no longer kept,
/// so that a test may remove it.
pub async fn load_unpinned(case: &Case<'_>, mark: &str) -> Result<SmallImage> {
    let cluster = case.cluster();
    let image =
        SmallImage::load(cluster.docker(), &format!("{mark} in {}", case.namespace())).await?;
    cluster.images().load(image.reference()).await?;
    cluster.images().release(image.reference()).await?;
    Ok(image)
}

/// The result of a CRI client's request for a container that mounts its own image as a volume.
#[derive(Debug)]
pub struct ImageMount {
    /// The content of a file in the volume, read in the container.
    pub content: String,
    /// The mount, as the runtime reports it.
    pub mount: Value,
}

/// Requests such a container; the inner error is the client's own message.
pub async fn mount(client: &CriClient<'_>, image: &str) -> Result<Result<ImageMount, String>> {
    let (pod, container) = CONFIGS;
    write_configs(client.node(), (pod, container), image, image).await?;
    let id = field(&call_ok(client, &["runp", pod]).await?, "pod_sandbox_id")?;
    let created = client.call(&["create", &id, container, pod]).await?;
    if created.status != 0 {
        return Ok(Err(created.stderr.trim().to_owned()));
    }
    let container = field(&created.text(), "container_id")?;
    call_ok(client, &["start", &container]).await?;
    let show = [&["exec", container.as_str()][..], &SHOW].concat();
    let content = call_ok(client, &show).await?.trim_end().to_owned();
    let status = call_ok(client, &["inspect", &container]).await?;
    let mut status: Value = serde_json::from_str(&status).context("the container's status")?;
    let mount = status["status"]["mounts"][0].take();
    call_ok(client, &["rmp", &id]).await?;
    Ok(Ok(ImageMount { content, mount }))
}

/// What crictl and the runtime say of a container that mounts another image as a volume.
#[derive(Debug)]
pub struct Lifecycle {
    /// The content of a file in the volume, read in the container.
    pub content: String,
    /// The answer to removing the image while it is mounted.
    pub refusal: String,
    /// The image's ID, and what the container's status names as the mount's image.
    pub ids: (String, String),
}

/// Mounts an image in a container of another, as CRI-O's own test "OCI image volume mount
/// lifecycle" does, and removes both at the end.
pub async fn lifecycle(node: &Node, image: &str, volume: &str) -> Result<Lifecycle> {
    let crictl = Crictl::install(CRICTL, node).await?;
    let (pod, container) = CONFIGS;
    write_configs(node, CONFIGS, image, volume).await?;
    let sandbox = crictl.call_ok(&["runp", pod]).await?;
    let create = ["create", "--no-pull", &sandbox, container, pod];
    let id = crictl.call_ok(&create).await?;
    crictl.call_ok(&["start", &id]).await?;
    let content = crictl
        .call_ok(&[&["exec", id.as_str()][..], &SHOW].concat())
        .await?;
    let refused = crictl.call(&["rmi", volume]).await?;
    anyhow::ensure!(refused.status != 0, "a mounted image was removed");
    let status = |text: &str, pointer: &str| -> Result<String> {
        let answer: Value = serde_json::from_str(text).context("crictl's answer")?;
        let found = answer.pointer(pointer).and_then(Value::as_str);
        Ok(found
            .with_context(|| format!("{pointer} of {text}"))?
            .to_owned())
    };
    let image_status = crictl.call_ok(&["inspecti", volume]).await?;
    let container_status = crictl.call_ok(&["inspect", &id]).await?;
    let ids = (
        status(&image_status, "/status/id")?,
        status(&container_status, "/status/mounts/0/image/image")?,
    );
    crictl.call_ok(&["rm", "--force", &id]).await?;
    crictl.call_ok(&["rmi", volume]).await?;
    crictl.call_ok(&["rmp", "--force", &sandbox]).await?;
    Ok(Lifecycle {
        content,
        refusal: refused.stderr.trim().to_owned(),
        ids,
    })
}

/// Paths in a node of a pod and a container, as clients read them.
const CONFIGS: (&str, &str) = (
    "/run/image-volume/pod.json",
    "/run/image-volume/container.json",
);

async fn write_configs(
    node: &Node,
    (pod, container): (&str, &str),
    image: &str,
    volume: &str,
) -> Result<()> {
    let (pod_config, container_config) = configs(image, volume);
    let files = [
        FileEntry::new(pod, pod_config.to_string()),
        FileEntry::new(container, container_config.to_string()),
    ];
    Ok(node.write_files(&files).await?)
}

/// Pod and container as in CRI-O's own test of image volumes; on the node's network, so that no CNI
/// is needed.
fn configs(image: &str, volume: &str) -> (Value, Value) {
    let pod = pod_on_node_network("image-volume", "suite");
    let container = json!({
        "metadata": {"name": "reader"},
        "image": {"image": image},
        "command": STAY,
        "mounts": [{
            "host_path": "",
            "container_path": VOLUME,
            "image": {"image": volume, "user_specified_image": volume},
            "readonly": true,
        }],
    });
    (pod, container)
}

async fn call_ok(client: &CriClient<'_>, command: &[&str]) -> Result<String> {
    let output = client.call(command).await?;
    Ok(output.demand(client.node().name(), command)?.text())
}

fn field(answer: &str, name: &str) -> Result<String> {
    let answer: Value = serde_json::from_str(answer).context("the client's answer")?;
    let field = answer[name].as_str();
    Ok(field
        .with_context(|| format!("no {name} in {answer}"))?
        .to_owned())
}

/// Stops the kubelet, which would remove pods that it does not know.
pub async fn stop_kubelet(node: &Node) -> Result<()> {
    node.exec_ok(&["systemctl", "stop", "kubelet"]).await?;
    Ok(())
}

/// Waits until a systemd service of a node is active.
pub async fn wait_until_active(node: &Node, service: &str) -> Result<()> {
    let active = ["systemctl", "is-active", service];
    let active_wait = wait::until(service, SOON, async || match node.exec(&active).await {
        Ok(output) if output.status == 0 => Probe::Ready(()),
        Ok(output) => Probe::Pending(output.text()),
        Err(error) => Probe::Failed(error),
    });
    let words = ["journalctl", "--no-pager", "--lines=20", "--unit", service];
    match active_wait.await {
        Ok(()) => Ok(()),
        Err(error) => Err(error).context(node.exec_ok(&words).await?.text()),
    }
}

/// A message with `…` in place of the container's id.
pub fn without_id(message: &str) -> String {
    let mut parts: Vec<&str> = message.splitn(3, '"').collect();
    if let [before, id, _] = &mut parts[..]
        && before.ends_with("container ")
    {
        *id = "…";
    }
    parts.join("\"")
}

/// Creates a pod that mounts its own image as a volume.
pub async fn create_pod(case: &Case<'_>, name: &str, image: &SmallImage) -> Result<()> {
    let reference = image.reference().to_owned();
    let words = |words: &[&str]| Some(words.iter().map(|&word| word.to_owned()).collect());
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    pod.spec = Some(PodSpec {
        containers: vec![Container {
            name: "reader".into(),
            image: Some(reference.clone()),
            image_pull_policy: Some("Never".into()),
            command: words(&STAY),
            volume_mounts: Some(vec![VolumeMount {
                name: "image".into(),
                mount_path: VOLUME.into(),
                ..VolumeMount::default()
            }]),
            ..Container::default()
        }],
        volumes: Some(vec![Volume {
            name: "image".into(),
            image: Some(ImageVolumeSource {
                reference: Some(reference),
                pull_policy: Some("Never".into()),
            }),
            ..Volume::default()
        }]),
        termination_grace_period_seconds: Some(0),
        ..PodSpec::default()
    });
    case.create(&pod).await?;
    Ok(())
}

/// The content of a file in the volume, read in the container of a running pod.
pub async fn read_in_pod(case: &Case<'_>, name: &str) -> Result<String> {
    case.pod_ready(name, SOON).await?;
    let shown = case.exec(name, &SHOW).await?;
    Ok(shown.text().trim_end().to_owned())
}

/// Waits until the kubelet gives up on a pod's container; returns the runtime's message.
pub async fn create_error(case: &Case<'_>, name: &str) -> Result<String> {
    let what = "the container to end in CreateContainerError";
    let wait = objects::until(case.api::<Pod>(), name, what, SOON, |pod| {
        let statuses = pod.and_then(|pod| pod.status.as_ref()?.container_statuses.as_ref());
        let state = statuses.and_then(|all| all.first()?.state.as_ref());
        match state.and_then(|state| state.waiting.as_ref()) {
            Some(waiting) if waiting.reason.as_deref() == Some("CreateContainerError") => {
                Probe::Ready(waiting.message.clone().unwrap_or_default())
            }
            _ => Probe::Pending(pod.map(objects::seen).unwrap_or_default()),
        }
    });
    Ok(wait.await?)
}
