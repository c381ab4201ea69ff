//! A Debian package, as the pinned lists name it.

use serde::Deserialize;

/// A package to fetch.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Exact version; a rebuild of the same upstream version is taken when Debian has
    /// replaced it. `None`: the suite's own.
    #[serde(default)]
    pub version: Option<String>,
    /// Sum of the amd64 file of exactly this version.
    #[serde(default)]
    pub sha256: Option<String>,
}
