//! Runs programs with a wrong clock, by Debian's libfaketime, which fits this machine's C library.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use kubenest_base::store::Store;
use kubenest_forge::component;
use kubenest_recipe::recipe::{Component, Role, Source};

const LIBRARY: &str = "libfaketime.so.1";

/// The path of the library.
pub struct Faketime(PathBuf);

impl Faketime {
    /// Unpacks the library from Debian's package, which is cached, to a folder.
    pub async fn new(folder: &Path) -> Result<Self> {
        let os = Component {
            // The role of a minimal OS; building it requires iptables.
            role: Role::ProxyOs,
            version: "bookworm".into(),
            source: Source::Debian {
                suite: "bookworm".into(),
                packages: ["libfaketime", "iptables"].map(str::to_owned).to_vec(),
                version: None,
                sha256: None,
            },
        };
        let rootfs = component::provide(&Store::of(kubenest::settings()), &os)
            .await?
            .rootfs();
        for entry in tar::Archive::new(File::open(rootfs)?).entries()? {
            let mut entry = entry?;
            if entry.path()?.ends_with(LIBRARY) {
                let library = folder.join(LIBRARY);
                entry.unpack(&library)?;
                return Ok(Self(library));
            }
        }
        anyhow::bail!("the package has no '{LIBRARY}'")
    }

    /// Command prefix that runs a program with a clock off by this many hours.
    pub fn prefix(&self, hours: i32) -> Result<Vec<String>> {
        let library = self.0.to_str().context("a strange path")?;
        Ok(match hours {
            0 => Vec::new(),
            _ => vec![
                "env".to_owned(),
                format!("LD_PRELOAD={library}"),
                format!("FAKETIME={hours:+}h"),
                "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            ],
        })
    }
}
