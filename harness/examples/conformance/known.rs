//! The specs that are known to fail, each with its reason: `known-failures.yaml`.

use anyhow::{Context, Result};
use kubenest::node::{Node, Runtime};
use serde::Deserialize;

const FILE: &str = include_str!("known-failures.yaml");

/// A spec that is known to fail.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(crate) spec: String,
    pub(crate) reason: String,
    /// Whether it fails on this runtime and machine, too.
    pub(crate) here: bool,
}

/// Specs that fail for one reason.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    reason: String,
    specs: Vec<String>,
    /// The names of the runtimes on which they fail; none means all.
    #[serde(default)]
    runtimes: Vec<String>,
    /// What a machine has on which they fail; nothing means any machine.
    #[serde(default)]
    machine: Option<Feature>,
}

/// What sets a machine apart from others, as its nodes see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Feature {
    AppArmor,
}

/// All failures that are known, as they concern a node.
pub(crate) async fn of(node: &Node) -> Result<Vec<Known>> {
    read(FILE, node.runtime(), &machine(node).await?)
}

fn read(text: &str, runtime: Runtime, machine: &[Feature]) -> Result<Vec<Known>> {
    let groups: Vec<Group> = serde_saphyr::from_str(text).context("read known-failures.yaml")?;
    let known = groups.into_iter().flat_map(|group| {
        let on_runtime =
            group.runtimes.is_empty() || group.runtimes.iter().any(|name| name == runtime.name());
        let here = on_runtime && group.machine.is_none_or(|needed| machine.contains(&needed));
        let reason = group.reason;
        group.specs.into_iter().map(move |spec| Known {
            spec,
            reason: reason.clone(),
            here,
        })
    });
    Ok(known.collect())
}

/// Looks at the machine through one of its nodes.
async fn machine(node: &Node) -> Result<Vec<Feature>> {
    let enabled = ["cat", "/sys/module/apparmor/parameters/enabled"];
    let enabled = node.exec(&enabled).await?;
    let has_app_armor = enabled.text().trim() == "Y";
    Ok(has_app_armor
        .then_some(Feature::AppArmor)
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(text: &str, runtime: Runtime, machine: &[Feature]) -> Vec<String> {
        let known = read(text, runtime, machine).unwrap().into_iter();
        let here = known.filter(|known| known.here);
        here.map(|known| known.spec).collect()
    }

    #[test]
    fn a_failure_is_known_where_its_group_says() {
        let text = "
            - {reason: r, specs: [everywhere]}
            - {reason: r, specs: [on one runtime], runtimes: [cri-o]}
            - {reason: r, specs: [on one machine, and another], machine: app-armor}";
        let (containerd, crio) = (Runtime::Containerd, Runtime::CriO);
        assert_eq!(here(text, containerd, &[]), ["everywhere"]);
        assert_eq!(here(text, crio, &[]), ["everywhere", "on one runtime"]);
        assert_eq!(
            here(text, containerd, &[Feature::AppArmor]),
            ["everywhere", "on one machine", "and another"]
        );
        assert_eq!(read(text, containerd, &[]).unwrap().len(), 4);
    }

    #[test]
    fn the_file_names_each_spec_once_and_only_known_keys() {
        let known = read(FILE, Runtime::CriO, &[]).unwrap();
        let mut names: Vec<_> = known.iter().map(|known| &known.spec).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), known.len());
        assert!(
            read(
                "[{reason: r, specs: [s], runtime: cri-o}]",
                Runtime::CriO,
                &[]
            )
            .is_err()
        );
    }
}
