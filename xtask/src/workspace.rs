//! The workspace according to cargo: its folders, and the crates that are suites.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, anyhow};
use cargo_metadata::{Metadata, MetadataCommand};
use kubenest_runner::{Needs, Package, Side, parse_duration, process};
use serde::{Deserialize, Serialize};

/// What cargo says about the repository.
pub(crate) struct Workspace {
    /// The output of `cargo metadata`.
    pub(crate) metadata: Metadata,
}

/// A suite crate, which tests one upstream behaviour, described by `[package.metadata.suite]`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Suite {
    /// Name of the package.
    pub(crate) name: String,
    /// The folder of its manifest.
    #[serde(skip)]
    pub(crate) dir: PathBuf,
    /// What its tests need.
    #[serde(skip)]
    pub(crate) needs: Needs,
    /// Its `[package.metadata.suite]`.
    #[serde(flatten)]
    pub(crate) manifest: Manifest,
}

/// The keys of `[package.metadata.suite]`; all of them are required.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// Where the failure is documented.
    pub(crate) upstream: Vec<String>,
    /// The component that fails.
    pub(crate) component: String,
    /// The version that must show the failure, "-" for a suite without sides.
    pub(crate) affected: String,
    /// The version without it, or "open", or "-" for a suite without sides.
    pub(crate) fixed: String,
    /// The nodes that it needs, described for people.
    pub(crate) cluster: String,
    /// How long a warm run may take, such as "6m".
    pub(crate) budget: String,
}

impl Workspace {
    /// Asks cargo for the workspace that contains this program's crate.
    #[expect(clippy::disallowed_methods, reason = "cargo names the crate it runs")]
    pub(crate) fn load() -> anyhow::Result<Self> {
        let xtask = std::env::var_os("CARGO_MANIFEST_DIR");
        let xtask = PathBuf::from(xtask.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into()));
        let metadata = MetadataCommand::new()
            .manifest_path(xtask.join("../Cargo.toml"))
            .no_deps()
            .exec()
            .context("cargo metadata of the workspace")?;
        Ok(Self { metadata })
    }

    /// The folder of the repository.
    pub(crate) fn root(&self) -> PathBuf {
        self.metadata.workspace_root.clone().into_std_path_buf()
    }

    /// Cargo's target folder.
    pub(crate) fn target(&self) -> PathBuf {
        self.metadata.target_directory.clone().into_std_path_buf()
    }

    /// A cargo command in the repository's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = process::cargo();
        command.current_dir(self.root());
        command
    }

    /// The suite crates, by name.
    pub(crate) fn suites(&self) -> anyhow::Result<Vec<Suite>> {
        let mut suites = Vec::new();
        for package in self.metadata.workspace_packages() {
            let Some(value) = package.metadata.get("suite") else {
                continue;
            };
            let manifest: Manifest = serde_json::from_value(value.clone()).with_context(|| {
                format!("[package.metadata.suite] in {}", package.manifest_path)
            })?;
            let of_suite = || format!("suite {}", package.name);
            manifest.budget().with_context(of_suite)?;
            let dir = package.manifest_path.parent();
            let dir = dir.context("a manifest has a folder")?.as_std_path();
            suites.push(Suite {
                name: package.name.to_string(),
                dir: dir.to_owned(),
                needs: Needs::of(&package.metadata, dir).with_context(of_suite)?,
                manifest,
            });
        }
        suites.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(suites)
    }
}

impl Suite {
    /// The suite as the runner needs it.
    pub(crate) fn package(&self) -> anyhow::Result<Package> {
        Ok(Package {
            name: self.name.clone(),
            dir: self.dir.clone(),
            sides: self.manifest.sides(),
            limit: self.manifest.budget()?,
            needs: self.needs.clone(),
        })
    }
}

impl Manifest {
    /// The suite's sides: an "open" failure is not fixed in any version yet.
    fn sides(&self) -> Vec<Side> {
        match (self.has_sides(), self.fixed.as_str()) {
            (false, _) => vec![],
            (true, "open") => vec![Side::Affected],
            (true, _) => vec![Side::Affected, Side::Fixed],
        }
    }

    /// Whether the suite must fail on one version and pass on another.
    pub(crate) fn has_sides(&self) -> bool {
        self.affected != "-"
    }

    /// How long a warm run may take.
    pub(crate) fn budget(&self) -> anyhow::Result<Duration> {
        parse_budget(&self.budget)
    }
}

/// Reads a budget, such as "6m".
pub(crate) fn parse_budget(text: &str) -> anyhow::Result<Duration> {
    parse_duration(text).map_err(|error| anyhow!("budget {error}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn suite(name: &str, affected: &str, fixed: &str) -> Suite {
        Suite {
            name: name.to_owned(),
            dir: PathBuf::from("suites").join(name),
            needs: Needs::default(),
            manifest: Manifest {
                upstream: vec!["https://github.com/owner/repository/issues/7".to_owned()],
                component: "containerd".to_owned(),
                affected: affected.to_owned(),
                fixed: fixed.to_owned(),
                cluster: "single-node".to_owned(),
                budget: "6m".to_owned(),
            },
        }
    }

    #[test]
    fn an_open_failure_has_one_side() {
        let sides = |affected, fixed| suite("a", affected, fixed).manifest.sides();
        assert_eq!(sides("1.7.0", "1.7.1"), [Side::Affected, Side::Fixed]);
        assert_eq!(sides("2.0.0", "open"), [Side::Affected]);
        assert_eq!(sides("-", "-"), []);
    }
}
