//! Check `disk`: the use of the images' file system stays below the kubelet's thresholds of
//! deletion, and there is room to load images. Where it does not, the images are named that no pin
//! keeps.

use super::{Check, Facts, Name, When, every_runtime, kubelet::Kubelet};
use crate::health::{
    Expected,
    facts::{Fact, require, within},
    outcome::Outcome,
};
use kubenest_node::node::{Node, cri::Image};

pub(super) const CHECK: Check = Check {
    name: Name::Disk,
    when: When::KubernetesRuns,
    applies: every_runtime,
    judge,
};

/// Free bytes below which loading or unpacking an image soon fails.
const BYTES_FLOOR: u64 = 1 << 30;
/// Percentage points to stay below the kubelet's own threshold.
const MARGIN: u64 = 2;
/// How many images are named.
const NAMED: usize = 5;

/// The file system that holds the images.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::health) struct Disk {
    pub(super) bytes: u64,
    /// Bytes that ordinary users can still fill, as the kubelet counts.
    pub(super) bytes_available: u64,
    /// Zero on file systems that have no such limit.
    pub(super) inodes: u64,
    pub(super) inodes_free: u64,
    /// The images on it without a pin, as far as the runtime tells.
    pub(super) unpinned: Vec<String>,
}

/// Looks at the file system of the first of these folders.
pub(in crate::health) async fn look(node: &Node, image_folders: &Fact<Vec<String>>) -> Fact<Disk> {
    let folder = require(image_folders)?
        .first()
        .ok_or("the runtime names no image file system")?;
    let argv = [
        "stat",
        "--file-system",
        "--format",
        "%S %b %a %c %d",
        folder,
    ];
    let disk = Disk::parse(&within(node.exec_ok(&argv)).await?.text())?;
    let images = within(async { node.cri().await?.images().await }).await;
    Ok(Disk {
        unpinned: images.map(|images| unpinned(&images)).unwrap_or_default(),
        ..disk
    })
}

/// The first name of each image that has no pin, else its id.
fn unpinned(images: &[Image]) -> Vec<String> {
    let unpinned = images.iter().filter(|image| !image.pinned);
    let names = unpinned.map(|image| image.tags.first().unwrap_or(&image.id).clone());
    names.collect()
}

impl Disk {
    /// Reads the output of `stat -f -c '%S %b %a %c %d'`.
    fn parse(text: &str) -> Fact<Self> {
        let numbers: Vec<u64> = text
            .split_whitespace()
            .map_while(|n| n.parse().ok())
            .collect();
        let &[block, blocks, available, inodes, inodes_free] = numbers.as_slice() else {
            return Err(format!("stat of the image file system: {text:?}"));
        };
        Ok(Self {
            bytes: block * blocks,
            bytes_available: block * available,
            inodes,
            inodes_free,
            unpinned: Vec::new(),
        })
    }

    /// Percent in use, rounded as the kubelet does.
    fn used_percent(&self) -> u64 {
        100 - (self.bytes_available * 100)
            .checked_div(self.bytes)
            .unwrap_or(100)
            .min(100)
    }
}

fn judge(facts: &Facts, _: &Expected) -> Fact<Outcome> {
    let disk = require(&facts.disk)?;
    let used = disk.used_percent();
    // A kubelet that cannot be asked may have its default, 85.
    let limit = facts.kubelet.as_ref().map_or(Some(85), deletes_from);
    let mut observed = format!(
        "{used}% used, {:.1} GiB free",
        disk.bytes_available as f64 / f64::from(1 << 30)
    );
    match limit {
        Some(limit) => observed.push_str(&format!(", kubelet deletes from {limit}%")),
        None => observed.push_str(", kubelet deletes nothing"),
    }
    let is_below = limit.is_none_or(|limit| used + MARGIN < limit);
    if !is_below && !disk.unpinned.is_empty() {
        let (named, more) = disk.unpinned.split_at(NAMED.min(disk.unpinned.len()));
        observed.push_str(&format!(", no pin keeps {}", named.join(", ")));
        if !more.is_empty() {
            observed.push_str(&format!(" and {} more", more.len()));
        }
    }
    let ok = disk.bytes_available >= BYTES_FLOOR && is_below;
    Ok(Outcome::when(
        ok,
        observed,
        "free space on the engine's disk: kubenest clean, docker prune",
    ))
}

/// Percent in use at which this kubelet deletes images or pods; `None` when it never does.
fn deletes_from(kubelet: &Kubelet) -> Option<u64> {
    let gc = kubelet.high();
    let gc = (gc < 100).then_some(u64::from(gc));
    let eviction = kubelet
        .disk_signals()
        .into_iter()
        .filter_map(|(signal, threshold)| {
            let free: u64 = threshold.strip_suffix('%')?.parse().ok()?;
            signal
                .ends_with(".available")
                .then(|| 100_u64.saturating_sub(free))
        });
    eviction.chain(gc).min()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::health::{
        checks::{
            kubelet::tests::evict,
            tests::{self, fires, silent},
        },
        report::Verdict,
    };

    pub(in super::super) fn good() -> Disk {
        Disk {
            bytes: 100 << 30,
            bytes_available: 60 << 30,
            inodes: 1000,
            inodes_free: 900,
            unpinned: Vec::new(),
        }
    }

    #[test]
    fn disk_use_is_rounded_up_as_the_kubelet_does() {
        let disk = Disk::parse("4096 1000 145 500 100\n").expect("must parse");
        assert_eq!((disk.bytes, disk.used_percent()), (4_096_000, 86));
        assert_eq!(
            Disk::parse("4096 0 0 0 0")
                .expect("must parse")
                .used_percent(),
            0
        );
        assert!(Disk::parse("stat: cannot read").is_err());
    }

    #[test]
    fn images_at_risk_are_named_with_the_disk_and_the_threshold() {
        let image = |name: &str, pinned| {
            let mut image = Image::default();
            image.tags = vec![name.to_owned()];
            image.pinned = pinned;
            image
        };
        let images = [
            image("pause:1", true),
            image("a:1", false),
            image("b:1", false),
        ];
        let mut facts = tests::good();
        let disk = facts.disk.as_mut().unwrap();
        disk.unpinned = unpinned(&images);
        disk.bytes_available = 10 << 30;
        // Nothing is at risk where the kubelet deletes nothing.
        let observed = |facts: &Facts| tests::judge("disk", facts, &Expected::default()).observed;
        let nothing = "90% used, 10.0 GiB free, kubelet deletes nothing";
        assert_eq!(observed(&facts), nothing);
        facts.kubelet.as_mut().unwrap().image_gc_high = None;
        let risk = "90% used, 10.0 GiB free, kubelet deletes from 85%, no pin keeps a:1, b:1";
        assert_eq!(observed(&facts), risk);
        let unpinned = &mut facts.disk.as_mut().unwrap().unpinned;
        unpinned.extend((0..5).map(|number| format!("{number}:1")));
        let observed = observed(&facts);
        assert!(observed.ends_with("2:1 and 2 more"), "{observed}");
    }

    #[test]
    fn disk_stays_below_what_the_kubelet_acts_on() {
        let full = |facts: &mut Facts| facts.disk.as_mut().unwrap().bytes_available = 10 << 30;
        // 90 % used is fine for a kubelet that deletes nothing, and only for that one.
        silent(full);
        let mut facts = tests::good();
        full(&mut facts);
        facts.kubelet.as_mut().unwrap().image_gc_high = None;
        assert_eq!(
            tests::judge("disk", &facts, &Expected::default()).verdict,
            Verdict::Failed
        );
        facts.kubelet.as_mut().unwrap().image_gc_high = Some(100);
        facts.kubelet.as_mut().unwrap().eviction_hard = evict("imagefs.available", "15%");
        assert_eq!(
            tests::judge("disk", &facts, &Expected::default()).verdict,
            Verdict::Failed
        );
        facts.kubelet = Err("no answer".to_owned());
        assert_eq!(
            tests::judge("disk", &facts, &Expected::default()).verdict,
            Verdict::Failed
        );
        fires("disk", |facts| {
            facts.disk.as_mut().unwrap().bytes_available = 1 << 29
        });
    }
}
