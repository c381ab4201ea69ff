//! The container runtime of a node: the one place that knows where each listens, what its service,
//! its files and its container ids are called.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Serialize};

/// Label of node images, and so of the containers made of them: the name of the [`Runtime`].
pub const RUNTIME: &str = "dev.kubenest.runtime";

/// What runs the containers of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// containerd.
    Containerd,
    /// CRI-O.
    CriO,
}

impl Runtime {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Containerd, Self::CriO];

    /// The runtime of a node with these labels. An image that names none is of kind's, or as old as
    /// those: it has containerd.
    pub fn of_labels(labels: &HashMap<String, String>) -> Self {
        let named = labels.get(RUNTIME);
        Self::ALL
            .into_iter()
            .find(|runtime| named.is_some_and(|name| name == runtime.name()))
            .unwrap_or(Self::Containerd)
    }

    /// Its name, for people and as the value of the label [`RUNTIME`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
        }
    }

    /// The unix socket at which it serves CRI.
    pub const fn socket(self) -> &'static str {
        match self {
            Self::Containerd => "/run/containerd/containerd.sock",
            Self::CriO => "/run/crio/crio.sock",
        }
    }

    /// The socket as kubelet and kubeadm (`criSocket`) are told it.
    pub fn endpoint(self) -> String {
        format!("unix://{}", self.socket())
    }

    /// Its systemd service, without `.service`: also what its journal goes by.
    pub const fn service(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "crio",
        }
    }

    /// The file that it is configured by.
    pub const fn config_file(self) -> &'static str {
        match self {
            Self::Containerd => "/etc/containerd/config.toml",
            Self::CriO => "/etc/crio/crio.conf.d/10-kubenest.conf",
        }
    }

    /// The folder that holds its images.
    pub const fn images_folder(self) -> &'static str {
        match self {
            Self::Containerd => "/var/lib/containerd",
            Self::CriO => "/var/lib/containers",
        }
    }

    /// What to do in a node to read what it said.
    pub fn journal_cure(self) -> String {
        format!("read `journalctl -u {}` in the node", self.service())
    }

    /// What to do in a node to start it anew.
    pub fn restart_cure(self) -> String {
        format!("systemctl restart {} in the node", self.service())
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(name: &str) -> HashMap<String, String> {
        HashMap::from([(RUNTIME.to_owned(), name.to_owned())])
    }

    #[test]
    fn a_nodes_labels_name_its_runtime() {
        for runtime in Runtime::ALL {
            assert_eq!(Runtime::of_labels(&labels(runtime.name())), runtime);
        }
        // kind's images have no such label.
        assert_eq!(Runtime::of_labels(&HashMap::new()), Runtime::Containerd);
    }

    #[test]
    fn the_name_of_a_runtime_is_the_same_in_labels_and_in_data() {
        for runtime in Runtime::ALL {
            let text = serde_json::to_value(runtime).expect("must be plain data");
            assert_eq!(text, runtime.name());
        }
    }
}
