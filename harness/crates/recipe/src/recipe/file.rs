//! Recipe files: the YAML format, and how it is resolved to a recipe.

use kubenest_base::digest::is_sha256_hex;
use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    Component, Content, GoBuild, ImageRef, Parts, Recipe, Role, RuntimeParts, RuntimeSettings,
    Source, embedded,
};
use kubenest_base::{Error, Result};

/// A recipe file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    extend: Option<Spanned<String>>,
    image: Option<Spanned<String>>,
    allow_tag: bool,
    runtime: RuntimeName,
    kubernetes: Option<Spanned<Fields>>,
    containerd: Option<Spanned<Fields>>,
    shim: Option<Spanned<Fields>>,
    crio: Option<Spanned<Fields>>,
    conmon: Option<Spanned<Fields>>,
    crun: Option<Spanned<Fields>>,
    runc: Option<Spanned<Fields>>,
    cni: Option<Spanned<Fields>>,
    etcd: Option<Spanned<Fields>>,
    coredns: Option<Spanned<Fields>>,
    pause: Option<Spanned<Fields>>,
    os: Option<Spanned<Fields>>,
    proxy_os: Option<Spanned<Fields>>,
    settings: SettingsFields,
}

/// The container runtime. A recipe does not inherit it from the one that it extends.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RuntimeName {
    #[default]
    Containerd,
    CriO,
}

/// A component as it is written: one of the four sources, with its details.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Fields {
    go: Option<String>,
    debian: Option<String>,
    archive: Option<String>,
    folder: Option<String>,
    packages: Option<Vec<String>>,
    version: Option<String>,
    sha256: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SettingsFields {
    systemd_cgroup: Option<bool>,
    snapshotter: Option<String>,
}

/// The resolved components of a file; missing ones come from the recipe it extends.
#[derive(Default)]
struct Layer {
    components: Vec<Component>,
    systemd_cgroup: Option<bool>,
    snapshotter: Option<String>,
}

/// Resolves a file's text to a recipe; messages use `name`, and relative paths start from `folder`.
pub(super) fn resolve(name: &str, text: &str, folder: &Path) -> Result<Recipe> {
    let document = parse(name, text)?;
    let content = match &document.image {
        Some(image) => Content::Image(image_ref(name, &document, image)?),
        None => {
            document.refuse_other_runtime(name)?;
            let (runtime, mut layer) = (document.runtime, Layer::default());
            layer.add(name, document, folder)?;
            Content::Parts(Box::new(layer.complete(name, runtime)?))
        }
    };
    Ok(Recipe {
        name: name.to_owned(),
        content,
    })
}

impl Document {
    fn components(&self) -> impl Iterator<Item = (Role, &Spanned<Fields>)> {
        [
            (Role::Kubernetes, &self.kubernetes),
            (Role::Containerd, &self.containerd),
            (Role::Shim, &self.shim),
            (Role::Crio, &self.crio),
            (Role::Conmon, &self.conmon),
            (Role::Crun, &self.crun),
            (Role::Runc, &self.runc),
            (Role::Cni, &self.cni),
            (Role::Etcd, &self.etcd),
            (Role::Coredns, &self.coredns),
            (Role::Pause, &self.pause),
            (Role::Os, &self.os),
            (Role::ProxyOs, &self.proxy_os),
        ]
        .into_iter()
        .filter_map(|(role, fields)| Some((role, fields.as_ref()?)))
    }

    /// Refuses the fields of another runtime, which would silently have no effect.
    fn refuse_other_runtime(&self, name: &str) -> Result<()> {
        let (runtime, others): (_, &[Role]) = match self.runtime {
            RuntimeName::Containerd => ("containerd", &[Role::Crio, Role::Conmon, Role::Crun]),
            RuntimeName::CriO => ("cri-o", &[Role::Containerd, Role::Shim]),
        };
        let mut components = self.components();
        if let Some((role, fields)) = components.find(|(role, _)| others.contains(role)) {
            let at = Place {
                recipe: name,
                line: fields.referenced.line(),
                field: role.name(),
            };
            let what = format!("it means nothing to the runtime {runtime}");
            return Err(at.error(
                &what,
                "remove it, or name the other runtime with `runtime:`",
            ));
        }
        if self.runtime == RuntimeName::CriO && self.settings.snapshotter.is_some() {
            let what = "only containerd has a snapshotter, and the runtime is cri-o";
            return Err(Error::input(format!("recipe {name}: {what}")).cure("remove it"));
        }
        Ok(())
    }
}

impl Layer {
    /// Adds the components of a document and of the recipes it extends, unless they are already
    /// present.
    fn add(&mut self, name: &str, document: Document, folder: &Path) -> Result<()> {
        for (role, fields) in document.components() {
            if self
                .components
                .iter()
                .all(|component| component.role != role)
            {
                let line = fields.referenced.line();
                let at = Place {
                    recipe: name,
                    line,
                    field: role.name(),
                };
                self.components
                    .push(fields.value.component(role, &at, folder)?);
            }
        }
        let SettingsFields {
            systemd_cgroup,
            snapshotter,
        } = document.settings;
        self.systemd_cgroup = self.systemd_cgroup.or(systemd_cgroup);
        self.snapshotter = self.snapshotter.take().or(snapshotter);
        let Some(base) = document.extend else {
            return Ok(());
        };
        let at = Place {
            recipe: name,
            line: base.referenced.line(),
            field: "extend",
        };
        let text = embedded::recipe(&base.value).map_err(|unknown| at.wrap(unknown))?;
        let below = parse(&base.value, text)?;
        // The recursion ends: only embedded recipes can be extended, and a test resolves each of
        // them.
        self.add(&base.value, below, Path::new("."))
    }

    fn complete(mut self, name: &str, runtime: RuntimeName) -> Result<Parts> {
        let mut os = self.require(name, Role::Os)?;
        Ok(Parts {
            runtime: match runtime {
                RuntimeName::Containerd => self.containerd(name)?,
                RuntimeName::CriO => self.crio(name, &mut os)?,
            },
            os,
            kubernetes: self.require(name, Role::Kubernetes)?,
            etcd: self.require(name, Role::Etcd)?,
            coredns: self.require(name, Role::Coredns)?,
            pause: self.require(name, Role::Pause)?,
            proxy_os: self.require(name, Role::ProxyOs)?,
            runc: self.take(Role::Runc),
            cni: self.take(Role::Cni),
            settings: RuntimeSettings {
                systemd_cgroup: self.systemd_cgroup.unwrap_or(true),
                snapshotter: self.snapshotter.unwrap_or_else(|| "overlayfs".to_owned()),
            },
        })
    }

    /// Without a shim of its own, the recipe uses the daemon's.
    fn containerd(&mut self, name: &str) -> Result<RuntimeParts> {
        let daemon = self.require(name, Role::Containerd)?;
        let shim = self.take(Role::Shim).unwrap_or_else(|| Component {
            role: Role::Shim,
            ..daemon.clone()
        });
        Ok(RuntimeParts::Containerd { daemon, shim })
    }

    /// Conmon comes from Debian, like runc, unless the recipe names it. So does skopeo, which puts
    /// images into CRI-O's store, and nftables: CRI-O maps host ports with nft, and crashes at the
    /// first one where there is none. Debian's crun is no choice: bookworm's knows no specification of
    /// containers as new as CRI-O's.
    fn crio(&mut self, name: &str, os: &mut Component) -> Result<RuntimeParts> {
        let daemon =
            self.take(Role::Crio).ok_or_else(|| {
                Error::input(format!("recipe {name} has the runtime cri-o and names no crio")).cure(
                "add `crio: {go: github.com/cri-o/cri-o, version: …}`, or a folder or an archive \
                 with the programs crio and pinns",
            )
            })?;
        let (conmon, crun) = (self.take(Role::Conmon), self.take(Role::Crun));
        if let Source::Debian { packages, .. } = &mut os.source {
            let needed = [
                ("conmon", conmon.is_none()),
                ("skopeo", true),
                ("nftables", true),
            ];
            for (package, _) in needed.into_iter().filter(|(_, needed)| *needed) {
                if !packages.iter().any(|known| known == package) {
                    packages.push(package.to_owned());
                }
            }
        }
        Ok(RuntimeParts::Crio {
            daemon,
            conmon,
            crun,
        })
    }

    fn require(&mut self, name: &str, role: Role) -> Result<Component> {
        self.take(role).ok_or_else(|| {
            let what = format!("recipe {name} names no {}", role.name());
            Error::input(what).cure(format!(
                "add a line for it, or `extend:` one of {}",
                embedded::recipe_names().join(", ")
            ))
        })
    }

    fn take(&mut self, role: Role) -> Option<Component> {
        let index = self
            .components
            .iter()
            .position(|component| component.role == role)?;
        Some(self.components.swap_remove(index))
    }
}

impl Fields {
    fn component(&self, role: Role, at: &Place<'_>, folder: &Path) -> Result<Component> {
        if role.is_os() && (self.go.is_some() || self.folder.is_some()) {
            let cure = "take it from debian, or from an archive of its root file system";
            return Err(at.error("a root file system is no program", cure));
        }
        if role == Role::Crio && self.debian.is_some() {
            let cure = "take it from its Go module, a folder, or an archive with its sha256";
            return Err(at.error("CRI-O is no package of Debian", cure));
        }
        let version = self.version(role, at)?;
        let source = match self {
            Self {
                go: Some(module),
                debian: None,
                archive: None,
                folder: None,
                ..
            } => {
                self.refuse_others(at, "go", &["version"])?;
                let build = GoBuild::find(module, &version).map_err(|unknown| at.wrap(unknown))?;
                Source::Go(build)
            }
            Self {
                go: None,
                debian: Some(suite),
                archive: None,
                folder: None,
                ..
            } => {
                let program: &[_] = &["packages", "version", "sha256"];
                let used = if role.is_os() { &program[..1] } else { program };
                self.refuse_others(at, "debian", used)?;
                self.debian(suite, at)?
            }
            Self {
                go: None,
                debian: None,
                archive: Some(url),
                folder: None,
                ..
            } => {
                self.refuse_others(at, "archive", &["sha256", "version"])?;
                self.archive(url, at)?
            }
            Self {
                go: None,
                debian: None,
                archive: None,
                folder: Some(path),
                ..
            } => {
                self.refuse_others(at, "folder", &["version"])?;
                Source::folder(folder.join(path)).map_err(|error| at.wrap(error))?
            }
            _ => {
                let cure = "give exactly one of go, debian, archive, folder";
                return Err(at.error("the source is not clear", cure));
            }
        };
        Ok(Component {
            role,
            version,
            source,
        })
    }

    /// The version without its `v` and without Debian's revision; for a root file system the suite.
    fn version(&self, role: Role, at: &Place<'_>) -> Result<String> {
        let version = match (&self.version, &self.debian) {
            (None, Some(suite)) if role.is_os() => suite,
            (None, _) => return Err(at.error("the version is missing", "add `version:`")),
            (Some(version), None) => version.strip_prefix('v').unwrap_or(version),
            (Some(version), Some(_)) => version
                .rsplit_once('-')
                .map_or(version.as_str(), |(upstream, _)| upstream),
        };
        at.check_word("version", version)?;
        Ok(version.to_owned())
    }

    fn debian(&self, suite: &str, at: &Place<'_>) -> Result<Source> {
        let packages = self.packages.clone().unwrap_or_default();
        if packages.is_empty() {
            return Err(at.error("no package is named", "add `packages: [name]`"));
        }
        at.check_word("suite", suite)?;
        packages
            .iter()
            .try_for_each(|package| at.check_word("package", package))?;
        Ok(Source::Debian {
            suite: suite.to_owned(),
            packages,
            version: self.version.clone(),
            sha256: self.sha256(at)?,
        })
    }

    fn archive(&self, url: &str, at: &Place<'_>) -> Result<Source> {
        let known = ["http://", "https://", "file:///"];
        if !known.iter().any(|scheme| url.starts_with(scheme)) {
            let cure = "give an http://, https:// or file:/// address";
            return Err(at.error(&format!("`{url}` is no address of an archive"), cure));
        }
        let sha256 = self.sha256(at)?.ok_or_else(|| {
            let cure = "add `sha256:` with the 64 hex digits that `sha256sum` prints";
            at.error("an archive needs its sha256", cure)
        })?;
        Ok(Source::Archive {
            url: url.to_owned(),
            sha256,
        })
    }

    fn sha256(&self, at: &Place<'_>) -> Result<Option<String>> {
        if let Some(other) = self.sha256.as_ref().filter(|sha256| !is_sha256_hex(sha256)) {
            let cure = "give the 64 lowercase hex digits that `sha256sum` prints";
            return Err(at.error(&format!("`{other}` is no sha256"), cure));
        }
        Ok(self.sha256.clone())
    }

    /// Refuses fields that the source does not use, which would silently have no effect.
    fn refuse_others(&self, at: &Place<'_>, source: &str, used: &[&str]) -> Result<()> {
        let given = [
            ("packages", self.packages.is_some()),
            ("version", self.version.is_some()),
            ("sha256", self.sha256.is_some()),
        ];
        match given
            .iter()
            .find(|(field, given)| *given && !used.contains(field))
        {
            None => Ok(()),
            Some((field, _)) => Err(at.error(
                &format!("`{field}` means nothing for a {source} source"),
                "remove it",
            )),
        }
    }
}

/// The place in a recipe that a message refers to.
struct Place<'a> {
    recipe: &'a str,
    line: u64,
    field: &'a str,
}

impl Place<'_> {
    fn error(&self, what: &str, cure: impl Into<String>) -> Error {
        let Self {
            recipe,
            line,
            field,
        } = self;
        Error::input(format!("recipe {recipe} line {line}, {field}: {what}")).cure(cure)
    }

    fn wrap(&self, inner: Error) -> Error {
        let Self {
            recipe,
            line,
            field,
        } = self;
        Error::input(format!("recipe {recipe} line {line}, {field}")).because(inner)
    }

    /// Checks a word that becomes part of arguments and file names.
    fn check_word(&self, what: &str, text: &str) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ".+~-_".contains(c);
        if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
            return Ok(());
        }
        let cure = "use letters, digits and . + ~ - _, a letter or digit first";
        Err(self.error(&format!("`{text}` is no {what}"), cure))
    }
}

fn parse(name: &str, text: &str) -> Result<Document> {
    serde_saphyr::from_str(text).map_err(|cause| {
        Error::input(format!("recipe {name}: {}", cause.without_snippet()))
            .cure("correct that line; recipes that come with kubenest show the shape")
    })
}

fn image_ref(name: &str, document: &Document, image: &Spanned<String>) -> Result<ImageRef> {
    let at = Place {
        recipe: name,
        line: image.referenced.line(),
        field: "image",
    };
    let settings = &document.settings;
    let alone = document.extend.is_none()
        && document.components().next().is_none()
        && document.runtime == RuntimeName::default()
        && settings.systemd_cgroup.is_none()
        && settings.snapshotter.is_none();
    if !alone {
        let cure = "remove the other fields, or remove `image:`";
        return Err(at.error("a whole image is taken as it is", cure));
    }
    let read = if document.allow_tag {
        ImageRef::tagged
    } else {
        ImageRef::pinned
    };
    read(&image.value).map_err(|error| at.wrap(error))
}

#[cfg(test)]
mod tests;
