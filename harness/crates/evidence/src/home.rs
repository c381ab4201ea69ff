//! The folder of evidence.

use std::path::PathBuf;

use kubenest_base::settings::Settings;

/// The folder of bundles: the one in the settings, else one below the nearest `target`, else one in
/// the cache.
pub(super) fn home(settings: &Settings) -> PathBuf {
    if let Some(folder) = &settings.evidence {
        return std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
    }
    let here = std::env::current_dir().unwrap_or_default();
    let own = here
        .ancestors()
        .find(|folder| folder.join("Cargo.toml").is_file() && folder.join("target").is_dir());
    match own {
        Some(own) => own.join("target/kubenest-evidence"),
        None => settings.cache.join("evidence"),
    }
}
