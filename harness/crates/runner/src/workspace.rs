//! The workspace as cargo sees it: where things are, and which crates are suites.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use cargo_metadata::{Metadata, MetadataCommand};
use serde::{Deserialize, Serialize};

/// What cargo says about the repository.
pub struct Workspace {
    /// Of `cargo metadata`.
    pub metadata: Metadata,
}

/// A suite crate: one upstream behaviour, told by `[package.metadata.suite]`.
#[derive(Debug, Clone, Serialize)]
pub struct Suite {
    /// Of the package.
    pub name: String,
    /// Where its manifest is.
    #[serde(skip)]
    pub dir: PathBuf,
    /// What it says of itself.
    #[serde(flatten)]
    pub manifest: Manifest,
}

/// The keys of `[package.metadata.suite]`; all of them are required.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Where the failure is documented.
    pub upstream: Vec<String>,
    /// What fails.
    pub component: String,
    /// The version that must show the failure, "-" for a suite without sides.
    pub affected: String,
    /// The version without it, or "open", or "-" for a suite without sides.
    pub fixed: String,
    /// What nodes it needs, in words.
    pub cluster: String,
    /// How long a warm run may take, such as "6m".
    pub budget: String,
}

impl Workspace {
    /// Asks cargo for the workspace around the crate that this program was built of.
    ///
    /// # Errors
    /// Cargo does not know it.
    #[expect(clippy::disallowed_methods, reason = "cargo names the crate it runs")]
    pub fn load() -> anyhow::Result<Self> {
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
    pub fn root(&self) -> PathBuf {
        self.metadata.workspace_root.clone().into_std_path_buf()
    }

    /// Cargo's folder for what it makes.
    pub fn target(&self) -> PathBuf {
        self.metadata.target_directory.clone().into_std_path_buf()
    }

    /// The suite crates, by name.
    ///
    /// # Errors
    /// One tells itself wrongly.
    pub fn suites(&self) -> anyhow::Result<Vec<Suite>> {
        let mut suites = Vec::new();
        for package in self.metadata.workspace_packages() {
            let Some(value) = package.metadata.get("suite") else {
                continue;
            };
            let manifest: Manifest = serde_json::from_value(value.clone()).with_context(|| {
                format!("[package.metadata.suite] in {}", package.manifest_path)
            })?;
            manifest
                .budget()
                .with_context(|| format!("suite {}", package.name))?;
            let dir = package
                .manifest_path
                .parent()
                .context("a manifest has a folder")?;
            suites.push(Suite {
                name: package.name.to_string(),
                dir: dir.as_std_path().to_owned(),
                manifest,
            });
        }
        suites.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(suites)
    }
}

impl Manifest {
    /// Whether the suite is to be shown red on one version and green on another.
    pub fn has_sides(&self) -> bool {
        self.affected != "-"
    }

    /// How long a warm run may take.
    ///
    /// # Errors
    /// It is no time.
    pub fn budget(&self) -> anyhow::Result<Duration> {
        parse_budget(&self.budget)
    }
}

/// Reads "90s", "6m" or "1h".
///
/// # Errors
/// It is none of these.
pub fn parse_budget(text: &str) -> anyhow::Result<Duration> {
    let seconds = match text.char_indices().next_back() {
        Some((at, unit @ ('s' | 'm' | 'h'))) => {
            let factor = match unit {
                's' => 1,
                'm' => 60,
                _ => 3600,
            };
            text[..at]
                .parse::<u32>()
                .ok()
                .map(|number| u64::from(number) * factor)
        }
        _ => None,
    };
    match seconds {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => bail!("budget {text:?} is not a time such as \"90s\", \"6m\" or \"1h\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_read_with_their_unit() {
        assert_eq!(parse_budget("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse_budget("6m").unwrap(), Duration::from_secs(360));
        assert_eq!(parse_budget("1h").unwrap(), Duration::from_secs(3600));
    }

    #[test]
    fn a_budget_without_unit_or_number_is_refused() {
        for text in ["", "6", "m", "0m", "-1m", "6 m", "6d", "6µ"] {
            assert!(parse_budget(text).is_err(), "{text:?} must be refused");
        }
    }
}
