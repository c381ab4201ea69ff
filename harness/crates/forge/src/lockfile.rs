//! `kubenest.lock`: every component of the nodes in a run, by version and hash, so that the run can
//! be repeated exactly and a difference is noticed.
//!
//! `KUBENEST_LOCK` names the file. Every boot has to match its content: a node that is made from
//! something else is refused, and the error names the difference. Content that is missing is added.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client, api::ListParams};
use serde::Serialize;
use toml::{Table, Value};

use crate::image::NodeImage;
use kubenest_base::digest::sha256_hex;
use kubenest_base::{
    Context, Error, Result, file,
    lock::FileLock,
    settings::Settings,
    wait::{self, Probe},
};
use kubenest_docker::Docker;
use kubenest_recipe::recipe::{Component, Content, GoBuild, Recipe, Source};

const HEADER: &str = "\
# What kubenest's nodes were made of. KUBENEST_LOCK names this file: a boot that would take
# anything else is refused. Remove a table to accept what is there instead.
";

/// What a node is made from.
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
    /// sha256 of the component's source: a Go module's locked build, an archive, a folder.
    source: String,
    /// sha256 of the component's layer in the node image; `None` for content of the preloaded
    /// images.
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
}

/// How long a kubelet may take to know its runtime again: it asks every ten seconds.
const KNOWN: Duration = Duration::from_secs(60);

/// What a running node reports about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct RunningNode {
    kubelet: String,
    runtime: String,
    os: String,
}

impl RunningNode {
    /// The kubelet could not ask its runtime the last time: it has just crashed, or is restarted.
    fn is_unknown(&self) -> bool {
        self.runtime.ends_with("://Unknown")
    }
}

impl MadeOf {
    /// Describes what this image is made from.
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
        // The layers are in the order in which the module `image` puts them together.
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

/// Checks that the lock file, if the settings name one, has this image for the node with this name.
/// A name that is missing in the file is added.
///
/// # Errors
/// Refused, with the difference, when the file has another image; input when the file is no lock
/// file.
pub async fn hold_image(docker: &Docker, recipe: &Recipe, image: &NodeImage) -> Result<()> {
    let settings = docker.settings();
    let Some(path) = &settings.lock else {
        return Ok(());
    };
    let made_of = MadeOf::of(docker, recipe, image).await?;
    hold_in(settings, path, "node", &image.recipe, &made_of).await
}

/// As [`hold_image`], for what the running nodes report about themselves.
///
/// # Errors
/// As [`hold_image`], or the API server does not answer.
pub async fn hold_running(settings: &Settings, client: &Client, image: &NodeImage) -> Result<()> {
    let Some(path) = &settings.lock else {
        return Ok(());
    };
    let running =
        wait::until(
            "the kubelets to know their runtimes",
            KNOWN,
            async || match running_nodes(client).await {
                Ok(nodes) if nodes.iter().any(RunningNode::is_unknown) => {
                    Probe::Pending(format!("{nodes:?}"))
                }
                Ok(nodes) => Probe::Ready(nodes),
                Err(error) => Probe::Failed(error),
            },
        );
    for running in running.await? {
        hold_in(settings, path, "running", &image.recipe, &running).await?;
    }
    Ok(())
}

/// What the nodes report that have reported anything.
async fn running_nodes(client: &Client) -> Result<Vec<RunningNode>> {
    let nodes = Api::<Node>::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await;
    let nodes = nodes.context("list the nodes")?.items.into_iter();
    let reported = nodes.filter_map(|node| node.status?.node_info);
    let running = reported.map(|info| RunningNode {
        kubelet: info.kubelet_version,
        runtime: info.container_runtime_version,
        os: info.os_image,
    });
    Ok(running.collect())
}

/// As [`hold_image`], for a tool that is built from a locked Go module.
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
    // The lock is not beside the lock file, since that folder belongs to the user.
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
    let known = known.ok_or_else(|| damage_error(path))?;
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
        Ok(text) => text
            .parse()
            .map_err(|cause| damage_error(path).because(cause)),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(Table::new()),
        Err(cause) => Err(cause).with_context(|| format!("read '{}'", path.display())),
    }
}

fn damage_error(path: &Path) -> Error {
    let shown = path.display();
    Error::input(format!("'{shown}' is no lock file of kubenest's"))
        .cure("name another file in KUBENEST_LOCK, or remove this one")
}

/// Every leaf that differs, in the form `where: old -> new`.
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
                    (Some(old), None) => diff(&at, old, &empty_like(old)),
                    (None, Some(new)) => diff(&at, &empty_like(new), new),
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

/// An empty value of the same shape, so that `diff` names each leaf of a table.
fn empty_like(value: &Value) -> Value {
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
