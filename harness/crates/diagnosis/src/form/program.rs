//! Which program a journal names.

use crate::Speaker;

/// Programs that often log without a process id.
const WITHOUT_PROCESS: [&str; 5] = ["kernel", "systemd", "sudo", "audit", "init"];

/// The source of a program's lines, by its name in a journal or its unit.
pub(super) fn source(program: &str) -> Speaker {
    let name = program.rsplit('/').next().unwrap_or(program);
    let name = name.strip_suffix(".service").unwrap_or(name);
    // Snaps: `microk8s.daemon-containerd`, `docker.dockerd`.
    let name = name
        .rsplit_once('.')
        .map_or(name, |(_, part)| part.trim_start_matches("daemon-"));
    let family = name.split('-').next().unwrap_or(name);
    match name {
        "crio" | "cri-o" | "conmon" | "cri-dockerd" | "docker-containerd" => Speaker::Runtime,
        "kubelite" | "k0scontroller" | "k0sworker" => Speaker::Distribution,
        "kubeadm" | "kind" | "k3d" | "minikube" | "crictl" | "ctr" | "nerdctl" | "docker"
        | "podman" | "kubectl" | "helm" | "cloud-init" | "startup-script" => Speaker::Cli,
        "etcd" | "coredns" | "flanneld" => Speaker::Pod,
        "kube-apiserver" | "kube-controller-manager" | "kube-scheduler" | "kube-proxy" => {
            Speaker::Pod
        }
        _ => match family {
            "containerd" | "dockerd" => Speaker::Runtime,
            "kubelet" => Speaker::Kubelet,
            "k3s" | "rke2" | "k0s" => Speaker::Distribution,
            _ => Speaker::System,
        },
    }
}

/// Whether a name is a known program and not just a word of a sentence.
pub(super) fn is_known(program: &str) -> bool {
    WITHOUT_PROCESS.contains(&program) || source(program) != Speaker::System
}
