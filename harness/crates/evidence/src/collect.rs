//! Collects what there is of a cluster and makes a bundle of it.

use std::{collections::BTreeSet, path::Path, time::Duration};

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    Kept,
    bundle::Bundle,
    look::{Gathered, Part, look},
    notes::About,
    page::{self, Entry, Finding, Missing, Page, Source},
    redact::{self, Redactor},
    secrets::learn,
    subject::Subject,
    timeline,
};
use kubenest_base::{Context, Result, settings::settings, wait};
use kubenest_diagnosis as diagnosis;
use kubenest_diagnosis::{Evidence, clean, diagnose, read_stream};
use kubenest_docker::Docker;
use kubenest_node::node::{Node, Role};

/// How long all looks together may take where nobody waits; their parts have less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How long one other question may take.
const QUESTION: Duration = Duration::from_secs(8);
/// Lines of a container's own output.
const TAIL: usize = 5_000;

/// Why evidence is collected.
#[derive(Debug, Clone, Default)]
pub struct Why {
    /// In two or three words.
    pub reason: &'static str,
    /// The error, or the words of the panic.
    pub message: String,
    /// What the test wanted.
    pub expected: Option<String>,
    /// What it saw.
    pub observed: Option<String>,
}

impl Why {
    /// A look that somebody asked for by hand: nothing has failed.
    pub fn asked_for() -> Self {
        Self {
            reason: "asked for",
            ..Self::default()
        }
    }
}

/// Writes a bundle of what is there now and can be had in so long; in `home`, or where the
/// cluster's go.
pub(super) async fn collect(
    subject: &Subject,
    why: &Why,
    home: Option<&Path>,
    patience: Duration,
) -> Result<Kept> {
    let mut about = subject.about();
    if let Some(home) = home {
        about.cluster.home = std::path::absolute(home).unwrap_or_else(|_| home.to_owned());
    }
    let mut found = gather(subject.docker(), &about, patience).await;
    if let Some(lock) = settings()
        .lock
        .as_deref()
        .and_then(|path| std::fs::read(path).ok())
    {
        found.add("kubenest.lock".into(), lock);
    }
    let secrets = learn(redact::secrets_in(&found.documents()));
    write(&about, why, found, &secrets)
}

async fn gather(docker: &Docker, about: &About, patience: Duration) -> Gathered {
    let short = QUESTION.min(patience);
    let nodes = || about.cluster.nodes.iter();
    let looks = nodes().map(|node| look(docker, about, node, patience));
    let daemons = nodes().map(|node| runtime(docker, node, short));
    let engine = nodes().map(|node| container(docker, node, short));
    let (looks, daemons, engine, host) = tokio::join!(
        join_all(looks),
        join_all(daemons),
        join_all(engine),
        host(docker, short)
    );
    let mut found = Gathered::default();
    looks
        .into_iter()
        .chain(daemons)
        .chain(engine)
        .for_each(|part| found.merge(part));
    found.merge(host);
    found
}

/// What the container runtime says over CRI.
async fn runtime(docker: &Docker, node: &str, deadline: Duration) -> Gathered {
    let mut found = Gathered::default();
    let ask = async {
        let node = Node::attach(docker, node, Role::Worker).await?;
        let cri = node.cri().await?;
        let (version, status, images, containers) = tokio::try_join!(
            cri.version(),
            cri.status(true),
            cri.images(),
            cri.containers()
        )?;
        let conditions = status.conditions().iter().map(|condition| {
            json!({"type": condition.kind, "holds": condition.holds,
                "reason": condition.reason, "message": condition.message})
        });
        let info = status.info.iter().map(|(key, text)| {
            (
                key.clone(),
                serde_json::from_str(text).unwrap_or_else(|_| text.clone().into()),
            )
        });
        let images: Vec<Value> = images
            .iter()
            .map(|image| {
                json!({"id": image.id, "tags": image.tags, "digests": image.digests,
                "size": image.size, "pinned": image.pinned})
            })
            .collect();
        Ok((
            json!({"version": {"name": version.runtime_name, "version": version.runtime_version,
                    "api": version.runtime_api_version},
                "conditions": conditions.collect::<Vec<_>>(),
                "info": info.collect::<serde_json::Map<_, _>>()}),
            json!(images),
            containers,
        ))
    };
    match wait::within("the runtime's answers", deadline, ask).await {
        Ok((status, images, containers)) => {
            let mut add = |name: &str, value: &Value| {
                found.add(format!("nodes/{node}/{name}"), value.to_string());
            };
            add("cri-status.json", &status);
            add("cri-images.json", &images);
            add("cri-containers.json", &containers);
        }
        Err(error) => found.miss("CRI", node, &error.report()),
    }
    found
}

/// What the engine says of a node's container.
async fn container(docker: &Docker, node: &str, deadline: Duration) -> Gathered {
    let mut found = Gathered::default();
    let inspect = wait::within("inspect", deadline, docker.inspect(node));
    let logs = wait::within("logs", deadline, docker.stamped_logs(node, TAIL));
    let (inspect, logs) = tokio::join!(inspect, logs);
    match inspect {
        Ok(document) => found.add(format!("engine/{node}.json"), document.to_string()),
        Err(error) => found.miss("inspect", node, &error.report()),
    }
    match logs {
        Ok(text) => found.add(format!("engine/{node}.log"), text),
        Err(error) => found.miss("container's output", node, &error.report()),
    }
    found
}

/// The machine of this process, and its engine.
async fn host(docker: &Docker, deadline: Duration) -> Gathered {
    let mut found = Gathered::default();
    match wait::within("the engine's answer", deadline, docker.info()).await {
        Ok(info) => {
            let about = json!({"version": info.version, "storage_driver": info.storage_driver,
                "cgroup_version": info.cgroup_version, "data_root": info.data_root,
                "containerd_store": info.containerd_store,
                "endpoint": docker.endpoint().to_string()});
            found.add("engine/info.json".into(), about.to_string());
        }
        Err(error) => found.miss("engine", "", &error.report()),
    }
    let files = [
        "/proc/version",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/pressure/memory",
        "/proc/pressure/io",
        "/etc/os-release",
        "/proc/sys/fs/inotify/max_user_instances",
    ];
    let read = files.iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(((*path).to_owned(), text.trim().into()))
    });
    let files: serde_json::Map<String, Value> = read.collect();
    let threads = std::thread::available_parallelism().map_or(0, usize::from);
    let about =
        json!({"kubenest": env!("CARGO_PKG_VERSION"), "processors": threads, "files": files});
    found.add("host.json".into(), about.to_string());
    found
}

/// Makes a bundle of raw parts: redacted, cut to the test's time, diagnosed, with its page.
pub(super) fn write(
    about: &About,
    why: &Why,
    found: Gathered,
    secrets: &BTreeSet<String>,
) -> Result<Kept> {
    let bundle = create(about)?;
    fill(bundle, about, why, found, secrets)
}

/// As [`write()`], all of it or nothing: for parts that stay where it fails.
pub(super) fn write_whole(
    about: &About,
    why: &Why,
    found: Gathered,
    secrets: &BTreeSet<String>,
) -> Result<Kept> {
    let bundle = create(about)?;
    let folder = bundle.folder().to_owned();
    fill(bundle, about, why, found, secrets).inspect_err(|_| {
        // A full disk would be filled further by each that tries.
        std::fs::remove_dir_all(folder).ok();
    })
}

/// The folder of a bundle, by the name of what it is about.
fn create(about: &About) -> Result<Bundle> {
    let cluster = &about.cluster;
    Bundle::create(&cluster.home, &about.title(), cluster.process)
}

fn fill(
    bundle: Bundle,
    about: &About,
    why: &Why,
    found: Gathered,
    secrets: &BTreeSet<String>,
) -> Result<Kept> {
    let redactor = Redactor::new(about.cluster.redact.as_deref())?.hiding(secrets);
    let mut writer = Writer {
        bundle,
        full: None,
        redactor,
        about,
        entries: Vec::new(),
        lines: Vec::new(),
        missing: Vec::new(),
    };
    let mut parts = found.parts;
    parts.sort_by(|a, b| a.path.cmp(&b.path));
    for part in parts {
        writer.part(part)?;
    }
    for missing in found.missing {
        let error = writer.shown(&missing.error);
        writer.missing.push(Missing { error, ..missing });
    }
    writer.end(why)
}

struct Writer<'a> {
    bundle: Bundle,
    /// The cluster's full logs; only a case has less.
    full: Option<Bundle>,
    redactor: Redactor,
    about: &'a About,
    entries: Vec<Entry>,
    lines: Vec<Evidence>,
    missing: Vec<Missing>,
}

impl Writer<'_> {
    fn part(&mut self, part: Part) -> Result<()> {
        let Part { path, bytes, cut } = part;
        let raw = String::from_utf8_lossy(&bytes);
        if path.ends_with(".json") {
            return self.document(&path, &raw);
        }
        // What is left of the first line may be the end of a secret.
        let raw = if cut {
            raw.split_once('\n').map_or("", |(_, rest)| rest)
        } else {
            &raw
        };
        let raw = if path.starts_with("pods/") {
            timeline::rejoined(raw)
        } else {
            raw.to_owned()
        };
        let text = self.shown(&raw);
        if let Some(path) = full_path(&path) {
            return self.full()?.write(&path, "", &text, cut);
        }
        let is_log = path.ends_with(".log");
        let since = self.about.since_us().filter(|_| is_log);
        let Some(since) = since else {
            return self.log(&path, &text, cut);
        };
        if path.starts_with("pods/") {
            self.full()?.write(&path, "", &text, cut)?;
        }
        let within = timeline::since(&text, since);
        self.log(&path, &within, cut)
    }

    /// A text made safe to keep and to look at.
    fn shown(&self, raw: &str) -> String {
        self.redactor.redact(&cleaned(raw))
    }

    fn log(&mut self, path: &str, text: &str, cut: bool) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let (source, words) = match path.rsplit('/').next() {
            _ if path.starts_with("pods/") => (Some(Source::Pod), Some(diagnosis::Source::Pod)),
            _ if path.starts_with("engine/") => (Some(Source::Engine), None),
            Some("containerd.log") => (Some(Source::Containerd), Some(diagnosis::Source::Runtime)),
            Some("kubelet.log") => (Some(Source::Kubelet), Some(diagnosis::Source::Kubelet)),
            Some("kernel.log") => (Some(Source::Kernel), Some(diagnosis::Source::System)),
            _ => (None, None),
        };
        if let Some(source) = source {
            timeline::of_log(source, node_of(path), text, &mut self.entries);
        }
        if let Some(words) = words {
            self.lines
                .extend(read_stream(path, words, text.as_bytes())?.evidence);
        }
        self.bundle.write(path, what(path), text, cut)
    }

    fn document(&mut self, path: &str, raw: &str) -> Result<()> {
        let mut document: Value = match serde_json::from_str(raw) {
            Ok(document) => document,
            Err(cause) => {
                self.missing.push(Missing {
                    name: path.to_owned(),
                    node: String::new(),
                    error: format!("it is no whole document: {cause}"),
                });
                return Ok(());
            }
        };
        self.redactor.redact_document(&mut document);
        let pretty = serde_json::to_string_pretty(&document).context("write JSON")?;
        let text = self.redactor.redact_written(&cleaned(&pretty)) + "\n";
        if path == "api/events.json" {
            // A pattern of the user's own may have taken a bracket with it.
            let document = serde_json::from_str(&text).unwrap_or(document);
            timeline::of_events(&document, &mut self.entries);
            let read = read_stream(path, diagnosis::Source::Event, text.as_bytes())?;
            self.lines.extend(read.evidence);
        }
        self.bundle.write(path, what(path), &text, false)
    }

    fn full(&mut self) -> Result<&mut Bundle> {
        let cluster = &self.about.cluster;
        if self.full.is_none() {
            self.full = Some(Bundle::full(&cluster.home, &cluster.name)?);
        }
        Ok(self.full.as_mut().expect("it was just made"))
    }

    /// What was said of the failure, which may be all that names its cause.
    fn told(&mut self, texts: &[Option<&String>]) -> Result<()> {
        const PATH: &str = "message.txt";
        let texts = texts.iter().flatten().filter(|text| !text.is_empty());
        let text: String = texts.map(|text| format!("{}\n", text.trim_end())).collect();
        if text.is_empty() {
            return Ok(());
        }
        let read = read_stream(PATH, diagnosis::Source::Unknown, text.as_bytes())?;
        self.lines.splice(0..0, read.evidence);
        self.bundle.write(PATH, what(PATH), &text, false)
    }

    fn end(mut self, why: &Why) -> Result<Kept> {
        let about = self.about;
        let mut steps = about.steps.clone();
        steps
            .iter_mut()
            .for_each(|step| step.text = self.shown(&step.text));
        timeline::of_steps(&steps, &mut self.entries);
        let message = self.shown(&why.message);
        let [expected, observed] =
            [&why.expected, &why.observed].map(|text| text.as_deref().map(|text| self.shown(text)));
        self.told(&[Some(&message), observed.as_ref()])?;
        let causes: Vec<Finding> = diagnose(&self.lines)
            .iter()
            .map(|found| {
                let mut finding = Finding::from(found);
                for (line, support) in finding.lines.iter_mut().zip(&found.lines) {
                    line.at_us = support.evidence.time.as_deref().and_then(timeline::at_us);
                }
                finding
            })
            .collect();
        let page = Page {
            title: about.title(),
            case: about.case.clone(),
            reason: why.reason.to_owned(),
            message,
            expected,
            observed,
            versions: about.cluster.versions.by_part(),
            made: jiff::Timestamp::now(),
            diagnosis: causes,
            entries: timeline::ordered(self.entries, about.since_us()),
            files: std::mem::take(&mut self.bundle.files),
            missing: self.missing,
        };
        self.bundle.put("index.html", &page::render(&page))?;
        // Last: where it is the bundle is whole.
        self.bundle.put("index.json", &page::index(&page))?;
        Ok(Kept {
            folder: self.bundle.folder().to_owned(),
            files: page.files.len(),
            causes: page.diagnosis,
            missing: page.missing,
        })
    }
}

/// Where a log of the whole life of a node goes, in the folder of its cluster.
fn full_path(path: &str) -> Option<String> {
    let (node, name) = path.strip_prefix("nodes/")?.split_once("/full/")?;
    Some(format!("nodes/{node}/{name}"))
}

fn node_of(path: &str) -> &str {
    let name = path.split('/').nth(1).unwrap_or_default();
    name.strip_suffix(".log").unwrap_or(name)
}

/// What a file is, in a few words.
fn what(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        _ if path.starts_with("pods/") => "what a container wrote",
        _ if path.starts_with("engine/") => "what the engine says of the node's container",
        _ if path.contains("/files/") => "a file of the node",
        "events.json" => "events of all namespaces",
        "cluster.json" => "nodes, namespaces and volumes",
        "secrets.json" => "which Secrets there are, without what they hold",
        _ if path.starts_with("api/") => "objects of a namespace",
        "containerd.log" => "journal of the container runtime and its shims",
        "kubelet.log" => "journal of the kubelet",
        "journal.log" => "whole journal",
        "kernel.log" => "kernel's log of the machine",
        "containerd-config.toml" => "effective configuration of containerd",
        "plugins.txt" => "plugins of containerd",
        "images.txt" => "images by containerd, with labels",
        "tasks.txt" => "running tasks of containerd",
        "cri-status.json" => "version and status of the runtime",
        "cri-images.json" => "images, and whether they are pinned",
        "cri-containers.json" => "pods and containers, with exit codes",
        "configz.json" => "effective configuration of the kubelet",
        "disk.txt" => "file systems: space and inodes",
        "services.txt" => "services",
        "processes.txt" => "processes",
        "network.txt" => "addresses and routes",
        "kubenest.lock" => "what nodes are made of",
        "host.json" => "the machine of the test",
        "message.txt" => "the error, and what the test saw",
        _ => "",
    }
}

/// The lines of a text, without what steers a terminal.
fn cleaned(raw: &str) -> String {
    let lines: Vec<_> = raw.split('\n').map(clean).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
