//! Check of the kubelet: what is in effect, from file and flags, deletes no more than was asked.

use std::collections::{BTreeMap, BTreeSet};

use super::Outcome;
use crate::health::{
    Expected,
    expected::active,
    facts::{Facts, Seen, seen},
    kubelet::{Flags, Kubelet},
};

const CURE: &str = "take the setting out of the node's kubelet configuration or, of a flag, out \
     of kubeletExtraArgs; where deletion is what is tested, ask for it: \
     ClusterSpec::with_image_collection() and a KubeletConfiguration patch";

/// The file that kubeadm writes.
const KUBEADMS_FILE: &str = "/var/lib/kubelet/config.yaml";

/// A setting that is not as asked.
struct Trouble {
    /// Its name, its value and where that comes from.
    told: String,
    /// A flag says so, which wins over the file.
    by_flag: bool,
}

/// Image garbage collection and disk eviction are as asked; both delete loaded images.
pub(super) fn config(facts: &Facts, expected: &Expected) -> Seen<Outcome> {
    let (kubelet, trouble) = judged(facts, expected)?;
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
    let trouble = judged(facts, expected).map(|(_, trouble)| trouble);
    let by_file = trouble.unwrap_or_default().into_iter();
    let by_file = by_file.filter(|trouble| !trouble.by_flag);
    by_file.map(|trouble| trouble.told).collect()
}

fn judged(facts: &Facts, expected: &Expected) -> Seen<(Kubelet, Vec<Trouble>)> {
    let flags = seen(&facts.kubelet_flags)?;
    let kubelet = seen(&facts.kubelet)?.under(flags);
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
        let found = active(found);
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
