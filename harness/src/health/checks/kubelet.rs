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
     ClusterSpec::collecting_images() and a KubeletConfiguration patch";

/// Image garbage collection and disk eviction are as asked; both delete loaded images.
pub(super) fn config(facts: &Facts, expected: &Expected) -> Seen<Outcome> {
    let flags = seen(&facts.kubelet_flags)?;
    let kubelet = seen(&facts.kubelet)?.under(flags);
    let trouble = trouble(&kubelet, flags, expected);
    if trouble.is_empty() {
        let observed = format!(
            "image GC threshold {}%, disk eviction {}",
            kubelet.high(),
            show(&kubelet.disk_signals())
        );
        return Ok(Outcome::passed(observed));
    }
    Ok(Outcome::failed(trouble.join("; "), CURE))
}

/// Each setting that is not as asked: its name, its value and where that comes from.
fn trouble(kubelet: &Kubelet, flags: &Flags, expected: &Expected) -> Vec<String> {
    let wanted = &expected.kubelet;
    let mut trouble = Vec::new();
    let mut tell = |what: String, flag: &str, asked: &str| {
        trouble.push(format!("{what} ({}), asked {asked}", flags.origin(flag)));
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
