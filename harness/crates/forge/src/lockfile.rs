//! `kubenest.lock`: every component of the nodes that ran, by version and hash, so that a run
//! can be repeated exactly and a drift is seen.
//!
//! `KUBENEST_LOCK` names the file. What it holds is demanded of every boot: a node that is made
//! of something else is refused, with the difference. What it does not hold yet is added.

use std::{collections::BTreeMap, fs, path::Path};

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::ListParams};
use serde::Serialize;
use toml::{Table, Value};

use crate::image::NodeImage;
use kubenest_base::digest::sha256_hex;
use kubenest_base::{Context, Error, Result, file, lock::FileLock, settings::Settings};
use kubenest_docker::Docker;
use kubenest_recipe::recipe::{Component, Content, GoBuild, Recipe, Source};

const HEADER: &str = "\
# What kubenest's nodes were made of. KUBENEST_LOCK names this file: a boot that would take
# anything else is refused. Remove a table to accept what is there instead.
";

/// What a node is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeOf {
    /// The image's digest, or the hash of its recipe.
    image: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    component: BTreeMap<String, LockedComponent>,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct LockedComponent {
    version: String,
    /// sha256 of where it comes from: a Go module's locked build, an archive, a folder.
    source: String,
    /// sha256 of its layer in the node image; what is inside the preloaded images has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
}

/// What a running node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Running {
    kubelet: String,
    runtime: String,
    os: String,
}

impl MadeOf {
    /// What this image is made of.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn of(docker: &Docker, recipe: &Recipe, image: &NodeImage) -> Result<Self> {
        let parts = match &recipe.content {
            Content::Image(_) => {
                return Ok(Self {
                    image: image.reference.clone(),
                    component: BTreeMap::new(),
                });
            }
            Content::Parts(parts) => parts,
        };
        let found = docker.image(&image.reference).await?;
        // In the order in which the image was put together; see the module `image`.
        let mut layers = found.map(|found| found.layers).unwrap_or_default();
        layers.reverse();
        let mut component = BTreeMap::new();
        for part in parts.layered() {
            component.insert(
                part.role.name().to_owned(),
                LockedComponent::of(part, layers.pop()),
            );
        }
        for part in parts.components() {
            let inside = || LockedComponent::of(part, None);
            component
                .entry(part.role.name().to_owned())
                .or_insert_with(inside);
        }
        Ok(Self {
            image: recipe.hash(),
            component,
        })
    }
}

impl LockedComponent {
    fn of(part: &Component, layer: Option<String>) -> Self {
        Self {
            version: part.version.clone(),
            source: part.source.hash(),
            layer,
        }
    }
}

/// Demands that the lock file, if the settings name one, has this image for the node of that
/// name; a name that it does not have yet is added.
///
/// # Errors
/// Refused, with the difference, when it has something else; input when it is no lock file.
pub async fn hold_image(docker: &Docker, recipe: &Recipe, image: &NodeImage) -> Result<()> {
    let settings = docker.settings();
    let Some(path) = &settings.lock else {
        return Ok(());
    };
    let made_of = MadeOf::of(docker, recipe, image).await?;
    hold_in(settings, path, "node", &image.recipe, &made_of).await
}

/// As [`hold_image`], for what the running nodes say of themselves.
///
/// # Errors
/// As [`hold_image`], or the API server does not answer.
pub async fn hold_running(settings: &Settings, client: &Client, image: &NodeImage) -> Result<()> {
    let Some(path) = &settings.lock else {
        return Ok(());
    };
    let nodes = Api::<Node>::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await;
    for node in nodes.context("list the nodes")? {
        let Some(info) = node.status.and_then(|status| status.node_info) else {
            continue;
        };
        let running = Running {
            kubelet: info.kubelet_version,
            runtime: info.container_runtime_version,
            os: info.os_image,
        };
        hold_in(settings, path, "running", &image.recipe, &running).await?;
    }
    Ok(())
}

/// As [`hold_image`], for a tool built from a locked Go module.
pub async fn hold_tool(settings: &Settings, build: &GoBuild) -> Result<()> {
    let Some(path) = &settings.lock else {
        return Ok(());
    };
    let source = Source::Go(*build).hash();
    hold_in(
        settings,
        path,
        "tool",
        build.name(),
        &BTreeMap::from([("source", source)]),
    )
    .await
}

async fn hold_in(
    settings: &Settings,
    path: &Path,
    section: &str,
    name: &str,
    what: &impl Serialize,
) -> Result<()> {
    let whole = std::path::absolute(path).with_context(|| format!("find '{}'", path.display()))?;
    // Not beside it: that folder is the user's.
    let guard = sha256_hex(whole.as_os_str().as_encoded_bytes()) + ".lock";
    let guard = settings.cache.join("locks").join(guard);
    let _lock = FileLock::exclusive(&guard, "the lock file").await?;
    hold(path, section, name, what)
}

fn hold(path: &Path, section: &str, name: &str, what: &impl Serialize) -> Result<()> {
    let shown = path.display();
    let new = Value::try_from(what).context("write down a node")?;
    let mut table = read(path)?;
    let known = table
        .entry(section)
        .or_insert_with(|| Table::new().into())
        .as_table_mut();
    let known = known.ok_or_else(|| damaged(path))?;
    if let Some(old) = known.get(name) {
        let drift = diff(name, old, &new);
        if drift.is_empty() {
            return Ok(());
        }
        let drift = drift.join("\n  ");
        return Err(Error::refused(format!(
            "{section} '{name}' is not what '{shown}' has:\n  {drift}"
        ))
        .cure(format!(
            "bring back what changed, or accept it: remove the tables of {section}.\"{name}\" \
             from '{shown}'"
        )));
    }
    known.insert(name.to_owned(), new);
    let text = toml::to_string(&table).context("write down a node")?;
    file::write_through(path, format!("{HEADER}\n{text}"))
}

fn read(path: &Path) -> Result<Table> {
    match fs::read_to_string(path) {
        Ok(text) => text.parse().map_err(|cause| damaged(path).because(cause)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Table::new()),
        Err(cause) => Err(cause).with_context(|| format!("read '{}'", path.display())),
    }
}

fn damaged(path: &Path) -> Error {
    let shown = path.display();
    Error::input(format!("'{shown}' is no lock file of kubenest's"))
        .cure("name another file in KUBENEST_LOCK, or remove this one")
}

/// Every leaf that differs, as `where: old -> new`.
fn diff(at: &str, old: &Value, new: &Value) -> Vec<String> {
    if let (Value::Table(old), Value::Table(new)) = (old, new) {
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort();
        keys.dedup();
        return keys
            .into_iter()
            .flat_map(|key| {
                let at = format!("{at}.{key}");
                match (old.get(key), new.get(key)) {
                    (Some(old), Some(new)) => diff(&at, old, new),
                    (Some(old), None) => diff(&at, old, &nothing_like(old)),
                    (None, Some(new)) => diff(&at, &nothing_like(new), new),
                    (None, None) => Vec::new(),
                }
            })
            .collect();
    }
    if old == new {
        return Vec::new();
    }
    vec![format!("{at}: {old} -> {new}")]
}

/// So that of a table each leaf is named.
fn nothing_like(value: &Value) -> Value {
    match value {
        Value::Table(_) => Table::new().into(),
        _ => "nothing".into(),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use kubenest_base::ErrorKind;

    fn made(containerd: &str) -> MadeOf {
        let pinned = LockedComponent {
            version: containerd.to_owned(),
            source: "ab".repeat(4),
            layer: Some(format!("sha256:{containerd}")),
        };
        MadeOf {
            image: "cd".repeat(4),
            component: BTreeMap::from([("containerd".to_owned(), pinned)]),
        }
    }

    #[test]
    fn what_is_new_is_added_and_what_is_the_same_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubenest.lock");
        for (name, containerd) in [("a", "1.7.24"), ("b", "2.0.2"), ("a", "1.7.24")] {
            hold(&path, "node", name, &made(containerd)).unwrap();
        }
        assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"
        # What kubenest's nodes were made of. KUBENEST_LOCK names this file: a boot that would take
        # anything else is refused. Remove a table to accept what is there instead.

        [node.a]
        image = "cdcdcdcd"

        [node.a.component.containerd]
        layer = "sha256:1.7.24"
        source = "abababab"
        version = "1.7.24"

        [node.b]
        image = "cdcdcdcd"

        [node.b.component.containerd]
        layer = "sha256:2.0.2"
        source = "abababab"
        version = "2.0.2"
        "#);
    }

    #[test]
    fn a_drift_is_refused_with_every_difference() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubenest.lock");
        hold(&path, "node", "a", &made("1.7.24")).unwrap();
        let before = fs::read(&path).unwrap();
        let mut drifted = made("1.7.25");
        drifted
            .component
            .insert("runc".into(), drifted.component["containerd"].clone());
        let error = hold(&path, "node", "a", &drifted).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let text = error.report().replace(&path.display().to_string(), "FILE");
        assert_snapshot!(text, @r#"
        node 'a' is not what 'FILE' has:
          a.component.containerd.layer: "sha256:1.7.24" -> "sha256:1.7.25"
          a.component.containerd.version: "1.7.24" -> "1.7.25"
          a.component.runc.layer: "nothing" -> "sha256:1.7.25"
          a.component.runc.source: "nothing" -> "abababab"
          a.component.runc.version: "nothing" -> "1.7.25"
        cure: bring back what changed, or accept it: remove the tables of node."a" from 'FILE'
        "#);
        assert_eq!(
            fs::read(&path).unwrap(),
            before,
            "a refusal changes nothing"
        );
    }

    #[test]
    fn another_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        fs::write(&path, "milk, eggs").unwrap();
        let error = hold(&path, "node", "a", &made("1")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert_eq!(fs::read_to_string(&path).unwrap(), "milk, eggs");
    }
}
