//! A headless Chromium for tests of HTML pages, out of Debian's packages.

use std::{ffi::OsString, fs, path::PathBuf};

use serde::Deserialize;

use kubenest_base::digest::sha256_hex;
use kubenest_base::{Context, Error, Result, store::Store};
use kubenest_forge::{debian, debian::Package};

const PACKAGES: &str = include_str!("../../../fixtures/data/chromium.yaml");
/// What the packages and their content take at most.
const UNPACKED_BYTES: u64 = 1 << 30;

/// Where the unpacked fonts are; the machine may have neither fonts nor their configuration.
const FONTS: &str = r#"<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">usr/share/fonts</dir></fontconfig>
"#;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Packages {
    suite: String,
    packages: Vec<String>,
}

/// An unpacked headless Chromium.
#[derive(Debug, Clone)]
pub struct Chromium {
    root: PathBuf,
}

impl Chromium {
    /// The one of Debian: from the cache, else fetched, some 100 MB.
    ///
    /// # Errors
    /// Debian's packages cannot be had, or there is no room for them.
    pub async fn headless() -> Result<Self> {
        let Packages { suite, packages } =
            serde_saphyr::from_str(PACKAGES).context("read chromium.yaml")?;
        let wanted: Vec<_> = packages.into_iter().map(package).collect();
        let key = format!("chromium-{}", &sha256_hex(PACKAGES.as_bytes())[..8]);
        let store = Store::default_cache();
        let root = store
            .entry("tool", &key, async |dir| {
                store.require_free(UNPACKED_BYTES, "a headless Chromium")?;
                debian::fetch(&suite, &wanted, dir).await?;
                fs::write(dir.join("fonts.conf"), FONTS).context("write fonts.conf")
            })
            .await?;
        let chromium = Self { root };
        if !chromium.program().is_file() {
            let program = chromium.program();
            let what = format!("Debian's Chromium has no '{}'", program.display());
            return Err(Error::setup(what));
        }
        Ok(chromium)
    }

    /// Its program.
    pub fn program(&self) -> PathBuf {
        self.root.join("usr/lib/chromium/chromium-headless-shell")
    }

    /// The variables it needs to find its libraries and fonts.
    pub fn variables(&self) -> Vec<(&'static str, OsString)> {
        let arch = format!("{}-linux-gnu", std::env::consts::ARCH);
        let libraries = [
            format!("usr/lib/{arch}"),
            format!("usr/lib/{arch}/pulseaudio"),
            format!("lib/{arch}"),
        ];
        let libraries = std::env::join_paths(libraries.map(|folder| self.root.join(folder)));
        vec![
            ("LD_LIBRARY_PATH", libraries.unwrap_or_default()),
            ("FONTCONFIG_FILE", self.root.join("fonts.conf").into()),
        ]
    }
}

fn package(name: String) -> Package {
    Package {
        name,
        version: None,
        sha256: None,
    }
}
