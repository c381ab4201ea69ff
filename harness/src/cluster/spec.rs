//! The spec of a cluster: its nodes, their image, and its differences from the default.

mod node;
mod registries;

use std::time::{Duration, Instant};

use semver::Version;
use serde_json::Value;

pub use self::node::NodeSpec;
pub(super) use self::registries::Registries;
use super::{Cluster, addresses::MOST_NODES, boot};
use crate::verdict;
use kubenest_base::{Error, ErrorKind, Result};
use kubenest_docker::Docker;
use kubenest_forge::making;
use kubenest_health::health::{Expected, ExpectedKubelet};
use kubenest_node::node::Role;
use kubenest_recipe::recipe::Recipe;

/// A cluster to boot.
///
/// ```no_run
/// # async fn example() -> kubenest::Result<()> {
/// use kubenest::ClusterSpec;
///
/// let cluster = ClusterSpec::single_node()
///     .with_recipe("v1.32.1-containerd-2.0.2")?
///     .boot()
///     .await?;
/// println!("export KUBECONFIG={}", cluster.kubeconfig().display());
/// cluster.down().await
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    pub(super) name: Option<String>,
    pub(super) docker: Option<Docker>,
    pub(super) recipe: Option<Recipe>,
    pub(super) nodes: Vec<NodeSpec>,
    pub(super) kubeadm_patches: Vec<Value>,
    pub(super) containerd_patches: Vec<toml::Table>,
    pub(super) registries: Registries,
    pub(super) expected: Expected,
    pub(super) loader: Option<Version>,
    pub(super) cri_client: Option<Version>,
    pub(super) keep: Option<bool>,
    pub(super) lifetime: Option<Duration>,
    /// Whether kubeadm's defaults are changed to make a boot faster.
    pub(super) tuned: bool,
    /// Whether the kubelets may delete images as the patches ask.
    pub(super) collecting: bool,
    /// Whether a test expects the boot to be refused.
    pub(super) to_be_refused: bool,
}

impl ClusterSpec {
    /// One node that is control plane and worker.
    pub fn single_node() -> Self {
        Self::of([NodeSpec::control_plane()])
    }

    /// One control plane and `count` workers.
    pub fn with_workers(count: usize) -> Self {
        let workers = std::iter::repeat_with(NodeSpec::worker).take(count);
        Self::of(std::iter::once(NodeSpec::control_plane()).chain(workers))
    }

    /// A cluster of these nodes, sorted with the control plane first; exactly one node must be a
    /// control plane.
    pub fn of(nodes: impl IntoIterator<Item = NodeSpec>) -> Self {
        let mut nodes: Vec<NodeSpec> = nodes.into_iter().collect();
        nodes.sort_by_key(|node| node.role != Role::ControlPlane);
        Self {
            name: None,
            docker: None,
            recipe: None,
            nodes,
            kubeadm_patches: Vec::new(),
            containerd_patches: Vec::new(),
            registries: Registries::default(),
            expected: Expected::default(),
            loader: None,
            cri_client: None,
            keep: None,
            lifetime: None,
            tuned: true,
            collecting: false,
            to_be_refused: false,
        }
    }

    /// Names the cluster; by default the name is random. At most 40 lowercase letters, digits and
    /// dashes.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Boots it on this engine, instead of the one that the settings choose.
    #[must_use]
    pub fn with_engine(mut self, docker: &Docker) -> Self {
        self.docker = Some(docker.clone());
        self
    }

    /// Makes the nodes of an embedded recipe, by name.
    ///
    /// # Errors
    /// There is no recipe of that name; the cure lists the known ones.
    pub fn with_recipe(mut self, name: &str) -> Result<Self> {
        self.recipe = Some(Recipe::named(name)?);
        Ok(self)
    }

    /// Makes the nodes of this recipe, which was read from a file or is a whole image.
    #[must_use]
    pub fn with_custom_recipe(mut self, recipe: Recipe) -> Self {
        self.recipe = Some(recipe);
        self
    }

    /// Merges YAML into the kubeadm document of the same `kind`, for example
    /// `{kind: KubeletConfiguration, maxPods: 20}`; `null` removes a key.
    ///
    /// The patch may be written for kubeadm's v1beta3 or v1beta4: extra arguments as a mapping or
    /// as a list are translated to what the node's kubeadm reads. They are added by name to the
    /// boot's own arguments, as are `certSANs` and similar lists; the user's values win. A field
    /// that kubeadm would silently drop is refused at [`boot`](Self::boot).
    ///
    /// # Errors
    /// It is no YAML mapping, or its `kind` or `apiVersion` is none of kubeadm's.
    pub fn with_kubeadm_patch(mut self, yaml: &str) -> Result<Self> {
        let patch = super::kubeadm::read(yaml)?;
        if patch["kind"] == "KubeletConfiguration" {
            self.expected.kubelet.ask(&patch);
        }
        self.kubeadm_patches.push(patch);
        Ok(self)
    }

    /// Leaves etcd, the keys, kube-proxy and the controller manager as kubeadm sets them up by
    /// default, for tests about these parts.
    ///
    /// By default a boot uses P-256 keys instead of RSA, an etcd that elects itself at once and
    /// does not wait for the disk, and a kube-proxy that does not pause between two changes. A
    /// [patch](Self::with_kubeadm_patch) can undo each of these changes.
    ///
    /// Its controller manager also makes a volume for each PersistentVolumeClaim of the default
    /// class, `standard`: a folder that all nodes share and every user can write to, removed with
    /// the claim. Nothing holds a pod to the claim's size or access mode. Without this tuning there
    /// is no class, and a claim waits for a volume that the test makes.
    #[must_use]
    pub fn as_kubeadm(mut self) -> Self {
        self.tuned = false;
        self
    }

    /// Merges TOML into the nodes' containerd configuration.
    ///
    /// # Errors
    /// It is no TOML.
    pub fn with_containerd_patch(mut self, patch: &str) -> Result<Self> {
        let table = patch
            .parse::<toml::Table>()
            .map_err(|cause| Error::input("the containerd patch is no TOML").because(cause))?;
        self.containerd_patches.push(table);
        Ok(self)
    }

    /// Sets what the health gate demands of the nodes.
    #[must_use]
    pub fn with_expected(mut self, expected: Expected) -> Self {
        let loader = self.expected.loader.take();
        self.expected = expected;
        self.expected.loader = self.expected.loader.take().or(loader);
        self
    }

    /// Lets one health check fail, also when a pair of versions that it looks at is known not to
    /// work. This is for a suite that reproduces an unhealthy node on purpose. The names are those
    /// of [`Check`](kubenest_recipe::compat::Check).
    #[must_use]
    pub fn with_tolerated(mut self, check: &str) -> Self {
        self.expected = self.expected.with_tolerated(check);
        self
    }

    /// Lets the kubelets delete images: the health gate then demands the image garbage collection
    /// and disk eviction of the `KubeletConfiguration` patches. Without this method the gate
    /// demands that nothing is deleted, and a spec that asks for more is refused.
    ///
    /// ```
    /// # fn spec() -> kubenest::Result<kubenest::ClusterSpec> {
    /// let evict = "{kind: KubeletConfiguration, evictionHard: {imagefs.available: 10%}}";
    /// kubenest::ClusterSpec::single_node().with_image_collection().with_kubeadm_patch(evict)
    /// # }
    /// ```
    #[must_use]
    pub fn with_image_collection(mut self) -> Self {
        self.collecting = true;
        self
    }

    /// Declares that containers will mount images as volumes: a pair of versions that cannot do so
    /// is refused before anything is started, and the health gate tries it on every node. The
    /// feature gate `ImageVolume` of API server and kubelet is not changed.
    #[must_use]
    pub fn with_image_volumes(mut self) -> Self {
        self.expected.image_volumes = true;
        self
    }

    /// Declares the cri-api release of a client that will ask the nodes' runtime, for example
    /// `0.30.0` of crictl 1.30. A client that cannot ask for what the spec wants is refused before
    /// anything is started.
    ///
    /// # Errors
    /// It is no version.
    pub fn with_cri_client(mut self, version: &str) -> Result<Self> {
        self.cri_client = Some(release("cri-api", version)?);
        Ok(self)
    }

    /// Declares the version of kind that will load images: a pair that is known not to work is
    /// refused before anything is started, and the health gate tries an import on every node.
    ///
    /// # Errors
    /// It is no version.
    pub fn with_kind_loader(mut self, version: &str) -> Result<Self> {
        let version = release("kind", version)?;
        self.loader = Some(version.clone());
        self.expected.loader = Some(version);
        Ok(self)
    }

    /// Decides whether the cluster is kept; by default `KUBENEST_KEEP` decides.
    #[must_use]
    pub fn with_keep(mut self, keep: bool) -> Self {
        self.keep = Some(keep);
        self
    }

    /// Sets the age at which other users of the engine may remove the cluster when they cannot tell
    /// whether this process lives, because it is on another host, in another container or of
    /// another user. For a day the guard shows them that it lives; after that, or where the guard
    /// cannot run, this lifetime counts. The default is two hours.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Boots the cluster and proves it usable and healthy.
    ///
    /// When it fails, or the future is dropped, everything made so far is removed.
    ///
    /// # Errors
    /// The spec is invalid, a pair of versions is known not to work, or a step failed: the error
    /// names the step, what was seen last, and the cure if there is one.
    pub async fn boot(self) -> Result<Cluster> {
        self.check()?;
        // Booting is a large future; test threads have small stacks.
        Box::pin(boot::boot(self)).await
    }

    /// Boots a cluster that must be refused, before or after nodes were started, and returns the
    /// refusal. The time until then goes to the report, as `refused`.
    ///
    /// # Errors
    /// The boot failed for another reason.
    ///
    /// # Panics
    /// The boot was not refused. The cluster is removed again.
    pub async fn expect_refusal(mut self) -> Result<Error> {
        self.to_be_refused = true;
        let (begin, unprepared) = (Instant::now(), making::time_without_slot());
        let cluster = match self.boot().await {
            Err(error) if error.kind() == ErrorKind::Refused => {
                let made = making::time_without_slot().saturating_sub(unprepared);
                let after = begin.elapsed().saturating_sub(made);
                verdict::leave(&verdict::wanted_refusal(&error, after));
                return Ok(error);
            }
            booted => booted?,
        };
        let name = cluster.name().to_owned();
        cluster.down().await?;
        panic!("nothing was refused: cluster '{name}' booted");
    }

    pub(super) fn check(&self) -> Result<()> {
        let control_planes = self
            .nodes
            .iter()
            .filter(|n| n.role == Role::ControlPlane)
            .count();
        if control_planes != 1 {
            return Err(Error::input(format!(
                "a cluster of {control_planes} control planes: exactly one is supported"
            ))
            .cure("one NodeSpec::control_plane(), and workers"));
        }
        if let Some(name) = &self.name {
            check_name(name)?;
        }
        self.expected.validate()?;
        super::kubeadm::check(&self.kubeadm_patches)?;
        if !self.collecting && self.expected.kubelet != ExpectedKubelet::default() {
            return Err(Error::input(format!(
                "the kubelets would delete images: {}",
                self.expected.kubelet
            ))
            .cure("where that is what is tested, say so: ClusterSpec::with_image_collection()"));
        }
        if self.nodes.len() > MOST_NODES {
            let count = self.nodes.len();
            return Err(Error::input(format!(
                "a cluster of {count} nodes: at most {MOST_NODES} have a subnet for their pods"
            ))
            .cure("boot fewer nodes, or several clusters"));
        }
        let mounts = self.nodes.iter().flat_map(|node| &node.mounts);
        for (host, node, _) in mounts {
            if !host.starts_with('/') || !node.starts_with('/') {
                return Err(
                    Error::input(format!("mount '{host}' on '{node}' is not absolute"))
                        .cure("give both paths from /"),
                );
            }
        }
        Ok(())
    }
}

fn release(of: &str, version: &str) -> Result<Version> {
    let version = version.trim_start_matches('v');
    Version::parse(version)
        .map_err(|cause| Error::input(format!("'{version}' is no version of {of}")).because(cause))
}

/// Checks a cluster's name, which becomes part of container names, host names and paths.
fn check_name(name: &str) -> Result<()> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let ends = |b: Option<u8>| b.is_some_and(|b| b != b'-');
    let bytes = name.as_bytes();
    let fine = bytes.iter().all(|b| plain(*b))
        && ends(bytes.first().copied())
        && ends(bytes.last().copied())
        && name.len() <= 40;
    if fine {
        return Ok(());
    }
    Err(Error::input(format!("'{name}' cannot name a cluster"))
        .cure("at most 40 lowercase letters, digits and inner dashes, for example 'my-test'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_host_names_are_refused() {
        assert!(check_name("a-1").is_ok());
        for name in ["", "A", "-a", "a-", "a_b", "../x", &"a".repeat(41)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_deletes_images_has_to_be_asked_for() {
        let evict = "{kind: KubeletConfiguration, evictionHard: {imagefs.available: 10%}}";
        let spec = ClusterSpec::single_node()
            .with_kubeadm_patch(evict)
            .unwrap();
        assert_eq!(
            spec.check().unwrap_err().report(),
            "the kubelets would delete images: imageGCHighThresholdPercent 100, \
             imageMaximumGCAge 0s, evictionHard imagefs.available<10%\n\
             cure: where that is what is tested, say so: ClusterSpec::with_image_collection()"
        );
        assert!(spec.with_image_collection().check().is_ok());
    }

    #[test]
    fn a_misspelt_check_is_refused_before_anything_boots() {
        let check = |name| ClusterSpec::single_node().with_tolerated(name).check();
        for name in ["image-volume", "loader", "disk", "kubeadm"] {
            assert!(check(name).is_ok(), "{name}");
        }
        let error = check("image_volume").unwrap_err();
        assert_eq!(error.to_string(), "no health check is named 'image_volume'");
        assert!(
            error
                .cure_text()
                .is_some_and(|cure| cure.contains("image-volume"))
        );
    }

    #[test]
    fn more_nodes_than_there_are_subnets_are_refused() {
        assert!(ClusterSpec::with_workers(255).check().is_ok());
        let error = ClusterSpec::with_workers(256).check().unwrap_err();
        assert!(error.to_string().contains("257 nodes"), "{error}");
    }

    #[test]
    fn two_control_planes_are_refused_with_a_cure() {
        let spec = ClusterSpec::of([NodeSpec::control_plane(), NodeSpec::control_plane()]);
        let error = spec.check().unwrap_err();
        assert_eq!(
            error.report(),
            "a cluster of 2 control planes: exactly one is supported\n\
             cure: one NodeSpec::control_plane(), and workers"
        );
    }
}
