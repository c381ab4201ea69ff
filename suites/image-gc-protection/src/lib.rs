//! Helpers of the image-gc-protection suite: a node with a small disk for images, images to load,
//! and the kubelet's journal.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use anyhow::{Context, Result};
use kubenest::{
    Case, ClusterSpec, NodeSpec,
    images::{Pin, SmallImage},
    k8s_openapi::api::core::v1::Pod,
    node::{
        Node, Runtime,
        cri::{Cri, Image},
    },
    telemetry,
    wait::{self, Probe},
};

/// A node whose containerd respects pins, for a test that would take too long on several nodes.
pub const CONTAINERD_2_0: &str = "v1.32.1-containerd-2.0.2";
/// A node whose containerd stores the pin's label but ignores it.
pub const CONTAINERD_1_6: &str = "v1.32.1-containerd-1.6.20";

/// A kubelet that evicts when less than a fifth of the image disk is free. Its high threshold is
/// 100.
pub const EVICTING: &str = "{kind: KubeletConfiguration, imageMinimumGCAge: 1s, \
     evictionHard: {imagefs.available: 20%}, logging: {verbosity: 2}}";

/// The label that marks an image as pinned in containerd.
pub const PINNED: &str = "io.cri-containerd.pinned=pinned";

/// The file with CRI-O's list of pinned images, one on each line.
const LIST: &str = "/etc/crio/crio.conf.d/20-pinned.conf";

/// Disk usage, in percent, at which every kubelet here acts except the protected one.
pub const FULL: u64 = 90;

/// The kubelet's message that its thresholds delete nothing.
pub const OFF: &str = "ImageGCHighThresholdPercent is set 100 and ImageMaximumGCAge is 0, \
                       Disable image GC";

/// Size of the image disk; the images of the newest Kubernetes take a GiB of it.
const DISK_MIB: u64 = 1800;

/// Twice the eviction manager's period, plus time for a busy machine.
pub const SOON: Duration = Duration::from_secs(180);

/// One default node with a small image disk, on which the gate does not require free space.
pub fn spec() -> ClusterSpec {
    telemetry::start();
    let node = NodeSpec::control_plane().with_image_disk(DISK_MIB);
    ClusterSpec::of([node]).with_tolerated("disk")
}

/// Loads an image with unique content, and returns it with the state of its pin.
pub async fn load(case: &Case<'_>, mark: &str) -> Result<(SmallImage, Pin)> {
    let small = SmallImage::load(case.cluster().docker(), mark).await?;
    let loaded = case.cluster().images().load(small.reference()).await?;
    Ok((small, loaded.nodes[0].pin))
}

/// Removes an image's pin without kubenest's knowledge.
pub async fn unpin(node: &Node, name: &str) -> Result<()> {
    if node.runtime() == Runtime::CriO {
        let without = format!("\\|\"{name}\",|d");
        node.exec_ok(&["sed", "--in-place", &without, LIST]).await?;
        node.exec_ok(&["systemctl", "reload", "crio"]).await?;
        return Ok(());
    }
    let unpin = "io.cri-containerd.pinned=";
    ctr(node, &["images", "label", name, unpin]).await?;
    Ok(())
}

/// Whether the runtime's own record of an image has a pin.
pub async fn has_pin(node: &Node, name: &str) -> Result<bool> {
    if node.runtime() == Runtime::CriO {
        let list = String::from_utf8(node.read_file(LIST).await?)?;
        return Ok(list.contains(&format!("\"{name}\",")));
    }
    Ok(row(node, name).await?.contains(PINNED))
}

/// containerd's own row of an image, with its labels.
pub async fn row(node: &Node, name: &str) -> Result<String> {
    ctr(node, &["images", "ls", &format!("name=={name}")]).await
}

/// Runs `ctr`, which shares no code with kubenest.
async fn ctr(node: &Node, args: &[&str]) -> Result<String> {
    let argv = [&["ctr", "--namespace", "k8s.io"], args].concat();
    Ok(node.exec_ok(&argv).await?.text())
}

/// The image according to CRI; `None` if there is none of this name.
pub async fn find(node: &Node, name: &str) -> Result<Option<Image>> {
    Ok(cri(node).await?.image(name).await?)
}

/// Fills the image disk to at least this many percent, and returns the measured usage. It fills the
/// disk again when the runtime's cleanup after a load frees space.
pub async fn fill(node: &Node, percent: u64) -> Result<u64> {
    let filled = AtomicU64::new(0);
    let filler = format!("{}/filler", node.runtime().images_folder());
    let look = async || {
        let disk = disk(node).await?;
        let missing = (disk.bytes * percent)
            .div_ceil(100)
            .saturating_sub(disk.used);
        if missing == 0 {
            return anyhow::Ok(Probe::Ready(disk.used * 100 / disk.bytes));
        }
        let length = missing + filled.fetch_add(missing, Ordering::Relaxed);
        let fallocate = ["fallocate", "--length", &length.to_string(), &filler];
        node.exec_ok(&fallocate).await?;
        Ok(Probe::Pending(format!("{missing} bytes missing")))
    };
    let what = format!("{percent}% of the disk to be in use");
    let measured = wait::until(&what, SOON, async || {
        let pending = |error| Probe::Pending(format!("{error:#}"));
        look().await.unwrap_or_else(pending)
    });
    Ok(measured.await?)
}

/// Waits until the kubelet has removed an image.
pub async fn wait_until_collected(node: &Node, name: &str, deadline: Duration) -> Result<()> {
    let cri = cri(node).await?;
    let what = format!("'{name}' to be collected");
    wait::until(&what, deadline, async || match cri.image(name).await {
        Ok(None) => Probe::Ready(()),
        Ok(Some(image)) => Probe::Pending(format!("it, pinned: {}", image.pinned)),
        Err(error) => Probe::Failed(error),
    })
    .await?;
    Ok(())
}

/// Waits until the kubelet's journal has these words this many times; returns the whole journal.
pub async fn wait_for_words(node: &Node, words: &str, times: usize) -> Result<String> {
    let what = format!("'{words}' {times} times");
    let journal = wait::until(&what, SOON, async || match journal(node).await {
        Ok(text) if text.matches(words).count() >= times => Probe::Ready(text),
        Ok(text) => Probe::Pending(format!("{} times", text.matches(words).count())),
        Err(error) => Probe::Pending(format!("{error:#}")),
    });
    Ok(journal.await?)
}

/// The kubelet's journal.
pub async fn journal(node: &Node) -> Result<String> {
    let argv = ["journalctl", "--unit=kubelet", "--no-pager", "--output=cat"];
    Ok(node.exec_ok(&argv).await?.text())
}

/// A pod of an image for a node under disk pressure: it names its node, because the scheduler
/// avoids it, and is critical, because the kubelet admits no other.
pub fn critical_pod(node: &Node, small: &SmallImage, name: &str) -> Pod {
    let mut pod = small.pod(name, small.reference());
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node.name().to_owned());
        spec.priority_class_name = Some("system-node-critical".to_owned());
    }
    pod
}

/// The CRI services of a node.
pub async fn cri(node: &Node) -> Result<Cri> {
    Ok(node.cri().await?)
}

struct Disk {
    bytes: u64,
    used: u64,
}

/// Measures the file system that CRI names.
async fn disk(node: &Node) -> Result<Disk> {
    let folders = cri(node).await?.image_folders().await?;
    let folder = folders
        .first()
        .context("CRI must name its image file system")?;
    let stat = ["stat", "--file-system", "--format", "%S %b %a", folder];
    let text = node.exec_ok(&stat).await?.text();
    let numbers = text.split_whitespace().map(str::parse);
    let numbers: Vec<u64> = numbers.collect::<Result<_, _>>()?;
    let &[block, blocks, available] = numbers.as_slice() else {
        anyhow::bail!("stat of '{folder}': {text}");
    };
    Ok(Disk {
        bytes: block * blocks,
        used: block * (blocks - available),
    })
}
