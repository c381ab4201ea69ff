//! Public reports of these failures, and the right diagnosis of each.
//!
//! `reports/<number>-<name>/` has the inputs, rewritten from the facts of the public report.
//! `first` is the cause that must come first; `None` means that nothing may be recognised.

use std::path::{Path, PathBuf};

use super::{diagnose, read};

struct Report {
    /// The folder of the inputs, and the address of the report.
    folder: &'static str,
    source: &'static str,
    inputs: &'static [Input],
}

struct Input {
    /// Files that are read together.
    logs: &'static [&'static str],
    first: Option<&'static str>,
    /// Causes that look similar and would be wrong.
    never: &'static [&'static str],
}

const fn shows(logs: &'static [&'static str], first: &'static str) -> Input {
    Input {
        logs,
        first: Some(first),
        never: &[],
    }
}

const fn silent(logs: &'static [&'static str]) -> Input {
    Input {
        logs,
        first: None,
        never: &[],
    }
}

impl Input {
    const fn never(mut self, never: &'static [&'static str]) -> Self {
        self.never = never;
        self
    }
}

const REPORTS: &[Report] = &[
    Report {
        folder: "01-capi-6324-inotify-systemd",
        source: "https://github.com/kubernetes-sigs/cluster-api/issues/6324",
        inputs: &[
            shows(&["export"], "inotify-exhausted"),
            shows(&["capd-manager.log"], "inotify-exhausted"),
            shows(&["kubectl-logs.txt"], "inotify-exhausted"),
            shows(&["export-kube-proxy"], "inotify-exhausted"),
            silent(&["kind.txt"]),
        ],
    },
    Report {
        folder: "02-flatcar-916-cri-v1",
        source: "https://github.com/flatcar/Flatcar/issues/916",
        inputs: &[
            shows(
                &["flatcar-kubelet.log", "flatcar-versions.txt"],
                "cri-v1-missing",
            ),
            shows(&["cri-dockerd-kubelet.log"], "cri-v1-missing").never(&["cri-plugin-missing"]),
            shows(&["k3s-ci.log"], "cri-v1-missing").never(&["cri-plugin-missing"]),
            shows(&["k3s-journal.log"], "cri-v1-missing").never(&["cri-plugin-missing"]),
        ],
    },
    Report {
        folder: "03-containerd-12612-mirrors",
        source: "https://github.com/containerd/containerd/issues/12612",
        inputs: &[shows(
            &["containerd-stderr.txt"],
            "registry-mirrors-and-config-path",
        )],
    },
    Report {
        folder: "04-linkerd2-6185-disk-pressure",
        source: "https://github.com/linkerd/linkerd2/pull/6185",
        inputs: &[
            shows(&["events.txt"], "host-disk-full").never(&["image-collected"]),
            shows(&["describe-node.txt"], "host-disk-full").never(&["image-collected"]),
            shows(&["k3d.log"], "host-disk-full").never(&["image-collected"]),
        ],
    },
    Report {
        folder: "05-kind-3443-coredns-timeouts",
        source: "https://github.com/kubernetes-sigs/kind/issues/3443",
        inputs: &[
            shows(&["kubectl-logs.txt"], "coredns-no-upstream-answer").never(&["coredns-loop"]),
            shows(&["export"], "coredns-no-upstream-answer").never(&["coredns-loop"]),
        ],
    },
    Report {
        folder: "07-kubespray-13125-removed-flag",
        source: "https://github.com/kubernetes-sigs/kubespray/issues/13125",
        inputs: &[shows(&["kubelet.log"], "kubelet-unknown-flag")],
    },
    Report {
        folder: "08-k3s-4085-cgroup2-invalid-state",
        source: "https://github.com/k3s-io/k3s/issues/4085",
        inputs: &[
            shows(&["k3s-docker-logs.txt"], "root-cgroup-has-processes")
                .never(&["inotify-exhausted", "kubelet-cgroup-missing"]),
            shows(&["ctr.txt"], "root-cgroup-has-processes"),
        ],
    },
    Report {
        folder: "09-runc-4972-sysctl-reopen",
        source: "https://github.com/opencontainers/runc/issues/4972",
        inputs: &[shows(&["docker.txt"], "runc-detached-procfs-apparmor")],
    },
    Report {
        folder: "10-etcd-21888-kubeadm-v1beta3",
        source: "https://github.com/etcd-io/etcd/pull/21888",
        inputs: &[shows(&["kind.txt"], "kubeadm-api-version-dropped")],
    },
    Report {
        folder: "11-openshell-360-cgroup-v1",
        source: "https://github.com/NVIDIA/OpenShell/pull/360",
        inputs: &[
            shows(&["kubelet.log"], "cgroup-v1-refused"),
            shows(&["k3s-docker-logs.txt"], "cgroup-v1-refused"),
            // Only a warning: kubeadm continues.
            silent(&["kubeadm.txt"]),
        ],
    },
    Report {
        folder: "13-kind-3490-docker25-layer-order",
        source: "https://github.com/kubernetes-sigs/kind/issues/3490",
        inputs: &[
            shows(&["kind.txt"], "image-layers-out-of-order").never(&["import-content-missing"])
        ],
    },
    Report {
        folder: "16-k8s-139416-extra-args",
        source: "https://github.com/kubernetes/kubernetes/pull/139416",
        inputs: &[shows(&["kubeadm.txt"], "kubeadm-extra-args-mapping")],
    },
    Report {
        folder: "18-innocuous",
        source: "https://github.com/containerd/containerd/issues/7799",
        inputs: &[
            silent(&["ci-success.log"]),
            silent(&["git-log.txt"]),
            silent(&["ctr-plugin-ls.txt"]),
            silent(&["kubelet.log"]),
        ],
    },
    Report {
        folder: "19-kind-4066-actions-log",
        source: "https://github.com/kubernetes-sigs/kind/issues/4066",
        inputs: &[
            shows(&["actions.log"], "import-content-missing"),
            shows(&["gh-run-view.log"], "import-content-missing"),
            shows(&["actions-journal.log"], "image-collected"),
            shows(&["plain-journal.log"], "image-collected"),
        ],
    },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/reports")
}

#[test]
fn each_report_is_diagnosed_correctly() {
    let mut wrong = Vec::new();
    for report in REPORTS {
        for input in report.inputs {
            let folder = root().join(report.folder);
            let paths: Vec<_> = input.logs.iter().map(|log| folder.join(log)).collect();
            let found = diagnose(&read(&paths).expect("must read").evidence);
            let ids: Vec<_> = found.iter().map(|diagnosis| diagnosis.id).collect();
            let right = ids.first().copied() == input.first
                && !ids.iter().any(|id| input.never.contains(id));
            if !right {
                let Report { folder, source, .. } = report;
                let (logs, first) = (input.logs, input.first);
                wrong.push(format!(
                    "{folder}/{logs:?}: {ids:?}, not {first:?} ({source})"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_input_file_is_in_the_table() {
    let entries = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).expect("must list");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("must list").file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(
        entries(root()),
        REPORTS
            .iter()
            .map(|report| report.folder)
            .collect::<Vec<_>>()
    );
    for report in REPORTS {
        let mut named: Vec<_> = report
            .inputs
            .iter()
            .flat_map(|input| input.logs)
            .copied()
            .collect();
        named.sort();
        assert_eq!(entries(root().join(report.folder)), named);
    }
}
