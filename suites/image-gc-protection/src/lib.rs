//! Helpers of the image-gc-protection suite: a node whose images have a small disk of their own,
//! images to put there, and the kubelet's own words.

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
        Node,
        cri::{Cri, Image},
    },
    telemetry,
    wait::{self, Probe},
};

/// A node whose containerd heeds pins.
pub const CONTAINERD_2_0: &str = "v1.32.1-containerd-2.0.2";
/// A node whose containerd takes the label and does not act on it.
pub const CONTAINERD_1_6: &str = "v1.32.1-containerd-1.6.20";

/// A kubelet that evicts at a disk of images less than a fifth free. Its high threshold is 100.
pub const EVICTING: &str = "{kind: KubeletConfiguration, imageMinimumGCAge: 1s, \
     evictionHard: {imagefs.available: 20%}, logging: {verbosity: 2}}";

/// The label by which containerd knows an image as pinned.
pub const PINNED: &str = "io.cri-containerd.pinned=pinned";

/// Percent of the disk in use that every kubelet here but the protected one acts on.
pub const FULL: u64 = 90;

/// The kubelet's word that its thresholds delete nothing.
pub const OFF: &str = "ImageGCHighThresholdPercent is set 100 and ImageMaximumGCAge is 0, \
                       Disable image GC";

/// The disk of images; those that the node comes with take half of it.
const DISK_MIB: u64 = 1200;

const FILLER: &str = "/var/lib/containerd/filler";

/// Twice the eviction manager's period, and what a busy machine adds.
pub const SOON: Duration = Duration::from_secs(180);

/// One node with a small disk of images, on which the gate does not demand room.
pub fn spec(recipe: &str) -> Result<ClusterSpec> {
    telemetry::start();
    let node = NodeSpec::control_plane().with_image_disk(DISK_MIB);
    let spec = ClusterSpec::of([node]).with_recipe(recipe)?;
    Ok(spec.with_tolerated("disk"))
}

/// Loads an image of its own content; what becomes of its pin is returned beside it.
pub async fn load(case: &Case<'_>, mark: &str) -> Result<(SmallImage, Pin)> {
    let small = SmallImage::load(case.cluster().docker(), mark).await?;
    let loaded = case.cluster().images().load(small.reference()).await?;
    Ok((small, loaded.nodes[0].pin))
}

/// Takes an image's pin behind kubenest's back.
pub async fn unpin(node: &Node, name: &str) -> Result<()> {
    let unpin = "io.cri-containerd.pinned=";
    ctr(node, &["images", "label", name, unpin]).await?;
    Ok(())
}

/// containerd's own row of an image, with its labels.
pub async fn row(node: &Node, name: &str) -> Result<String> {
    ctr(node, &["images", "ls", &format!("name=={name}")]).await
}

/// The witness that shares no code with kubenest.
async fn ctr(node: &Node, args: &[&str]) -> Result<String> {
    let argv = [&["ctr", "--namespace", "k8s.io"], args].concat();
    Ok(node.exec_ok(&argv).await?.text())
}

/// What CRI says of an image; `None` when it has none of that name.
pub async fn find(node: &Node, name: &str) -> Result<Option<Image>> {
    Ok(cri(node).await?.image(name).await?)
}

/// Fills the disk of images to at least so many percent, and returns how many were measured.
/// What containerd cleans up after a load makes room again, which is filled as well.
pub async fn fill(node: &Node, percent: u64) -> Result<u64> {
    let filled = AtomicU64::new(0);
    let look = async || {
        let disk = disk(node).await?;
        let missing = (disk.bytes * percent)
            .div_ceil(100)
            .saturating_sub(disk.used);
        if missing == 0 {
            return anyhow::Ok(Probe::Ready(disk.used * 100 / disk.bytes));
        }
        let length = missing + filled.fetch_add(missing, Ordering::Relaxed);
        let fallocate = ["fallocate", "--length", &length.to_string(), FILLER];
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
pub async fn collected(node: &Node, name: &str, deadline: Duration) -> Result<()> {
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

/// Waits until the kubelet's journal has these words so many times; returns all of it.
pub async fn says(node: &Node, words: &str, times: usize) -> Result<String> {
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

/// The pod of an image for a node under disk pressure: no scheduler gives it any, and the kubelet
/// lets only critical ones in.
pub fn critical_pod(node: &Node, small: &SmallImage, name: &str) -> Pod {
    let mut pod = small.pod(name, small.reference());
    if let Some(spec) = &mut pod.spec {
        spec.node_name = Some(node.name().to_owned());
        spec.priority_class_name = Some("system-node-critical".to_owned());
    }
    pod
}

/// The CRI services of a node's containerd.
pub async fn cri(node: &Node) -> Result<Cri> {
    Ok(node.cri().await?)
}

struct Disk {
    bytes: u64,
    used: u64,
}

/// The file system that CRI names, measured.
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
