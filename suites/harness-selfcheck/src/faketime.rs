//! Programs whose clock is off: Debian's libfaketime, of this machine's C library.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use kubenest_forge::component;
use kubenest_recipe::recipe::{Component, Role, Source};

const LIBRARY: &str = "libfaketime.so.1";

/// The library, in a folder.
pub struct Faketime(PathBuf);

impl Faketime {
    /// Takes it from Debian's package, else from the cache.
    pub async fn new(folder: &Path) -> Result<Self> {
        let os = Component {
            // Of an OS in which nothing is set up, and which needs iptables for that.
            role: Role::ProxyOs,
            version: "bookworm".into(),
            source: Source::Debian {
                suite: "bookworm".into(),
                packages: ["libfaketime", "iptables"].map(str::to_owned).to_vec(),
                version: None,
                sha256: None,
            },
        };
        let rootfs = component::provide(&os).await?.rootfs();
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

    /// What comes before a program whose clock is off by so many hours.
    pub fn words(&self, hours: i32) -> Result<Vec<String>> {
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
