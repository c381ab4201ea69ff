//! The parts of a bundle: what each is, who speaks in it, and where it is written.
//!
//! A part has its identity from where it is looked at to where it is written. Only this file
//! knows the layout of a bundle.

use serde_json::Value;

use super::page::{Lane, Missing};
use kubenest_diagnosis as diagnosis;

/// One piece of raw evidence.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    pub(super) id: PartId,
    pub(super) bytes: Vec<u8>,
    /// Its beginning is not there.
    pub(super) cut: bool,
}

/// The identity of a part, unique within a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PartId {
    pub(super) kind: Kind,
    /// The node it is from; empty when it is from no node, or the same from each.
    pub(super) node: String,
    /// The path of the cluster it is from, where that is around the one that the bundle is about.
    pub(super) layer: String,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A log of a node from the beginning of the case, or since the node's boot where no case runs.
    Journal(Journal),
    /// The same log from the node's boot on, written where a case has only a part of it.
    WholeJournal(Journal),
    /// The output of a pod's container; with its path below the kubelet's log folder.
    PodLog(String),
    /// A file of the node, by its path there.
    NodeFile(String),
    /// The output of a program in the node, by the name of its file in the bundle.
    Answer(String),
    /// What the container runtime says over CRI.
    Cri(CriAnswer),
    /// The kubelet's effective configuration.
    Configz,
    /// Events of all namespaces.
    Events,
    /// Nodes, namespaces and volumes.
    Cluster,
    /// Which Secrets there are.
    Secrets,
    /// The objects of this namespace.
    Namespace(String),
    /// What the engine knows of a node's container.
    Container,
    /// What a node's container wrote to its own output.
    ContainerLog,
    /// What the engine says of itself.
    Engine,
    /// The machine of the test.
    Host,
    /// What nodes are made of.
    LockFile,
    /// The error, and what the test saw.
    Message,
}

/// The logs of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Journal {
    Runtime,
    Kubelet,
    /// Of all units together.
    AllUnits,
    Kernel,
}

/// What CRI is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CriAnswer {
    Status,
    Images,
    Containers,
}

/// The folder that a part belongs into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// The bundle's own folder.
    Bundle,
    /// The folder of the cluster's whole logs, which all bundles of the cluster share.
    Cluster,
}

impl Kind {
    /// This part of a node.
    pub(super) fn of(self, node: &str) -> PartId {
        PartId {
            kind: self,
            node: node.to_owned(),
            layer: String::new(),
        }
    }

    /// This part, which is from no node or the same from each.
    pub(super) fn of_none(self) -> PartId {
        self.of("")
    }
}

impl Journal {
    fn of_file(name: &str) -> Option<Self> {
        let all = [Self::Runtime, Self::Kubelet, Self::AllUnits, Self::Kernel];
        all.into_iter().find(|journal| journal.file() == name)
    }

    fn file(self) -> &'static str {
        match self {
            Self::Runtime => "containerd.log",
            Self::Kubelet => "kubelet.log",
            Self::AllUnits => "journal.log",
            Self::Kernel => "kernel.log",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Runtime => "journal of the container runtime and its shims",
            Self::Kubelet => "journal of the kubelet",
            Self::AllUnits => "whole journal",
            Self::Kernel => "kernel's log of the machine",
        }
    }
}

impl CriAnswer {
    fn file(self) -> &'static str {
        match self {
            Self::Status => "cri-status.json",
            Self::Images => "cri-images.json",
            Self::Containers => "cri-containers.json",
        }
    }
}

impl PartId {
    /// The part that the script means by this name on `node`; `None` for a name that would lead out
    /// of the bundle.
    pub(super) fn by_name(node: &str, name: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
        let leads_out = |part: &str| matches!(part, "" | "." | "..");
        if !name.bytes().all(plain) || name.split('/').any(leads_out) {
            return None;
        }
        let kind = match name.split_once('/') {
            Some(("api", file)) => {
                return Some(match file.strip_suffix(".json")? {
                    "events" => Kind::Events.of_none(),
                    "cluster" => Kind::Cluster.of_none(),
                    "secrets" => Kind::Secrets.of_none(),
                    space => Kind::Namespace(space.to_owned()).of_none(),
                });
            }
            Some(("nodes", path)) => {
                let (nested, file) = path.split_once('/')?;
                return Some(Kind::Journal(Journal::of_file(file)?).of(nested));
            }
            Some(("configz", file)) => return Some(Kind::Configz.of(file.strip_suffix(".json")?)),
            Some(("pods", path)) => Kind::PodLog(path.to_owned()),
            Some(("files", path)) => Kind::NodeFile(format!("/{path}")),
            Some(("full", file)) => Kind::WholeJournal(Journal::of_file(file)?),
            _ => match Journal::of_file(name) {
                Some(journal) => Kind::Journal(journal),
                None => Kind::Answer(name.to_owned()),
            },
        };
        Some(kind.of(node))
    }

    /// The node as people read it: behind the clusters around, where it is a node of one of them.
    pub(super) fn place(&self) -> String {
        place(&self.layer, &self.node)
    }

    /// The path of the part below its folder.
    pub(super) fn path(&self) -> String {
        match self.layer.as_str() {
            "" => self.path_in_layer(),
            layer => format!("layers/{layer}/{}", self.path_in_layer()),
        }
    }

    fn path_in_layer(&self) -> String {
        let node = &self.node;
        match &self.kind {
            Kind::Journal(journal) | Kind::WholeJournal(journal) => {
                format!("nodes/{node}/{}", journal.file())
            }
            Kind::PodLog(path) => format!("pods/{node}/{path}"),
            Kind::NodeFile(path) => format!("nodes/{node}/files{path}"),
            Kind::Answer(name) => format!("nodes/{node}/{name}"),
            Kind::Cri(answer) => format!("nodes/{node}/{}", answer.file()),
            Kind::Configz => format!("nodes/{node}/configz.json"),
            Kind::Events => "api/events.json".to_owned(),
            Kind::Cluster => "api/cluster.json".to_owned(),
            Kind::Secrets => "api/secrets.json".to_owned(),
            Kind::Namespace(space) => format!("api/{space}.json"),
            Kind::Container => format!("engine/{node}.json"),
            Kind::ContainerLog => format!("engine/{node}.log"),
            Kind::Engine => "engine/info.json".to_owned(),
            Kind::Host => "host.json".to_owned(),
            Kind::LockFile => "kubenest.lock".to_owned(),
            Kind::Message => "message.txt".to_owned(),
        }
    }

    /// The folder that the part belongs into.
    pub(super) fn home(&self) -> Home {
        match self.kind {
            Kind::WholeJournal(_) => Home::Cluster,
            _ => Home::Bundle,
        }
    }

    /// A description in a few words; empty where the name says enough.
    pub(super) fn description(&self) -> &'static str {
        match &self.kind {
            Kind::Journal(journal) | Kind::WholeJournal(journal) => journal.description(),
            Kind::PodLog(_) => "what a container wrote",
            Kind::NodeFile(_) => "a file of the node",
            Kind::Answer(name) => match name.as_str() {
                "containerd-config.toml" => "effective configuration of containerd",
                "crio-config.toml" => "effective configuration of CRI-O",
                "crio-info.txt" => "storage and cgroup driver of CRI-O",
                "plugins.txt" => "plugins of containerd",
                "images.txt" => "images by containerd, with labels",
                "tasks.txt" => "running tasks of containerd",
                "disk.txt" => "file systems: space and inodes",
                "services.txt" => "services",
                "processes.txt" => "processes",
                "network.txt" => "addresses and routes",
                _ => "",
            },
            Kind::Cri(CriAnswer::Status) => "version and status of the runtime",
            Kind::Cri(CriAnswer::Images) => "images, and whether they are pinned",
            Kind::Cri(CriAnswer::Containers) => "pods and containers, with exit codes",
            Kind::Configz => "effective configuration of the kubelet",
            Kind::Events => "events of all namespaces",
            Kind::Cluster => "nodes, namespaces and volumes",
            Kind::Secrets => "which Secrets there are, without what they hold",
            Kind::Namespace(_) => "objects of a namespace",
            Kind::Container | Kind::ContainerLog | Kind::Engine => {
                "what the engine says of the node's container"
            }
            Kind::Host => "the machine of the test",
            Kind::LockFile => "what nodes are made of",
            Kind::Message => "the error, and what the test saw",
        }
    }

    /// Whether it is JSON, which is useless when it is cut.
    pub(super) fn is_document(&self) -> bool {
        match &self.kind {
            Kind::NodeFile(name) | Kind::Answer(name) => name.ends_with(".json"),
            Kind::Cri(_)
            | Kind::Configz
            | Kind::Events
            | Kind::Cluster
            | Kind::Secrets
            | Kind::Namespace(_)
            | Kind::Container
            | Kind::Engine
            | Kind::Host => true,
            Kind::Journal(_)
            | Kind::WholeJournal(_)
            | Kind::PodLog(_)
            | Kind::ContainerLog
            | Kind::LockFile
            | Kind::Message => false,
        }
    }

    /// Whether it consists of objects of the API.
    pub(super) fn is_of_api(&self) -> bool {
        matches!(
            self.kind,
            Kind::Events | Kind::Cluster | Kind::Secrets | Kind::Namespace(_)
        )
    }

    /// Whether its lines have times, so that a case has only the lines of its own time.
    pub(super) fn is_log(&self) -> bool {
        matches!(
            self.kind,
            Kind::Journal(_) | Kind::PodLog(_) | Kind::ContainerLog
        )
    }

    /// The lane of its lines on the timeline; `None` where they are not shown there.
    pub(super) fn source(&self) -> Option<Lane> {
        match self.kind {
            Kind::Journal(Journal::Runtime) => Some(Lane::Containerd),
            Kind::Journal(Journal::Kubelet) => Some(Lane::Kubelet),
            Kind::Journal(Journal::Kernel) => Some(Lane::Kernel),
            Kind::PodLog(_) => Some(Lane::Pod),
            Kind::ContainerLog => Some(Lane::Engine),
            _ => None,
        }
    }

    /// The speaker for the diagnosis; `None` where no cause is looked for.
    pub(super) fn speaker(&self) -> Option<diagnosis::Speaker> {
        match self.kind {
            Kind::Journal(Journal::Runtime) => Some(diagnosis::Speaker::Runtime),
            Kind::Journal(Journal::Kubelet) => Some(diagnosis::Speaker::Kubelet),
            Kind::Journal(Journal::Kernel) => Some(diagnosis::Speaker::System),
            Kind::PodLog(_) => Some(diagnosis::Speaker::Pod),
            Kind::Events => Some(diagnosis::Speaker::Event),
            Kind::Message => Some(diagnosis::Speaker::Unknown),
            _ => None,
        }
    }
}

/// A node of the cluster with this path, or the cluster itself.
pub(super) fn place(layer: &str, node: &str) -> String {
    let names = [layer, node].into_iter().filter(|name| !name.is_empty());
    names.collect::<Vec<_>>().join("/")
}

/// The parts that were found, and those that are missing.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub(super) found: Vec<Part>,
    pub(super) missing: Vec<Missing>,
}

impl Parts {
    /// Adds a part that is whole.
    pub(super) fn add(&mut self, id: PartId, bytes: impl Into<Vec<u8>>) {
        self.found.push(Part {
            id,
            bytes: bytes.into(),
            cut: false,
        });
    }

    /// Records a part that could not be collected, its node, and why.
    pub(super) fn miss(&mut self, name: &str, node: &str, error: &str) {
        self.missing.push(Missing {
            name: name.to_owned(),
            node: node.to_owned(),
            error: error.trim().to_owned(),
        });
    }

    /// The part of this identity, if it was found.
    pub(super) fn get(&self, id: &PartId) -> Option<&Part> {
        self.found.iter().find(|part| part.id == *id)
    }

    /// The objects of the API.
    pub(super) fn documents(&self) -> Vec<Value> {
        let parts = self.found.iter().filter(|part| part.id.is_of_api());
        parts
            .filter_map(|part| serde_json::from_slice(&part.bytes).ok())
            .collect()
    }

    /// These parts as those of a cluster around the one that the bundle is about, at this path. What its
    /// machine says, all layers have in common. `nodes` are the cluster's own.
    pub(super) fn of_layer(mut self, layer: &str, nodes: &[String]) -> Self {
        // Its nodes tell of those that are nested in them, too, which the bundle has already.
        self.found.retain(|Part { id, .. }| {
            id.kind != Kind::Host && (id.node.is_empty() || nodes.contains(&id.node))
        });
        for part in &mut self.found {
            layer.clone_into(&mut part.id.layer);
        }
        for missing in &mut self.missing {
            missing.node = place(layer, &missing.node);
        }
        self
    }

    /// Adds all that another look found and missed.
    pub(super) fn merge(&mut self, other: Self) {
        self.found.extend(other.found);
        self.missing.extend(other.missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_goes_where_its_name_says_and_no_name_leads_out_of_the_bundle() {
        for (name, path) in [
            ("kubelet.log", "nodes/n/kubelet.log"),
            ("full/kubelet.log", "nodes/n/kubelet.log"),
            ("disk.txt", "nodes/n/disk.txt"),
            ("files/kind/kubeadm.conf", "nodes/n/files/kind/kubeadm.conf"),
            ("pods/a_b_c/d/0.log", "pods/n/a_b_c/d/0.log"),
            ("api/events.json", "api/events.json"),
            ("api/case-1.json", "api/case-1.json"),
            ("configz/m.json", "nodes/m/configz.json"),
            ("nodes/in-n/kubelet.log", "nodes/in-n/kubelet.log"),
        ] {
            let id = PartId::by_name("n", name).unwrap();
            assert_eq!(id.path(), path, "{name}");
        }
        for name in [
            "../up",
            "a/../../b",
            "/etc/passwd",
            "a//b",
            "a b",
            "full/../x",
            "",
        ] {
            assert_eq!(PartId::by_name("n", name), None, "{name}");
        }
    }

    #[test]
    fn parts_of_clusters_around_are_named_by_the_way_to_them() {
        let mut around = Parts::default();
        around.add(Kind::Journal(Journal::Kubelet).of("n"), "text");
        around.add(Kind::Events.of_none(), "{}");
        around.add(Kind::Host.of_none(), "{}");
        around.add(Kind::Journal(Journal::Kubelet).of("nested"), "text");
        around.miss("look", "n", "it does not run");
        let around = around.of_layer("outer/middle", &["n".to_owned()]);
        let paths: Vec<String> = around.found.iter().map(|part| part.id.path()).collect();
        assert_eq!(
            paths,
            [
                "layers/outer/middle/nodes/n/kubelet.log",
                "layers/outer/middle/api/events.json"
            ]
        );
        assert_eq!(around.found[0].id.place(), "outer/middle/n");
        assert_eq!(around.missing[0].node, "outer/middle/n");
    }

    #[test]
    fn the_whole_of_a_journal_is_another_part_than_that_of_a_case() {
        let [own, whole] = ["kubelet.log", "full/kubelet.log"].map(|name| {
            let id = PartId::by_name("n", name);
            id.unwrap()
        });
        assert_ne!(own, whole);
        assert_eq!((own.home(), whole.home()), (Home::Bundle, Home::Cluster));
        assert_eq!(own.source(), Some(Lane::Kubelet));
        assert_eq!(whole.source(), None);
    }
}
