//! Go builds: the packages to build of a module, locked by an embedded `go.sum`.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

use super::{embedded, sha256_hex};
use kubenest_base::{Error, Result};

static BUILDS: LazyLock<BTreeMap<String, Build>> = LazyLock::new(|| {
    serde_saphyr::from_str(embedded::go_builds()).expect("embedded build.yaml must be well formed")
});

/// A Go module at one version and the programs built from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GoBuild {
    folder: &'static str,
    build: &'static Build,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    module: String,
    version: String,
    packages: Vec<String>,
    /// The folder with the program's source, if several builds share it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// Programs that are not called as their packages are: name and package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    named: BTreeMap<String, String>,
    /// A folder beside the source of each program in `named`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    beside: Option<String>,
    /// Programs that are the tests of a package: name and package.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tests: BTreeMap<String, String>,
    #[serde(default)]
    tags: Vec<String>,
    /// Variables that the linker sets: package, name, value.
    #[serde(default)]
    stamps: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<CParts>,
}

/// The parts of a build that are written in C.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CParts {
    /// The suite of Debian that has the libraries.
    pub debian: String,
    /// Debian packages of libraries that the Go programs link, statically.
    pub libraries: Vec<String>,
    /// Programs that the module has in C, each with the folder of its sources.
    pub programs: BTreeMap<String, String>,
}

impl GoBuild {
    /// Finds the build of a module at a version.
    ///
    /// # Errors
    /// Input when there is none; the cure lists the known ones.
    pub fn find(module: &str, version: &str) -> Result<Self> {
        let found = Self::all().find(|go| go.build.module == module && go.build.version == version);
        found.ok_or_else(|| {
            let known: Vec<_> = BUILDS
                .values()
                .map(|b| format!("{} {}", b.module, b.version))
                .collect();
            Error::input(format!("no Go build is kept for {module} {version}")).cure(format!(
                "use one of {}; or take the component from an archive or a folder",
                known.join(", ")
            ))
        })
    }

    /// All that are kept, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        BUILDS.iter().map(|(folder, build)| Self { folder, build })
    }

    /// The folder's name, such as `containerd-2.0.2`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.folder
    }

    /// The files `go build` needs, as name and content.
    #[must_use]
    pub fn files(&self) -> Vec<(&'static str, &'static [u8])> {
        let folders = [Some(self.folder), self.build.source.as_deref()];
        let folders = folders.into_iter().flatten();
        folders.flat_map(embedded::go_files).collect()
    }

    /// The module's path, such as `github.com/containerd/containerd/v2`.
    #[must_use]
    pub fn module(&self) -> &'static str {
        &self.build.module
    }

    /// What is written in C; `None` for a build of Go alone.
    #[must_use]
    pub fn c(&self) -> Option<&'static CParts> {
        self.build.c.as_ref()
    }

    /// The build tags, joined by commas.
    #[must_use]
    pub fn tags(&self) -> String {
        self.build.tags.join(",")
    }

    /// The import paths of the programs. A path with a dot is complete: it names a program of
    /// another module, at the version that this module requires.
    #[must_use]
    pub fn packages(&self) -> Vec<String> {
        let packages = self.build.packages.iter();
        packages.map(|package| self.import_path(package)).collect()
    }

    /// The programs whose names are not those of their packages: name and import path.
    #[must_use]
    pub fn named(&self) -> Vec<(&'static str, String)> {
        self.with_import_paths(&self.build.named)
    }

    /// The programs that are the tests of a package: name and import path.
    #[must_use]
    pub fn tests(&self) -> Vec<(&'static str, String)> {
        self.with_import_paths(&self.build.tests)
    }

    fn with_import_paths(
        &self,
        programs: &'static BTreeMap<String, String>,
    ) -> Vec<(&'static str, String)> {
        programs
            .iter()
            .map(|(name, package)| (name.as_str(), self.import_path(package)))
            .collect()
    }

    /// The folder beside the source of each of the [named](Self::named) programs that is kept with
    /// the program.
    #[must_use]
    pub fn beside(&self) -> Option<&'static str> {
        self.build.beside.as_deref()
    }

    fn import_path(&self, package: &str) -> String {
        let module = &self.build.module;
        match package {
            "." => module.clone(),
            path if path.contains('.') => path.to_owned(),
            path => format!("{module}/{path}"),
        }
    }

    /// The linker's flags: no symbol table, C libraries within the program, and version stamps.
    #[must_use]
    pub fn ldflags(&self) -> String {
        let stamps = self.build.stamps.iter().flat_map(|(package, values)| {
            values
                .iter()
                .map(move |(name, value)| format!("-X {package}.{name}={value}"))
        });
        let c: &[_] = match self.build.c {
            Some(_) => &["-linkmode=external", "-extldflags=-static"],
            None => &[],
        };
        let flags = ["-s", "-w"].iter().chain(c).map(|&flag| flag.to_owned());
        flags.chain(stamps).collect::<Vec<_>>().join(" ")
    }

    /// sha256 over everything that determines the programs' bytes, including `go.sum`.
    pub(super) fn hash(&self) -> String {
        let mut text = serde_json::to_string(self.build).expect("a build must be plain data");
        for (name, content) in self.files() {
            text.push_str(&format!("\n{name} {}", sha256_hex(content)));
        }
        sha256_hex(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_build_has_a_locked_folder() {
        for (folder, build) in BUILDS.iter() {
            let names: Vec<_> = embedded::go_files(folder)
                .iter()
                .map(|(name, _)| *name)
                .collect();
            assert!(names.contains(&"go.mod"), "{folder}");
            // A module without dependencies has nothing to lock.
            assert!(
                names.contains(&"go.sum") || build.packages == ["."],
                "{folder}"
            );
        }
    }

    #[test]
    fn go_mod_requires_exactly_the_version_it_is_kept_for() {
        for (folder, build) in BUILDS.iter().filter(|(_, b)| b.module.contains('.')) {
            let files = embedded::go_files(folder);
            let (_, go_mod) = files.iter().find(|(name, _)| *name == "go.mod").unwrap();
            let wanted = format!("require {} v{}\n", build.module, build.version);
            assert!(
                String::from_utf8_lossy(go_mod).contains(&wanted),
                "{folder}: {wanted}"
            );
        }
    }

    #[test]
    fn one_cri_client_is_built_against_two_releases_of_the_api() {
        let files = |version: &str| {
            let build = GoBuild::find("kubenest/cri-client", version).unwrap();
            let mut files = build.files();
            let go_mod = files.remove(0);
            let wanted = format!("\tk8s.io/cri-api v{version}\n");
            assert!(
                String::from_utf8_lossy(go_mod.1).contains(&wanted),
                "{go_mod:?}"
            );
            files.last().copied()
        };
        assert_eq!(files("0.30.0").unwrap().0, "main.go");
        assert_eq!(files("0.30.0"), files("0.34.0"));
    }

    #[test]
    fn kubernetes_knows_its_own_version() {
        let flags = GoBuild::find("k8s.io/kubernetes", "1.32.1")
            .unwrap()
            .ldflags();
        assert!(flags.starts_with("-s -w "));
        for package in [
            "k8s.io/component-base/version",
            "k8s.io/client-go/pkg/version",
        ] {
            assert!(flags.contains(&format!("-X {package}.gitVersion=v1.32.1")));
        }
    }

    #[test]
    fn only_what_links_c_is_linked_statically() {
        let flags = |module, version| GoBuild::find(module, version).unwrap().ldflags();
        let static_ones = "-s -w -linkmode=external -extldflags=-static";
        assert_eq!(flags("github.com/cri-o/cri-o", "1.34.0"), static_ones);
        assert_eq!(flags("github.com/coredns/coredns", "1.12.1"), "-s -w");
    }

    #[test]
    fn package_paths_start_with_the_module() {
        let packages = GoBuild::find("github.com/coredns/coredns", "1.11.3")
            .unwrap()
            .packages();
        assert_eq!(packages, ["github.com/coredns/coredns"]);
    }

    #[test]
    fn programs_of_packages_with_one_name_have_names_of_their_own() {
        let build = GoBuild::find("sigs.k8s.io/cluster-api", "1.8.4").unwrap();
        let named = build.named();
        let named: Vec<_> = named
            .iter()
            .map(|(name, path)| format!("{name} {path}"))
            .collect();
        assert_eq!(
            named,
            [
                "core sigs.k8s.io/cluster-api",
                "docker-infrastructure sigs.k8s.io/cluster-api/test/infrastructure/docker",
                "kubeadm-bootstrap sigs.k8s.io/cluster-api/bootstrap/kubeadm",
                "kubeadm-control-plane sigs.k8s.io/cluster-api/controlplane/kubeadm",
            ]
        );
        assert_eq!(build.beside(), Some("config"));
    }

    #[test]
    fn a_program_that_is_a_test_is_of_another_module() {
        let build = GoBuild::find("kubenest/critest", "1.34.0").unwrap();
        let path = "sigs.k8s.io/cri-tools/cmd/critest".to_owned();
        assert_eq!(build.tests(), [("critest", path)]);
        assert!(build.packages().is_empty());
    }

    #[test]
    fn an_unknown_version_lists_the_known_builds() {
        let error = GoBuild::find("k8s.io/kubernetes", "1.0.0").unwrap_err();
        assert!(
            error
                .cure_text()
                .unwrap()
                .contains("k8s.io/kubernetes 1.32.1")
        );
    }
}
