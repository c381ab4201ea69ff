//! The parts that run together in one test, and the verdict on each pair of them.

use std::fmt;

use semver::Version;

use super::{
    Check, Verdict, cgroup_v1, containerd_in, cri_client, crio, image_store, image_volume,
    known_kind, known_line, kubeadm, kubernetes, kubernetes_in, load, registry_mirrors, shim,
    table::table, version,
};
use crate::recipe::{Content, Recipe, Role};
use kubenest_base::Result;

/// The parts that run together in a test. Pairs with an unknown part are not judged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stack {
    /// The kind release that loads images; `None` when kind loads nothing.
    pub kind: Option<Version>,
    /// The node image's reference, if it is not built from a recipe.
    pub node_image: Option<String>,
    /// The containerd daemon.
    pub containerd: Option<Version>,
    /// The CRI-O daemon.
    pub crio: Option<Version>,
    /// The shim that the daemon starts.
    pub shim: Option<Version>,
    /// The snapshotter in containerd's configuration: from the file before a boot, and from the
    /// running node's config dump, which loaders unpack for, afterwards.
    pub snapshotter: Option<String>,
    /// Version of the output of `containerd config dump`; only known from a running node.
    pub config: Option<u32>,
    /// The cri-api release of the client that mounts images as volumes; `None` when nothing mounts
    /// images.
    pub cri_api: Option<Version>,
    /// The Docker engine.
    pub engine: Option<Version>,
    /// Where that engine keeps its images.
    pub engine_image_store: Option<ImageStore>,
    /// Kubernetes.
    pub kubernetes: Option<Version>,
    /// The host has cgroup v1, and the kubelets are not configured to accept it.
    pub refused_cgroup_v1: bool,
    /// containerd's configuration has registry mirrors and no `config_path`.
    pub registry_mirrors: bool,
}

/// Where a Docker engine keeps its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageStore {
    /// In Docker's own store, one platform of each image.
    Graph,
    /// In containerd's store, with the index of all platforms.
    Containerd,
}

/// The verdict on one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The name of the [`Check`], which may also be that of a health check.
    pub name: &'static str,
    /// The two parts, such as `kind 0.26.0 with containerd 2.0.2`.
    pub pair: String,
    /// The verdict.
    pub verdict: Verdict,
}

/// Judges the planned versions (from recipe, image labels and spec), so that a cluster that cannot
/// work is never booted.
///
/// ```
/// # use kubenest_recipe as kubenest;
/// use kubenest::compat::{Stack, before_boot, refuse_known_bad};
///
/// let stack = Stack {
///     kind: Some("0.31.0".parse()?),
///     containerd: Some("2.3.1".parse()?),
///     ..Stack::default()
/// };
/// let error = refuse_known_bad(&before_boot(&stack), &[]).unwrap_err();
/// assert!(error.to_string().contains("unknown containerd config version: 4"));
/// # Ok::<(), semver::Error>(())
/// ```
pub fn before_boot(stack: &Stack) -> Vec<Finding> {
    let mut findings = crio::findings(stack);
    let mut found = |check: Check, pair: String, verdict| {
        findings.push(Finding {
            name: check.name(),
            pair,
            verdict,
        });
    };
    let containerd = stack.containerd();
    if let Some(kind) = &stack.kind {
        let node = match (containerd, &stack.node_image) {
            (Some(containerd), _) => format!("containerd {containerd}"),
            (None, Some(image)) => format!("node image {image}"),
            (None, None) => "an unknown node".to_owned(),
        };
        found(
            Check::Loader,
            format!("kind {kind} with {node}"),
            stack.loads(kind),
        );
        if let Some(store) = stack.store() {
            let pair = format!("kind {kind} with the engine's image store");
            found(Check::ImageStore, pair, image_store(store));
        }
    }
    if let (Some(daemon), Some(theirs)) = (containerd, &stack.shim) {
        let pair = format!("containerd {daemon} with the shim of {theirs}");
        found(Check::Shim, pair, shim(daemon, theirs));
    }
    if let Some(revision) = &stack.cri_api {
        let client = format!("a CRI client of cri-api {revision}");
        found(Check::ImageVolume, client.clone(), cri_client(revision));
        if let Some(containerd) = containerd {
            let pair = format!("{client} with containerd {containerd}");
            found(Check::ImageVolume, pair, image_volume(containerd));
        }
    }
    if let (Some(containerd), true) = (containerd, stack.registry_mirrors) {
        let pair = format!("containerd {containerd} with registry mirrors");
        found(Check::Plugins, pair, registry_mirrors(containerd));
    }
    let Some(release) = stack.kubernetes() else {
        return findings;
    };
    if let Some(containerd) = containerd {
        let pair = format!("Kubernetes {release} with containerd {containerd}");
        found(Check::Kubernetes, pair, kubernetes(&release, containerd));
    }
    if let Some(kind) = &stack.kind {
        let pair = format!("kind {kind} with Kubernetes {release}");
        found(Check::Kubeadm, pair, kubeadm(kind, &release));
    }
    if stack.refused_cgroup_v1 {
        let pair = format!("Kubernetes {release} with cgroup v1");
        found(Check::Cgroup, pair, cgroup_v1(&release));
    }
    findings
}

/// Judges the running versions: those that the nodes report replace the planned ones, and each
/// difference is a finding of its own, named `drift`.
pub fn after_boot(planned: &Stack, running: &Stack) -> Vec<Finding> {
    let differs = |part: &str, planned: Option<&Version>, running: Option<&Version>| {
        let (planned, running) = (planned?, running?);
        // Distributions add suffixes after the three numbers.
        let numbers = |v: &Version| (v.major, v.minor, v.patch);
        (numbers(planned) != numbers(running)).then(|| Finding {
            name: Check::Drift.name(),
            pair: format!("{part} {running} in place of {planned}"),
            verdict: Verdict::unknown("it is not what was planned"),
        })
    };
    let mut findings: Vec<Finding> = [
        differs("containerd", planned.containerd(), running.containerd()),
        differs("the shim of", planned.shim.as_ref(), running.shim.as_ref()),
        differs(
            "Kubernetes",
            planned.kubernetes().as_ref(),
            running.kubernetes().as_ref(),
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    findings.extend(before_boot(&planned.corrected_by(running)));
    findings
}

/// Passes unless a pair is known to fail whose check is not in `tolerated`.
///
/// # Errors
/// Refused, with cause, cure and link of the first such pair.
pub fn refuse_known_bad(findings: &[Finding], tolerated: &[String]) -> Result<()> {
    let bad = findings
        .iter()
        .filter(|finding| !tolerated.iter().any(|name| name == finding.name));
    bad.map(|finding| finding.verdict.clone())
        .try_for_each(Verdict::refuse_known_bad)
}

impl Finding {
    /// A warning for people, if it is not known whether the pair works.
    pub fn warning(&self) -> Option<String> {
        match &self.verdict {
            Verdict::Unknown { .. } => Some(self.to_string()),
            Verdict::KnownGood | Verdict::KnownBad { .. } => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.verdict {
            Verdict::KnownGood => write!(f, "{} is known to work", self.pair),
            Verdict::KnownBad { cause, .. } => f.write_str(cause),
            Verdict::Unknown { why } => write!(f, "{} is untested: {why}", self.pair),
        }
    }
}

impl Stack {
    /// The parts that a recipe determines.
    pub fn of(recipe: &Recipe) -> Self {
        match &recipe.content {
            Content::Image(image) => Self {
                node_image: Some(image.to_string()),
                ..Self::default()
            },
            Content::Parts(parts) => Self {
                containerd: parts.runtime.version(Role::Containerd).and_then(version),
                crio: parts.runtime.version(Role::Crio).and_then(version),
                shim: parts.runtime.version(Role::Shim).and_then(version),
                snapshotter: Some(parts.settings.snapshotter.clone()),
                kubernetes: version(&parts.kubernetes.version),
                ..Self::default()
            },
        }
    }

    /// This stack with all known parts of `other` in place of its own.
    fn corrected_by(&self, other: &Self) -> Self {
        let (ours, theirs) = (self.clone(), other.clone());
        Self {
            kind: theirs.kind.or(ours.kind),
            node_image: theirs.node_image.or(ours.node_image),
            containerd: theirs.containerd.or(ours.containerd),
            crio: theirs.crio.or(ours.crio),
            shim: theirs.shim.or(ours.shim),
            snapshotter: theirs.snapshotter.or(ours.snapshotter),
            config: theirs.config.or(ours.config),
            cri_api: theirs.cri_api.or(ours.cri_api),
            engine: theirs.engine.or(ours.engine),
            engine_image_store: theirs.engine_image_store.or(ours.engine_image_store),
            kubernetes: theirs.kubernetes.or(ours.kubernetes),
            refused_cgroup_v1: theirs.refused_cgroup_v1 || ours.refused_cgroup_v1,
            registry_mirrors: theirs.registry_mirrors || ours.registry_mirrors,
        }
    }

    /// The Kubernetes, given or known from the node image's digest.
    pub fn kubernetes(&self) -> Option<Version> {
        let known = || kubernetes_in(self.node_image.as_deref()?);
        self.kubernetes.clone().or_else(known)
    }

    /// The containerd, given or known from the node image's digest.
    pub(super) fn containerd(&self) -> Option<&Version> {
        let known = || containerd_in(self.node_image.as_deref()?);
        self.containerd.as_ref().or_else(known)
    }

    /// Where the engine keeps images, given or the default of its version.
    fn store(&self) -> Option<ImageStore> {
        let default = || {
            let since = &table().image_store.containerd_since;
            Some(match self.engine.as_ref()? >= since {
                true => ImageStore::Containerd,
                false => ImageStore::Graph,
            })
        };
        self.engine_image_store.or_else(default)
    }

    /// Whether this kind release can load images into the node.
    fn loads(&self, kind: &Version) -> Verdict {
        if let Err(unknown) = known_kind(kind) {
            return unknown;
        }
        let Some(containerd) = self.containerd() else {
            return Verdict::unknown(match &self.node_image {
                Some(image) if !image.contains('@') => {
                    format!("'{image}' names no digest, and tags are pushed again")
                }
                Some(_) => "no image of that digest is in the table".to_owned(),
                None => "its containerd is not known".to_owned(),
            });
        };
        let config = match (self.config, known_line(containerd)) {
            (Some(config), _) => config,
            (None, Ok(line)) => line.config,
            (None, Err(unknown)) => return unknown,
        };
        let hidden = self.config.is_none() && table().import.hidden.covers(containerd);
        let snapshotter = self.snapshotter.as_deref().filter(|_| !hidden);
        load(kind, containerd, config, snapshotter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Option<Version> {
        Some(text.parse().expect("must be a version"))
    }

    fn stack(kind: &str, containerd: &str) -> Stack {
        Stack {
            kind: v(kind),
            containerd: v(containerd),
            ..Stack::default()
        }
    }

    /// The names of the pairs that are known to fail, and of the unknown ones.
    fn trouble(findings: &[Finding]) -> (Vec<&str>, Vec<&str>) {
        let bad = |f: &&Finding| matches!(f.verdict, Verdict::KnownBad { .. });
        let unknown = |f: &&Finding| matches!(f.verdict, Verdict::Unknown { .. });
        let names = |filter: &dyn Fn(&&Finding) -> bool| {
            findings
                .iter()
                .filter(|f| filter(f))
                .map(|f| f.name)
                .collect()
        };
        (names(&bad), names(&unknown))
    }

    #[test]
    fn an_empty_stack_has_no_findings() {
        assert_eq!(before_boot(&Stack::default()), []);
    }

    #[test]
    fn each_pair_of_known_parts_is_judged() {
        let whole = Stack {
            shim: v("2.0.2"),
            snapshotter: Some("overlayfs".into()),
            cri_api: v("0.32.1"),
            engine: v("26.1.5"),
            kubernetes: v("1.32.1"),
            ..stack("0.33.0", "2.3.4")
        };
        let findings = before_boot(&whole);
        let names: Vec<_> = findings.iter().map(|f| f.name).collect();
        let all = [
            "loader",
            "image-store",
            "shim",
            "image-volume",
            "image-volume",
            "kubernetes",
            "kubeadm",
        ];
        assert_eq!(names, all);
        for finding in &findings {
            assert_eq!(finding.verdict, Verdict::KnownGood, "{finding}");
        }
        // A bad version of each part is found under its check's name.
        let worse = |change: fn(&mut Stack)| {
            let mut stack = whole.clone();
            change(&mut stack);
            before_boot(&stack)
        };
        assert_eq!(trouble(&worse(|s| s.kind = v("0.31.0"))).0, ["loader"]);
        assert_eq!(
            trouble(&worse(|s| s.snapshotter = Some("native".into()))).0,
            ["loader"]
        );
        assert_eq!(trouble(&worse(|s| s.shim = v("2.3.4"))).0, [""; 0]);
        assert_eq!(
            trouble(&worse(|s| s.containerd = v("1.7.24"))).0,
            ["shim", "image-volume"]
        );
        assert_eq!(
            trouble(&worse(|s| s.cri_api = v("0.30.2"))).0,
            ["image-volume"]
        );
        assert_eq!(
            trouble(&worse(|s| s.kubernetes = v("1.99.0"))).1,
            ["kubernetes"]
        );
        assert_eq!(
            trouble(&worse(|s| s.engine = v("29.0.0"))).1,
            ["image-store"]
        );
        let told = worse(|s| {
            (s.engine, s.engine_image_store) = (v("29.0.0"), Some(ImageStore::Graph));
        });
        assert_eq!(trouble(&told), (vec![], vec![]));
    }

    #[test]
    fn a_node_image_is_as_good_as_its_digest() {
        let loaded = |image: &str| {
            let node_image = Some(image.to_owned());
            let kind = v("0.26.0");
            let found = before_boot(&Stack {
                kind,
                node_image,
                ..Stack::default()
            });
            (found[0].verdict.clone(), found[0].warning())
        };
        let digest = "sha256:6afef2b7f69d627ea7bf27ee6696b6868d18e03bf98167c420df486da4662db6";
        let (verdict, _) = loaded(&format!("kindest/node:v1.32.1@{digest}"));
        assert!(matches!(verdict, Verdict::KnownBad { .. }), "{verdict:?}");
        let older = super::super::default_node(&Version::new(0, 26, 0)).unwrap();
        assert_eq!(loaded(older).0, Verdict::KnownGood);
        assert_eq!(
            loaded("kindest/node:v1.32.1").1.unwrap(),
            "kind 0.26.0 with node image kindest/node:v1.32.1 is untested: \
              'kindest/node:v1.32.1' names no digest, and tags are pushed again"
        );
        let other = loaded(&format!("a/b@sha256:{}", "0".repeat(64))).1.unwrap();
        assert!(
            other.ends_with("no image of that digest is in the table"),
            "{other}"
        );
    }

    #[test]
    fn running_versions_count_and_differences_from_the_plan_are_reported() {
        let planned = stack("0.27.0", "2.0.2");
        let running = Stack {
            containerd: v("2.3.4"),
            config: Some(4),
            ..Stack::default()
        };
        let findings = after_boot(&planned, &running);
        assert_eq!(trouble(&findings), (vec!["loader"], vec!["drift"]));
        assert_eq!(
            findings[0].to_string(),
            "containerd 2.3.4 in place of 2.0.2 is untested: it is not what was planned"
        );
        let same = Stack {
            containerd: version("v2.0.2~ds1"),
            config: Some(3),
            ..Stack::default()
        };
        assert_eq!(trouble(&after_boot(&planned, &same)), (vec![], vec![]));
        // The node's dump wins over the default of its version.
        let odd = Stack {
            config: Some(4),
            ..Stack::default()
        };
        assert_eq!(trouble(&after_boot(&planned, &odd)).0, ["loader"]);
    }

    #[test]
    fn a_loader_unpacks_for_the_snapshotter_of_the_dump() {
        let native = |containerd: &str| Stack {
            snapshotter: Some("native".into()),
            ..stack("0.33.0", containerd)
        };
        assert_eq!(trouble(&before_boot(&native("2.0.6"))).0, ["loader"]);
        // Older releases name the default snapshotter in the dump, whatever is in the file.
        assert_eq!(trouble(&before_boot(&native("2.0.2"))).0, [""; 0]);
        let told = Stack {
            config: Some(3),
            snapshotter: Some("native".into()),
            ..Stack::default()
        };
        let findings = after_boot(&native("2.0.2"), &told);
        assert_eq!(trouble(&findings).0, ["loader"]);
    }

    #[test]
    fn a_tolerated_check_is_not_refused() {
        let findings = before_boot(&stack("0.26.0", "2.0.2"));
        assert!(refuse_known_bad(&findings, &["shim".to_owned()]).is_err());
        refuse_known_bad(&findings, &["loader".to_owned()]).unwrap();
    }

    #[test]
    fn a_recipe_says_what_its_nodes_are() {
        let recipe = Recipe::named("skew-1.7.24-shim-2.0.2").unwrap();
        let stack = Stack::of(&recipe);
        assert_eq!(
            (stack.containerd.clone(), stack.shim.clone()),
            (v("1.7.24"), v("2.0.2"))
        );
        assert_eq!(trouble(&before_boot(&stack)).0, ["shim"]);
    }

    #[test]
    fn versions_are_read_as_programs_print_them() {
        for (text, read) in [
            ("v2.0.2", v("2.0.2")),
            ("1.6.20~ds1", v("1.6.20")),
            ("2.0.0-rc.1", v("2.0.0-rc.1")),
            ("devel", None),
            ("", None),
        ] {
            assert_eq!(version(text), read, "{text}");
        }
    }
}
