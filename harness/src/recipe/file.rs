//! Recipe files: the YAML a person writes, and how it becomes a recipe.

use std::path::Path;

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{
    Component, Content, GoBuild, ImageRef, Parts, Recipe, Role, RuntimeSettings, Source, embedded,
    source::is_sha256,
};
use crate::{Error, Result};

/// A recipe file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    extend: Option<Spanned<String>>,
    image: Option<Spanned<String>>,
    allow_tag: bool,
    kubernetes: Option<Spanned<Fields>>,
    containerd: Option<Spanned<Fields>>,
    shim: Option<Spanned<Fields>>,
    runc: Option<Spanned<Fields>>,
    cni: Option<Spanned<Fields>>,
    etcd: Option<Spanned<Fields>>,
    coredns: Option<Spanned<Fields>>,
    pause: Option<Spanned<Fields>>,
    os: Option<Spanned<Fields>>,
    proxy_os: Option<Spanned<Fields>>,
    settings: SettingsFields,
}

/// A component as it is written: one of the four sources with what belongs to it.
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

/// The components a file names, resolved; what it leaves out is taken from the extended recipe.
#[derive(Default)]
struct Layer {
    components: Vec<Component>,
    systemd_cgroup: Option<bool>,
    snapshotter: Option<String>,
}

/// Makes a recipe of a file's text; `name` is used in messages, relative
/// folders start from `folder`.
pub(super) fn resolve(name: &str, text: &str, folder: &Path) -> Result<Recipe> {
    let document = parse(name, text)?;
    let content = match &document.image {
        Some(image) => Content::Image(whole_image(name, &document, image)?),
        None => {
            let mut layer = Layer::default();
            layer.add(name, document, folder)?;
            Content::Parts(Box::new(layer.complete(name)?))
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
}

impl Layer {
    /// Puts a document, then the recipes it extends, below what is already here.
    fn add(&mut self, name: &str, document: Document, folder: &Path) -> Result<()> {
        for (role, fields) in document.components() {
            if self
                .components
                .iter()
                .all(|component| component.role != role)
            {
                let line = fields.referenced.line();
                let at = At {
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
        let at = At {
            recipe: name,
            line: base.referenced.line(),
            field: "extend",
        };
        let text = embedded::recipe(&base.value).map_err(|unknown| at.wrap(unknown))?;
        let below = parse(&base.value, text)?;
        // Only embedded recipes can be extended, and a test resolves each of
        // them: this cannot go round in circles.
        self.add(&base.value, below, Path::new("."))
    }

    fn complete(mut self, name: &str) -> Result<Parts> {
        let containerd = self.take(Role::Containerd);
        // A shim that is not named is the daemon's own.
        let shim = self.take(Role::Shim).or_else(|| {
            containerd.clone().map(|daemon| Component {
                role: Role::Shim,
                ..daemon
            })
        });
        let missing = |role: Role| {
            let what = format!("recipe {name} names no {}", role.name());
            Error::input(what).cure(format!(
                "add a line for it, or `extend:` one of {}",
                embedded::recipe_names().join(", ")
            ))
        };
        let mut needed = |role| self.take(role).ok_or_else(|| missing(role));
        Ok(Parts {
            kubernetes: needed(Role::Kubernetes)?,
            containerd: containerd.ok_or_else(|| missing(Role::Containerd))?,
            shim: shim.ok_or_else(|| missing(Role::Shim))?,
            etcd: needed(Role::Etcd)?,
            coredns: needed(Role::Coredns)?,
            pause: needed(Role::Pause)?,
            os: needed(Role::Os)?,
            proxy_os: needed(Role::ProxyOs)?,
            runc: self.take(Role::Runc),
            cni: self.take(Role::Cni),
            settings: RuntimeSettings {
                systemd_cgroup: self.systemd_cgroup.unwrap_or(true),
                snapshotter: self.snapshotter.unwrap_or_else(|| "overlayfs".to_owned()),
            },
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
    fn component(&self, role: Role, at: &At<'_>, folder: &Path) -> Result<Component> {
        if role.is_os() && (self.go.is_some() || self.folder.is_some()) {
            let cure = "take it from debian, or from an archive of its root file system";
            return Err(at.error("a root file system is no program", cure));
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

    /// The version without its `v` and without Debian's revision; the suite
    /// stands in for that of a root file system.
    fn version(&self, role: Role, at: &At<'_>) -> Result<String> {
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

    fn debian(&self, suite: &str, at: &At<'_>) -> Result<Source> {
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

    fn archive(&self, url: &str, at: &At<'_>) -> Result<Source> {
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

    fn sha256(&self, at: &At<'_>) -> Result<Option<String>> {
        if let Some(other) = self.sha256.as_ref().filter(|sha256| !is_sha256(sha256)) {
            let cure = "give the 64 lowercase hex digits that `sha256sum` prints";
            return Err(at.error(&format!("`{other}` is no sha256"), cure));
        }
        Ok(self.sha256.clone())
    }

    /// A field that the source has no use for would be silently without effect.
    fn refuse_others(&self, at: &At<'_>, source: &str, used: &[&str]) -> Result<()> {
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

/// The place in a recipe that a message is about.
struct At<'a> {
    recipe: &'a str,
    line: u64,
    field: &'a str,
}

impl At<'_> {
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

    /// Versions, suites and package names end up in arguments and file names.
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

fn whole_image(name: &str, document: &Document, image: &Spanned<String>) -> Result<ImageRef> {
    let at = At {
        recipe: name,
        line: image.referenced.line(),
        field: "image",
    };
    let settings = &document.settings;
    let alone = document.extend.is_none()
        && document.components().next().is_none()
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
