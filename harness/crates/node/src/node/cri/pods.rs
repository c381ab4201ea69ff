//! Pods and containers, as far as the check of image volumes needs them.

use prost::{Enumeration, Message};

use super::{Cri, Empty, ImageSpec};
use kubenest_base::Result;

/// A pod on the node's own network, so that no pod network has to work.
#[derive(Clone, PartialEq, Message)]
pub struct PodConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<PodMetadata>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPod>,
}

#[derive(Clone, PartialEq, Message)]
struct PodMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxPod {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
    #[prost(message, optional, tag = "2")]
    security: Option<PodSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct PodSecurity {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<Namespaces>,
}

#[derive(Clone, PartialEq, Message)]
struct Namespaces {
    #[prost(enumeration = "NamespaceMode", tag = "1")]
    network: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum NamespaceMode {
    Pod = 0,
    Node = 2,
}

#[derive(Clone, PartialEq, Message)]
struct RunPodRequest {
    #[prost(message, optional, tag = "1")]
    config: Option<PodConfig>,
}

/// The id of a pod: the answer when it is run, and the request of every later call about it.
#[derive(Clone, PartialEq, Message)]
struct PodId {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<PodStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct PodStatus {
    #[prost(enumeration = "PodState", tag = "3")]
    state: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
enum PodState {
    Ready = 0,
    NotReady = 1,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainerRequest {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pod_config: Option<PodConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(message, repeated, tag = "7")]
    mounts: Vec<Mount>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

/// A mount of an image, which is read-only and has no path on the host.
#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "1")]
    container_path: String,
    #[prost(bool, tag = "3")]
    readonly: bool,
    #[prost(message, optional, tag = "9")]
    image: Option<ImageSpec>,
}

/// The id of a container: the answer when it is created, and the request for its status.
#[derive(Clone, PartialEq, Message)]
struct ContainerId {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerStatus {
    #[prost(message, repeated, tag = "14")]
    mounts: Vec<Mount>,
}

impl PodConfig {
    /// A pod of this name, with its cgroups below `cgroup_parent`.
    pub fn on_the_node(name: &str, cgroup_parent: &str) -> Self {
        let network = NamespaceMode::Node.into();
        Self {
            metadata: Some(PodMetadata {
                name: name.to_owned(),
                uid: name.to_owned(),
                namespace: "kubenest".to_owned(),
            }),
            linux: Some(LinuxPod {
                cgroup_parent: cgroup_parent.to_owned(),
                security: Some(PodSecurity {
                    namespaces: Some(Namespaces { network }),
                }),
            }),
        }
    }
}

impl Cri {
    /// Runs a pod without containers; returns its id.
    pub async fn run_pod(&self, config: &PodConfig) -> Result<String> {
        let config = Some(config.clone());
        let path = "/runtime.v1.RuntimeService/RunPodSandbox";
        let pod: PodId = self.daemon.call(path, RunPodRequest { config }).await?;
        Ok(pod.id)
    }

    /// Whether a pod exists and runs.
    pub async fn pod_runs(&self, pod: &str) -> bool {
        let path = "/runtime.v1.RuntimeService/PodSandboxStatus";
        let answer: Result<PodStatusResponse> = self.daemon.call(path, PodId::of(pod)).await;
        let status = answer.ok().and_then(|answer| answer.status);
        status.is_some_and(|status| status.state() == PodState::Ready)
    }

    /// Removes a pod with its containers, even if it runs.
    pub async fn remove_pod(&self, pod: &str) -> Result<()> {
        let path = "/runtime.v1.RuntimeService/RemovePodSandbox";
        let _: Empty = self.daemon.call(path, PodId::of(pod)).await?;
        Ok(())
    }

    /// Creates a container of `image` that mounts the same image as a volume, and never starts it.
    /// Without a command it has the image's own. Returns the images of its mounts, as the runtime
    /// reports them.
    pub async fn create_with_volume(
        &self,
        pod: &str,
        config: &PodConfig,
        image: &str,
        command: Option<&str>,
    ) -> Result<Vec<String>> {
        let image = ImageSpec {
            image: image.to_owned(),
        };
        let request = CreateContainerRequest {
            pod: pod.to_owned(),
            config: Some(ContainerConfig {
                metadata: Some(ContainerMetadata {
                    name: "probe".to_owned(),
                }),
                image: Some(image.clone()),
                command: command.map(str::to_owned).into_iter().collect(),
                mounts: vec![Mount {
                    container_path: "/volume".to_owned(),
                    readonly: true,
                    image: Some(image),
                }],
            }),
            pod_config: Some(config.clone()),
        };
        let path = "/runtime.v1.RuntimeService/CreateContainer";
        let container: ContainerId = self.daemon.call(path, request).await?;
        let path = "/runtime.v1.RuntimeService/ContainerStatus";
        let answer: ContainerStatusResponse = self.daemon.call(path, container).await?;
        let mounts = answer.status.unwrap_or_default().mounts;
        let images = mounts.into_iter().filter_map(|mount| mount.image);
        Ok(images.map(|image| image.image).collect())
    }
}

impl PodId {
    fn of(pod: &str) -> Self {
        Self { id: pod.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::node::recorded::shown;

    #[test]
    fn a_pod_is_run_and_mounts_an_image() {
        assert_snapshot!(shown::<RunPodRequest, PodId>(
            "RuntimeService.RunPodSandbox"
        ));
        assert_snapshot!(shown::<PodId, PodStatusResponse>(
            "RuntimeService.PodSandboxStatus"
        ));
        assert_snapshot!(shown::<CreateContainerRequest, ContainerId>(
            "RuntimeService.CreateContainer"
        ));
        assert_snapshot!(shown::<ContainerId, ContainerStatusResponse>(
            "RuntimeService.ContainerStatus"
        ));
        assert_snapshot!(shown::<PodId, Empty>("RuntimeService.RemovePodSandbox"));
    }

    /// The bytes of a mount, written by hand from the public field numbers: a runtime that
    /// does not know field 9 sees the path, read-only, and nothing to mount there.
    #[test]
    fn a_mount_has_its_image_in_field_9() {
        let mount = Mount {
            container_path: "/v".to_owned(),
            readonly: true,
            image: Some(ImageSpec {
                image: "a:1".to_owned(),
            }),
        };
        let bytes = [&b"\x0a\x02/v"[..], b"\x18\x01", b"\x4a\x05\x0a\x03a:1"].concat();
        assert_eq!(mount.encode_to_vec(), bytes);
        let status = [&[0x72, bytes.len() as u8][..], &bytes].concat();
        let status = ContainerStatus::decode(status.as_slice()).expect("must decode");
        assert_eq!(status.mounts, [mount]);
    }

    #[test]
    fn a_pod_on_the_node_asks_for_the_nodes_network() {
        let pod = PodConfig::on_the_node("p", "s");
        let linux = b"\x42\x09\x0a\x01s\x12\x04\x0a\x02\x08\x02";
        assert!(pod.encode_to_vec().ends_with(linux), "{pod:?}");
    }
}
