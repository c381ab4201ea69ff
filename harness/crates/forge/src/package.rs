//! A Debian package in the form of the pinned lists.

use serde::Deserialize;

/// A package to fetch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Exact version. A rebuild of the same upstream version is accepted when Debian has replaced
    /// it. `None` for the version of the suite.
    #[serde(default)]
    pub version: Option<String>,
    /// sha256 of the amd64 file of exactly this version.
    #[serde(default)]
    pub sha256: Option<String>,
}

#[cfg(feature = "build")]
impl Package {
    /// A package in the version that the suite has.
    pub(crate) fn of_suite(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: None,
            sha256: None,
        }
    }
}
