//! Check `kubelet`: the settings in effect, from the configuration file and the flags that override
//! it, delete no more images and pods than the spec asks for.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kube::Client;
use serde::Deserialize;

use super::{Check, Facts, Name, When, every_runtime};
use crate::health::{
    Expected,
    expected::active_signals,
    facts::{Fact, Probe, require},
    outcome::Outcome,
};
use kubenest_base::{Context, Error, Result, wait};
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

/// The configuration file that kubeadm writes.
const KUBEADMS_FILE: &str = "/var/lib/kubelet/config.yaml";

/// The high threshold of a kubelet without that setting.
const DEFAULT_HIGH: u32 = 85;
/// The low threshold of a kubelet without that setting.
const DEFAULT_LOW: u32 = 80;

/// The settings of a kubelet that the checks look at, as in `/configz`.
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

/// A kubelet's command line: the values by flag name, without dashes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::health) struct Flags(BTreeMap<String, String>);

impl Kubelet {
    /// Reads the answer of `/configz`.
    pub(in crate::health) fn parse(text: &str) -> Fact<Self> {
        #[derive(Deserialize)]
        struct Configz {
            kubeletconfig: Kubelet,
        }
        let configz: Configz =
            serde_json::from_str(text).map_err(|error| format!("kubelet configz: {error}"))?;
        Ok(configz.kubeletconfig)
    }

    /// Percent of disk use at which it begins to delete images; 100 means never.
    pub(super) fn high(&self) -> u32 {
        self.image_gc_high.unwrap_or(DEFAULT_HIGH)
    }

    /// Percent of disk use at which it stops.
    pub(super) fn low(&self) -> u32 {
        self.image_gc_low.unwrap_or(DEFAULT_LOW)
    }

    /// Age at which it deletes unused images. Kubelets before 1.29 have no such setting.
    pub(super) fn max_age(&self) -> &str {
        match self.image_max_age.as_str() {
            "" => "0s",
            age => age,
        }
    }

    /// The disk signals, hard and soft, on which it acts.
    pub(super) fn disk_signals(&self) -> BTreeMap<String, String> {
        active_signals(self.eviction_hard.iter().chain(&self.eviction_soft))
    }

    /// The settings with the values of flags in place of its own. `/configz` usually includes the
    /// flags already; where the two differ, the kubelet acts on the flag.
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
    /// Reads a command line, one argument on each line.
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

    /// The origin of a setting: this flag if it is there, else the configuration file.
    pub(super) fn origin(&self, flag: &str) -> String {
        match (self.get(flag), self.get("config")) {
            (Some(value), _) => format!("flag --{flag}={value}"),
            (None, Some(file)) => file.to_owned(),
            (None, None) => "a default".to_owned(),
        }
    }
}

/// Reads pairs such as `nodefs.available<10%,imagefs.available<15%`.
fn signals(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('<'));
    pairs
        .map(|(signal, threshold)| (signal.to_owned(), threshold.to_owned()))
        .collect()
}

/// How long a kubelet may refuse to answer because it has got a new certificate: it drops all its
/// connections to the API server, and with them the question whether it may answer.
const NEW_CERTIFICATE: Duration = Duration::from_secs(3);

/// The effective configuration of a kubelet.
pub(in crate::health) async fn configz(node: &Node, client: Option<&Client>) -> Result<String> {
    let client = client.ok_or_else(|| Error::setup("no Kubernetes runs yet"))?;
    let path = format!("/api/v1/nodes/{}/proxy/configz", node.name());
    let ask = async || {
        let request = http::Request::get(&path).body(Vec::new());
        let request = request.context("kubelet configz")?;
        let answer = client.request_text(request).await;
        answer.context("kubelet configz")
    };
    let first = ask().await;
    if first.is_ok() {
        return first;
    }
    let again = async || wait::Probe::from_result(ask().await);
    let answered = wait::until("the kubelet to answer", NEW_CERTIFICATE, again).await;
    answered.or(first)
}

pub(in crate::health) fn read_flags(probe: &Probe) -> Fact<Flags> {
    Flags::parse(probe.part("kubelet")?)
}

/// A setting that differs from what the spec asks.
struct Trouble {
    /// Its name, its value and the origin of the value.
    told: String,
    /// Whether the value comes from a flag, which overrides the file.
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

/// The settings that differ only because of kubeadm's file. Rewriting the file puts them back.
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
        // No flag sets the maximum age.
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
