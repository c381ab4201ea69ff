//! A cargo project whose tests can be run: its packages that use kubenest.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use cargo_metadata::{Metadata, MetadataCommand, PackageId};

use crate::needs::Needs;
use crate::package::Package;

/// Name of the crate: the packages that use it are the ones to test.
const KUBENEST: &str = "kubenest";
/// Options that apply both to cargo's build and to its description of the project.
const FOR_BOTH: [&str; 3] = ["--offline", "--locked", "--frozen"];

/// What to do about a package that does not use kubenest.
const CURE: &str = ": its tests are `cargo test`'s; to write one on a real cluster, \
                    begin with `cargo add --dev kubenest`";

/// A workspace, or a single package.
pub struct Project {
    metadata: Metadata,
    /// The folder of the given manifest, or the current folder.
    folder: PathBuf,
}

impl Project {
    /// Asks cargo for the project of a manifest, or of the current folder. Only those of
    /// `cargo_args` that apply to such a question are used.
    ///
    /// # Errors
    /// There is no project, or cargo cannot read it.
    pub fn find(manifest: Option<&Path>, cargo_args: &[String]) -> anyhow::Result<Self> {
        let mut command = MetadataCommand::new();
        let folder = match manifest {
            Some(manifest) => {
                command.manifest_path(manifest);
                manifest.parent().unwrap_or(Path::new("")).to_owned()
            }
            None => PathBuf::new(),
        };
        let here = std::env::current_dir().context("find the current folder")?;
        let folder = here.join(folder);
        let folder = folder.canonicalize().unwrap_or(folder);
        let heeded = cargo_args.iter().cloned();
        let heeded = heeded.filter(|arg| FOR_BOTH.contains(&arg.as_str()));
        command.other_options(heeded.collect::<Vec<_>>());
        let metadata = command.exec().context("read the project")?;
        Ok(Self { metadata, folder })
    }

    /// The root folder of the workspace.
    pub fn root(&self) -> PathBuf {
        self.metadata.workspace_root.clone().into_std_path_buf()
    }

    /// Cargo's target folder.
    pub fn target(&self) -> PathBuf {
        self.metadata.target_directory.clone().into_std_path_buf()
    }

    /// The named packages; without names the package that contains the folder, or else all packages
    /// of the workspace that use kubenest.
    ///
    /// # Errors
    /// There is no such package, it does not use kubenest, or its manifest declares something
    /// unknown.
    pub fn packages(&self, named: &[String], limit: Duration) -> anyhow::Result<Vec<Package>> {
        let chosen = match named {
            [] => self.around()?,
            named => named
                .iter()
                .map(|name| self.named(name))
                .collect::<anyhow::Result<_>>()?,
        };
        let mut packages: Vec<Package> = Vec::new();
        for package in chosen {
            let dir = package.manifest_path.parent();
            let dir = dir.context("a manifest has a folder")?.as_std_path();
            packages.push(Package {
                name: package.name.to_string(),
                dir: dir.to_owned(),
                sides: vec![],
                limit,
                needs: Needs::of(&package.metadata, dir)
                    .with_context(|| package.manifest_path.to_string())?,
            });
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        packages.dedup_by(|a, b| a.name == b.name);
        Ok(packages)
    }

    /// The names of all packages of the workspace that use kubenest.
    ///
    /// # Errors
    /// No package does.
    pub fn all(&self) -> anyhow::Result<Vec<String>> {
        let members = self.metadata.workspace_packages();
        let using = members.iter().filter(|package| self.uses(&package.id));
        let names: Vec<_> = using.map(|package| package.name.to_string()).collect();
        if names.is_empty() {
            let root = &self.metadata.workspace_root;
            bail!("no package of {root} uses kubenest{CURE}");
        }
        Ok(names)
    }

    /// The package that contains the folder; at the root of a workspace, all packages that use
    /// kubenest.
    fn around(&self) -> anyhow::Result<Vec<&cargo_metadata::Package>> {
        let root = self.root();
        let root = root.canonicalize().unwrap_or(root);
        let members = self.metadata.workspace_packages();
        let depth_of = |package: &cargo_metadata::Package| {
            let folder = package.manifest_path.parent()?.as_std_path();
            let folder = folder.canonicalize().unwrap_or(folder.to_owned());
            let depth = folder.components().count();
            self.folder.starts_with(&folder).then_some((depth, folder))
        };
        let around = members
            .iter()
            .filter_map(|package| Some((depth_of(package)?, *package)));
        match around.max_by_key(|((depth, _), _)| *depth) {
            Some(((_, folder), package)) if folder != root || self.uses(&package.id) => {
                Ok(vec![self.named(package.name.as_str())?])
            }
            _ => self.all()?.iter().map(|name| self.named(name)).collect(),
        }
    }

    fn named(&self, name: &str) -> anyhow::Result<&cargo_metadata::Package> {
        let members = self.metadata.workspace_packages();
        let Some(package) = members.iter().find(|package| package.name == name) else {
            let names: BTreeSet<_> = members
                .iter()
                .map(|package| package.name.as_str())
                .collect();
            let names: Vec<_> = names.into_iter().collect();
            bail!(
                "there is no package {name:?}; the packages are {}",
                names.join(", ")
            );
        };
        if !self.uses(&package.id) {
            bail!("package {name} does not use kubenest{CURE}");
        }
        Ok(package)
    }

    /// Whether a package depends on kubenest, directly or through other packages.
    fn uses(&self, package: &PackageId) -> bool {
        let Some(graph) = &self.metadata.resolve else {
            return false;
        };
        let mut seen = BTreeSet::from([package]);
        let mut left = vec![package];
        while let Some(id) = left.pop() {
            let mut packages = self.metadata.packages.iter();
            if packages.any(|package| package.id == *id && package.name == KUBENEST) {
                return true;
            }
            let node = graph.nodes.iter().find(|node| node.id == *id);
            let below = node.into_iter().flat_map(|node| &node.dependencies);
            left.extend(below.filter(|id| seen.insert(id)));
        }
        false
    }
}
