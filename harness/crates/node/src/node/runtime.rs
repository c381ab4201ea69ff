//! The container runtimes: the one place that knows the sockets, services, files and forms of
//! container ids.

use std::{collections::HashMap, fmt};

use serde::{Deserialize, Serialize};

/// Label of node images, and so of their containers, whose value is the name of the [`Runtime`].
pub const RUNTIME: &str = "dev.kubenest.runtime";

/// The container runtime of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Runtime {
    /// containerd.
    Containerd,
    /// CRI-O.
    CriO,
}

impl Runtime {
    /// All runtimes.
    pub const ALL: [Self; 2] = [Self::Containerd, Self::CriO];

    /// The runtime of a node with these labels. An image without the label is kind's, or from
    /// before the label existed, and has containerd.
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

    /// The unix socket on which the runtime serves CRI.
    pub const fn socket(self) -> &'static str {
        match self {
            Self::Containerd => "/run/containerd/containerd.sock",
            Self::CriO => "/run/crio/crio.sock",
        }
    }

    /// The socket in the form that kubelet and kubeadm (`criSocket`) expect.
    pub fn endpoint(self) -> String {
        format!("unix://{}", self.socket())
    }

    /// Name of its systemd service without `.service`, which is also the name in the journal.
    pub const fn service(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "crio",
        }
    }

    /// The runtime's configuration file.
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

    /// The cure that tells how to read the runtime's journal in a node.
    pub fn journal_cure(self) -> String {
        format!("read `journalctl -u {}` in the node", self.service())
    }

    /// The cure that tells how to restart the runtime in a node.
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
