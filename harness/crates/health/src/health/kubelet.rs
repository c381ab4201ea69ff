//! What decides which images and pods a kubelet deletes: its effective configuration, and the
//! flags that win over the file of it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{expected::active_signals, facts::Fact};

/// The high threshold of a kubelet that was told none.
const DEFAULT_HIGH: u32 = 85;
/// The low threshold of a kubelet that was told none.
const DEFAULT_LOW: u32 = 80;

/// The parts of a kubelet's configuration that the checks look at, as `/configz` has them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Kubelet {
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub(super) image_gc_high: Option<u32>,
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub(super) image_gc_low: Option<u32>,
    #[serde(rename = "imageMaximumGCAge")]
    pub(super) image_max_age: String,
    pub(super) eviction_hard: BTreeMap<String, String>,
    pub(super) eviction_soft: BTreeMap<String, String>,
    pub(super) merge_default_eviction_settings: bool,
    pub(super) cgroup_driver: String,
}

/// A kubelet's command line: values by the names of flags, without dashes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Flags(BTreeMap<String, String>);

impl Kubelet {
    /// From the answer of `/configz`.
    pub(super) fn parse(text: &str) -> Fact<Self> {
        #[derive(Deserialize)]
        struct Configz {
            kubeletconfig: Kubelet,
        }
        let configz: Configz =
            serde_json::from_str(text).map_err(|error| format!("kubelet configz: {error}"))?;
        Ok(configz.kubeletconfig)
    }

    /// Percent of disk use at which it begins to delete images; 100 is never.
    pub(super) fn high(&self) -> u32 {
        self.image_gc_high.unwrap_or(DEFAULT_HIGH)
    }

    /// Percent of disk use at which it stops.
    pub(super) fn low(&self) -> u32 {
        self.image_gc_low.unwrap_or(DEFAULT_LOW)
    }

    /// Age at which it deletes unused images. Kubelets before 1.29 know none.
    pub(super) fn max_age(&self) -> &str {
        match self.image_max_age.as_str() {
            "" => "0s",
            age => age,
        }
    }

    /// Disk signals, hard and soft, that it acts upon.
    pub(super) fn disk_signals(&self) -> BTreeMap<String, String> {
        active_signals(self.eviction_hard.iter().chain(&self.eviction_soft))
    }

    /// With the values of flags in place of its own. `/configz` has them merged already; of two
    /// that differ, the kubelet acts on the flag.
    pub(super) fn under(&self, flags: &Flags) -> Self {
        let mut kubelet = self.clone();
        let number = |name| flags.get(name)?.parse().ok();
        kubelet.image_gc_high = number("image-gc-high-threshold").or(kubelet.image_gc_high);
        kubelet.image_gc_low = number("image-gc-low-threshold").or(kubelet.image_gc_low);
        if let Some(hard) = flags.get("eviction-hard") {
            kubelet.eviction_hard = signals(hard);
        }
        if let Some(soft) = flags.get("eviction-soft") {
            kubelet.eviction_soft = signals(soft);
        }
        kubelet
    }
}

impl Flags {
    /// From a command line, one argument per line.
    pub(super) fn parse(text: &str) -> Fact<Self> {
        let mut words = text.lines().peekable();
        words.next().ok_or("kubelet.service has no process")?;
        let mut flags = BTreeMap::new();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix('-') else {
                continue;
            };
            let flag = flag.trim_start_matches('-');
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value),
                None => {
                    let value = words.next_if(|next| !next.starts_with('-'));
                    (flag, value.unwrap_or_default())
                }
            };
            flags.insert(name.replace('_', "-"), value.to_owned());
        }
        Ok(Self(flags))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Where a setting comes from: this flag if it is there, else the configuration file.
    pub(super) fn origin(&self, flag: &str) -> String {
        match (self.get(flag), self.get("config")) {
            (Some(value), _) => format!("flag --{flag}={value}"),
            (None, Some(file)) => file.to_owned(),
            (None, None) => "a default".to_owned(),
        }
    }
}

/// The pairs of `nodefs.available<10%,imagefs.available<15%`.
fn signals(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('<'));
    pairs
        .map(|(signal, threshold)| (signal.to_owned(), threshold.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configz_is_read_as_the_kubelet_writes_it() {
        let text = r#"{"kubeletconfig": {"imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 80, "imageMaximumGCAge": "0s",
            "cgroupDriver": "systemd", "unknown": 1,
            "evictionHard": {"nodefs.available": "0%"}}}"#;
        let kubelet = Kubelet::parse(text).expect("must parse");
        assert_eq!((kubelet.high(), kubelet.low()), (100, 80));
        assert_eq!(kubelet.max_age(), "0s");
        assert_eq!(kubelet.eviction_hard["nodefs.available"], "0%");
        assert!(kubelet.disk_signals().is_empty());
        assert!(Kubelet::parse("{}").is_err());
    }

    #[test]
    fn what_nobody_set_is_the_kubelets_default() {
        let kubelet = Kubelet::parse(r#"{"kubeletconfig": {}}"#).expect("must parse");
        assert_eq!((kubelet.high(), kubelet.low()), (85, 80));
        assert_eq!(kubelet.max_age(), "0s");
    }

    #[test]
    fn flags_win_and_say_so() {
        let flags = "/usr/local/bin/kubelet\n--config=/var/lib/kubelet/config.yaml\n\
                     --image-gc-high-threshold\n90\n--eviction-hard=imagefs.available<15%,\
                     memory.available<1Gi\n--fail-swap-on\n-v=2";
        let flags = Flags::parse(flags).expect("must parse");
        let kubelet = Kubelet::default().under(&flags);
        assert_eq!((kubelet.high(), kubelet.low()), (90, 80));
        assert_eq!(kubelet.disk_signals()["imagefs.available"], "15%");
        assert_eq!(
            flags.origin("image-gc-high-threshold"),
            "flag --image-gc-high-threshold=90"
        );
        assert_eq!(
            flags.origin("image-gc-low-threshold"),
            "/var/lib/kubelet/config.yaml"
        );
        assert!(Flags::parse("").is_err());
    }
}
