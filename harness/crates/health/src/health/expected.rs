//! The expectations of a healthy node: what the spec asked of it.

use std::{collections::BTreeMap, fmt};

use semver::Version;
use serde::Serialize;
use serde_json::Value;

use kubenest_base::Result;
use kubenest_recipe::compat::Check;

/// What the spec asked of every node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Expected {
    /// containerd's snapshotter; `None` means that of the node's recipe, else `overlayfs`.
    pub snapshotter: Option<String>,
    /// Names of [checks](Check) that may fail: their findings are reported and refuse nothing.
    pub tolerated: Vec<String>,
    /// The kubelet's effective configuration.
    pub kubelet: ExpectedKubelet,
    /// Whether containers can mount images as volumes; only then is it tried.
    pub image_volumes: bool,
    /// The kind release that loads images, if one does; only then is it tried.
    pub loader: Option<Version>,
}

/// The parts of the kubelet's configuration that decide which images and pods it deletes.
/// By default nothing is ever deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExpectedKubelet {
    /// Percent of disk use at which image garbage collection starts; 100 means never.
    pub image_gc_high_threshold_percent: u32,
    /// Age at which unused images are deleted, as the kubelet writes it (`24h0m0s`); `0s` means
    /// never.
    pub image_maximum_gc_age: String,
    /// Disk signals (`imagefs.available` to `10%`) at which the kubelet evicts pods and images.
    pub eviction_hard: BTreeMap<String, String>,
    /// Disk signals at which the kubelet evicts after a grace period.
    pub eviction_soft: BTreeMap<String, String>,
}

impl Expected {
    /// Lets one check fail, for a suite that reproduces a sick node on purpose.
    #[must_use]
    pub fn with_tolerated(mut self, check: impl Into<String>) -> Self {
        self.tolerated.push(check.into());
        self
    }

    /// Demands this snapshotter of containerd.
    #[must_use]
    pub fn with_snapshotter(mut self, name: impl Into<String>) -> Self {
        self.snapshotter = Some(name.into());
        self
    }

    /// Demands that containers can mount images as volumes.
    #[must_use]
    pub fn with_image_volumes(mut self) -> Self {
        self.image_volumes = true;
        self
    }

    /// Demands that this release of kind can load images.
    #[must_use]
    pub fn with_loader(mut self, kind: Version) -> Self {
        self.loader = Some(kind);
        self
    }

    pub(super) fn snapshotter(&self) -> &str {
        self.snapshotter.as_deref().unwrap_or("overlayfs")
    }

    /// Refuses tolerated names that are no check.
    pub fn validate(&self) -> Result<()> {
        let mut names = self.tolerated.iter();
        names.try_for_each(|name| Check::named(name).map(drop))
    }
}

impl ExpectedKubelet {
    /// Takes over the deletion settings of a `KubeletConfiguration`.
    pub fn ask(&mut self, patch: &Value) {
        if let Some(high) = patch["imageGCHighThresholdPercent"].as_u64() {
            self.image_gc_high_threshold_percent = u32::try_from(high).unwrap_or(u32::MAX);
        }
        if let Some(age) = patch["imageMaximumGCAge"].as_str() {
            self.image_maximum_gc_age = age.to_owned();
        }
        for (key, signals) in [
            ("evictionHard", &mut self.eviction_hard),
            ("evictionSoft", &mut self.eviction_soft),
        ] {
            let asked = patch[key].as_object().into_iter().flatten();
            let asked: Vec<_> = asked
                .map(|(signal, threshold)| (signal, threshold.as_str().unwrap_or_default()))
                .collect();
            signals.extend(active_signals(asked));
        }
    }
}

/// The default deletes nothing.
impl Default for ExpectedKubelet {
    fn default() -> Self {
        Self {
            image_gc_high_threshold_percent: 100,
            image_maximum_gc_age: "0s".to_owned(),
            eviction_hard: BTreeMap::new(),
            eviction_soft: BTreeMap::new(),
        }
    }
}

/// The settings, by their names.
impl fmt::Display for ExpectedKubelet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            image_gc_high_threshold_percent: high,
            image_maximum_gc_age: age,
            ..
        } = self;
        write!(
            f,
            "imageGCHighThresholdPercent {high}, imageMaximumGCAge {age}"
        )?;
        for (setting, signals) in [
            ("evictionHard", &self.eviction_hard),
            ("evictionSoft", &self.eviction_soft),
        ] {
            for (signal, threshold) in signals {
                write!(f, ", {setting} {signal}<{threshold}")?;
            }
        }
        Ok(())
    }
}

/// The disk signals among these on which a kubelet acts.
pub(super) fn active_signals<S: AsRef<str>, T: AsRef<str>>(
    signals: impl IntoIterator<Item = (S, T)>,
) -> BTreeMap<String, String> {
    let disk = |signal: &str| {
        ["nodefs.", "imagefs.", "containerfs."]
            .iter()
            .any(|disk| signal.starts_with(disk))
    };
    // The kubelet reads 0% and 100% as "ignore this signal".
    let ignored = |threshold: &str| matches!(threshold, "" | "0%" | "100%");
    signals
        .into_iter()
        .map(|(signal, threshold)| (signal.as_ref().to_owned(), threshold.as_ref().to_owned()))
        .filter(|(signal, threshold)| disk(signal) && !ignored(threshold))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_real_checks_can_be_tolerated() {
        assert!(
            Expected::default()
                .with_tolerated("shim")
                .validate()
                .is_ok()
        );
        let error = Expected::default()
            .with_tolerated("shims")
            .validate()
            .unwrap_err();
        assert_eq!(error.to_string(), "no health check is named 'shims'");
        assert!(error.cure_text().is_some_and(|cure| cure.contains("shim")));
    }

    #[test]
    fn a_patch_of_the_kubelet_is_what_is_expected() {
        let mut kubelet = ExpectedKubelet::default();
        kubelet.ask(&json!({"kind": "KubeletConfiguration", "maxPods": 20}));
        assert_eq!(kubelet, ExpectedKubelet::default());
        kubelet.ask(&json!({
            "imageGCHighThresholdPercent": 5,
            "imageMaximumGCAge": "24h0m0s",
            "evictionHard": {
                "imagefs.available": "90%", "nodefs.available": "0%", "memory.available": "1Gi",
            },
            "evictionSoft": {"nodefs.inodesFree": "10%"},
        }));
        assert_eq!(kubelet.image_gc_high_threshold_percent, 5);
        assert_eq!(kubelet.image_maximum_gc_age, "24h0m0s");
        let signals =
            |signals: &BTreeMap<String, String>| signals.keys().cloned().collect::<Vec<_>>();
        assert_eq!(signals(&kubelet.eviction_hard), ["imagefs.available"]);
        assert_eq!(signals(&kubelet.eviction_soft), ["nodefs.inodesFree"]);
    }
}
