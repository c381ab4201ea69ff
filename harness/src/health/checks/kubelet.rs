//! Check of the kubelet: its effective configuration deletes no more than the spec asked for.

use std::collections::BTreeMap;

use super::Outcome;
use crate::health::{
    Expected,
    expected::active,
    facts::{Facts, Kubelet, Seen, seen},
};

/// Image garbage collection and disk eviction are as asked; both delete loaded images.
pub(super) fn config(facts: &Facts, expected: &Expected) -> Seen<Outcome> {
    let kubelet = seen(&facts.kubelet)?;
    let wanted = &expected.kubelet;
    let mut trouble = Vec::new();
    // What the kubelet takes when nobody set it.
    let high = kubelet.image_gc_high.unwrap_or(85);
    if high != wanted.image_gc_high_threshold_percent {
        let asked = wanted.image_gc_high_threshold_percent;
        trouble.push(format!("imageGCHighThresholdPercent {high}, asked {asked}"));
    }
    if kubelet.image_max_age != wanted.image_maximum_gc_age {
        let (age, asked) = (&kubelet.image_max_age, &wanted.image_maximum_gc_age);
        trouble.push(format!("imageMaximumGCAge {age}, asked {asked}"));
    }
    let active = active_disk_signals(kubelet);
    if active != wanted.disk_eviction {
        let asked = &wanted.disk_eviction;
        trouble.push(format!(
            "disk eviction {}, asked {}",
            show(&active),
            show(asked)
        ));
    }
    if kubelet.merge_default_eviction_settings {
        trouble.push("mergeDefaultEvictionSettings brings disk eviction back".to_owned());
    }
    if trouble.is_empty() {
        let observed = format!(
            "image GC threshold {high}%, disk eviction {}",
            show(&active)
        );
        return Ok(Outcome::passed(observed));
    }
    let cure = "flags win over the config file: look at both, or ask the spec for these values";
    Ok(Outcome::failed(trouble.join("; "), cure))
}

/// Disk signals, hard and soft, that the kubelet acts upon.
pub(super) fn active_disk_signals(kubelet: &Kubelet) -> BTreeMap<String, String> {
    let signals = kubelet.eviction_hard.iter().chain(&kubelet.eviction_soft);
    active(signals.map(|(signal, threshold)| (signal.as_str(), threshold.as_str())))
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
