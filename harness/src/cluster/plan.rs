//! The plan of a cluster with every choice made: plain data, and its key.

use kubenest_base::digest::sha256_hex;
use kubenest_forge::image::NodeImage;
use kubenest_health::health::Expected;
use kubenest_node::node::Runtime;
use kubenest_recipe::recipe::Recipe;
use semver::Version;
use serde::Serialize;
use serde_json::Value;

use super::{ClusterSpec, NodeSpec, addresses::Addresses, spec::Registries};

/// Part of every key. It is raised when a boot would make a different cluster of the same plan.
const FORMAT: &str = "kubenest plan 3";

/// A cluster as it will be, on any site: the plan contains no handle and no name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Plan {
    /// The node image: by the hash of its inputs, or by digest.
    pub(super) image: String,
    /// The container runtime of the nodes.
    pub(super) runtime: Runtime,
    /// The nodes, the control plane first.
    pub(super) nodes: Vec<NodeSpec>,
    /// The addresses within it.
    pub(super) addresses: Addresses,
    /// How its nodes become a cluster.
    pub(super) bring_up: BringUp,
    /// Changes of the documents that kubeadm reads, in order.
    pub(super) kubeadm_patches: Vec<Value>,
    /// Changes of containerd's configuration, in order.
    pub(super) containerd_patches: Vec<toml::Table>,
    /// Where the nodes pull images from, and with which login.
    pub(super) registries: Registries,
    /// What the health gate demands.
    pub(super) expected: Expected,
    /// The kind release that loads images, if one does.
    pub(super) loader: Option<Version>,
    /// The cri-api release of a client that asks the nodes' runtime, if one does.
    pub(super) cri_client: Option<Version>,
}

/// How nodes that run only a container runtime become a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum BringUp {
    /// `kubeadm init` makes the control plane, `kubeadm join` adds the workers, and both do it with
    /// their own defaults.
    Kubeadm,
    /// kubeadm writes the files, with settings that make the boot of a test's cluster faster. What
    /// it would then do one after another is done side by side.
    Fast,
}

impl Plan {
    /// The plan of a spec whose nodes are made of this recipe, with these addresses.
    pub(super) fn of(spec: &ClusterSpec, recipe: &Recipe, addresses: Addresses) -> Self {
        Self {
            image: NodeImage::reference_of(recipe),
            runtime: NodeImage::runtime_of(recipe),
            nodes: spec.nodes.clone(),
            addresses,
            bring_up: match spec.tuned {
                true => BringUp::Fast,
                false => BringUp::Kubeadm,
            },
            kubeadm_patches: spec.kubeadm_patches.clone(),
            containerd_patches: spec.containerd_patches.clone(),
            registries: spec.registries.clone(),
            expected: spec.expected.clone(),
            loader: spec.loader.clone(),
            cri_client: spec.cri_client.clone(),
        }
    }

    /// Identifies the plan: two plans with the same key boot to clusters that differ only in their
    /// names.
    pub(super) fn key(&self) -> String {
        let plan = serde_json::to_string(self).expect("a plan must be plain data");
        sha256_hex(format!("{FORMAT}\n{plan}").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use kubenest_base::Result;

    use super::*;

    fn key(recipe: &str, change: impl FnOnce(ClusterSpec) -> Result<ClusterSpec>) -> String {
        let spec = change(ClusterSpec::with_workers(1)).unwrap();
        plan(&spec, recipe, 0).key()
    }

    fn plan(spec: &ClusterSpec, recipe: &str, depth: u8) -> Plan {
        let addresses = Addresses::at_depth(depth).unwrap();
        Plan::of(spec, &Recipe::named(recipe).unwrap(), addresses)
    }

    #[test]
    fn all_that_makes_a_cluster_another_is_in_its_key_and_nothing_else() {
        const RECIPE: &str = "v1.32.1-containerd-2.0.2";
        let plain = key(RECIPE, Ok);
        assert_eq!(plain.len(), 64);
        let named = key(RECIPE, |spec| Ok(spec.with_name("other").with_keep(true)));
        assert_eq!(plain, named, "a name and who keeps it are no part of it");
        let others = [
            key("v1.32.1-containerd-2.1.9", Ok),
            key(RECIPE, |_| Ok(ClusterSpec::with_workers(2))),
            key(RECIPE, |spec| {
                spec.with_kubeadm_patch("{kind: KubeletConfiguration, maxPods: 20}")
            }),
            key(RECIPE, |spec| {
                spec.with_containerd_patch("[plugins.a]\nb = 1")
            }),
            key(RECIPE, |spec| {
                spec.with_registry_mirror("docker.io", "http://mirror")
            }),
            key(RECIPE, |spec| Ok(spec.as_kubeadm())),
            key(RECIPE, |spec| Ok(spec.with_image_volumes())),
            key(RECIPE, |spec| spec.with_kind_loader("0.27.0")),
            key(RECIPE, |spec| spec.with_cri_client("0.30.0")),
            plan(&ClusterSpec::with_workers(1), RECIPE, 1).key(),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(&plain, other, "change {at}");
        }
    }
}
