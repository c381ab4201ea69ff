//! The specs that are known to fail, each with its reason: `known-failures.yaml`.

use std::{collections::BTreeSet, fmt};

use anyhow::{Context, Result};
use kubenest::node::Node;
use serde::Deserialize;

const FILE: &str = include_str!("known-failures.yaml");

/// A spec that is known to fail.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// Its whole name, without `[k8s.io]`.
    pub(crate) spec: String,
    /// The runtimes on which it fails; all, if it names none.
    #[serde(default)]
    runtimes: Vec<String>,
    /// What a machine has on which it fails; any machine, if there is nothing.
    #[serde(default)]
    machine: Option<Trait>,
    /// Why.
    pub(crate) reason: String,
}

/// What sets a machine apart from others, as its nodes see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Trait {
    /// Cgroups of version 1.
    CgroupV1,
    /// No right to raise limits of resources.
    NoSysResource,
}

impl fmt::Display for Trait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CgroupV1 => "cgroup v1",
            Self::NoSysResource => "no CAP_SYS_RESOURCE",
        })
    }
}

/// The failures that are known of a runtime on a machine.
pub(crate) fn of(runtime: &str, machine: &BTreeSet<Trait>) -> Result<Vec<Known>> {
    let mut known = read(FILE)?;
    known.retain(|known| {
        let runs = known.runtimes.is_empty() || known.runtimes.iter().any(|name| name == runtime);
        runs && known.machine.is_none_or(|needed| machine.contains(&needed))
    });
    Ok(known)
}

fn read(text: &str) -> Result<Vec<Known>> {
    serde_saphyr::from_str(text).context("read known-failures.yaml")
}

/// The bit of CAP_SYS_RESOURCE.
const SYS_RESOURCE: u64 = 1 << 24;

/// Looks at the machine through one of its nodes.
pub(crate) async fn machine(node: &Node) -> Result<BTreeSet<Trait>> {
    let cgroups = node
        .exec_ok(&["stat", "-fc", "%T", "/sys/fs/cgroup"])
        .await?;
    let status = node.exec_ok(&["cat", "/proc/1/status"]).await?.text();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let rights = u64::from_str_radix(rights.unwrap_or_default().trim(), 16);
    let rights = rights.context("read the rights of a node's first process")?;
    let mut found = BTreeSet::new();
    if cgroups.text().trim() != "cgroup2fs" {
        found.insert(Trait::CgroupV1);
    }
    if rights & SYS_RESOURCE == 0 {
        found.insert(Trait::NoSysResource);
    }
    Ok(found)
}
