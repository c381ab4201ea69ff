//! Check `kubelet`: what is in effect, from its configuration file and the flags that win over that,
//! deletes no more images and pods than the spec asks for.

use std::collections::{BTreeMap, BTreeSet};

use kube::Client;
use serde::Deserialize;

use super::{Check, Facts, Name, When, every_runtime};
use crate::health::{
    Expected,
    expected::active_signals,
    facts::{Fact, Probe, require},
    outcome::Outcome,
};
use kubenest_base::{Context, Error, Result};
use kubenest_node::node::Node;

pub(super) const CHECK: Check = Check {
    name: Name::Kubelet,
    when: When::KubernetesRuns,
    applies: every_runtime,
    judge,
};

const CURE: &str = "take the setting out of the node's kubelet configuration or, of a flag, out \
     of kubeletExtraArgs; where deletion is what is tested, ask for it: \
     ClusterSpec::with_image_collection() and a KubeletConfiguration patch";

/// The file that kubeadm writes.
const KUBEADMS_FILE: &str = "/var/lib/kubelet/config.yaml";

/// The high threshold of a kubelet that was told none.
const DEFAULT_HIGH: u32 = 85;
/// The low threshold of a kubelet that was told none.
const DEFAULT_LOW: u32 = 80;

/// The parts of a kubelet's configuration that the checks look at, as `/configz` has them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::health) struct Kubelet {
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
pub(in crate::health) struct Flags(BTreeMap<String, String>);

impl Kubelet {
    /// From the answer of `/configz`.
    pub(in crate::health) fn parse(text: &str) -> Fact<Self> {
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

/// What a kubelet is in effect configured to.
pub(in crate::health) async fn configz(node: &Node, client: Option<&Client>) -> Result<String> {
    let client = client.ok_or_else(|| Error::setup("no Kubernetes runs yet"))?;
    let path = format!("/api/v1/nodes/{}/proxy/configz", node.name());
    let request = http::Request::get(path)
        .body(Vec::new())
        .context("kubelet configz")?;
    client
        .request_text(request)
        .await
        .context("kubelet configz")
}

pub(in crate::health) fn read_flags(probe: &Probe) -> Fact<Flags> {
    Flags::parse(probe.part("kubelet")?)
}

/// A setting that is not as asked.
struct Trouble {
    /// Its name, its value and where that comes from.
    told: String,
    /// A flag says so, which wins over the file.
    by_flag: bool,
}

/// Image garbage collection and disk eviction both delete loaded images.
fn judge(facts: &Facts, expected: &Expected) -> Fact<Outcome> {
    let (kubelet, trouble) = effective(facts, expected)?;
    if trouble.is_empty() {
        let observed = format!(
            "image GC threshold {}%, disk eviction {}",
            kubelet.high(),
            show(&kubelet.disk_signals())
        );
        return Ok(Outcome::passed(observed));
    }
    let told: Vec<_> = trouble.into_iter().map(|trouble| trouble.told).collect();
    Ok(Outcome::failed(told.join("; "), CURE))
}

/// What kubeadm's file says otherwise than asked: what the file alone decides.
pub(in crate::health) fn drift(facts: &Facts, expected: &Expected) -> Vec<String> {
    let by_file = |flags: &Flags| flags.get("config") == Some(KUBEADMS_FILE);
    if !facts.kubelet_flags.as_ref().is_ok_and(by_file) {
        return Vec::new();
    }
    let trouble = effective(facts, expected).map(|(_, trouble)| trouble);
    let by_file = trouble.unwrap_or_default().into_iter();
    let by_file = by_file.filter(|trouble| !trouble.by_flag);
    by_file.map(|trouble| trouble.told).collect()
}

fn effective(facts: &Facts, expected: &Expected) -> Fact<(Kubelet, Vec<Trouble>)> {
    let flags = require(&facts.kubelet_flags)?;
    let kubelet = require(&facts.kubelet)?.under(flags);
    let trouble = trouble(&kubelet, flags, expected);
    Ok((kubelet, trouble))
}

fn trouble(kubelet: &Kubelet, flags: &Flags, expected: &Expected) -> Vec<Trouble> {
    let wanted = &expected.kubelet;
    let mut trouble = Vec::new();
    let mut tell = |what: String, flag: &str, asked: &str| {
        trouble.push(Trouble {
            told: format!("{what} ({}), asked {asked}", flags.origin(flag)),
            by_flag: flags.get(flag).is_some(),
        });
    };
    let (high, low) = (kubelet.high(), kubelet.low());
    let asked = wanted.image_gc_high_threshold_percent;
    if high != asked {
        let what = format!("imageGCHighThresholdPercent {high}");
        tell(what, "image-gc-high-threshold", &asked.to_string());
    }
    if low >= high {
        let what = format!("imageGCLowThresholdPercent {low}");
        tell(what, "image-gc-low-threshold", &format!("less than {high}"));
    }
    let (age, asked) = (kubelet.max_age(), &wanted.image_maximum_gc_age);
    if age != asked {
        // No flag sets it.
        tell(format!("imageMaximumGCAge {age}"), "", asked);
    }
    let hard = ("evictionHard", "eviction-hard");
    let soft = ("evictionSoft", "eviction-soft");
    for ((setting, flag), found, asked) in [
        (hard, &kubelet.eviction_hard, &wanted.eviction_hard),
        (soft, &kubelet.eviction_soft, &wanted.eviction_soft),
    ] {
        let found = active_signals(found);
        for signal in found.keys().chain(asked.keys()).collect::<BTreeSet<_>>() {
            let at = |signals: &BTreeMap<String, String>| {
                signals.get(signal).map_or("0%", String::as_str).to_owned()
            };
            if at(&found) != at(asked) {
                tell(
                    format!("{setting} {signal}<{}", at(&found)),
                    flag,
                    &at(asked),
                );
            }
        }
    }
    if kubelet.merge_default_eviction_settings {
        let what = "mergeDefaultEvictionSettings true, which brings disk eviction back";
        tell(what.to_owned(), "", "false");
    }
    trouble
}

fn show(signals: &BTreeMap<String, String>) -> String {
    if signals.is_empty() {
        return "off".to_owned();
    }
    let pairs: Vec<_> = signals
        .iter()
        .map(|(name, at)| format!("{name}<{at}"))
        .collect();
    pairs.join(" ")
}

#[cfg(test)]
pub(super) mod tests;
