//! Judges the pairs of versions in a cluster: before anything is started, and again by what the
//! nodes report.

use jiff::{Timestamp, tz::TimeZone};
use semver::Version;

use super::{ClusterSpec, addresses::Addresses, config, kubeadm, plan::Plan};
use kubenest_base::{Error, Result, progress};
use kubenest_docker::Docker;
use kubenest_node::node::Runtime;
use kubenest_recipe::{
    compat::{self, Finding, ImageStore, Stack, version},
    recipe::{Recipe, Versions},
};

/// Refuses versions that are known not to work together, before anything is started, and warns of
/// unknown ones. Returns the planned versions.
pub(super) async fn judge_plan(plan: &Plan, recipe: &Recipe, docker: &Docker) -> Result<Stack> {
    refuse_other_runtime(plan, &recipe.name)?;
    let mut planned = planned_stack(plan, recipe);
    let engine = docker.info().await?;
    planned.refused_cgroup_v1 = engine.cgroup_version == "1" && demands_cgroup_v2(plan);
    // Only a loader meets the engine's own images.
    if planned.kind.is_some() {
        planned.engine = version(&engine.version);
        planned.engine_image_store = Some(match engine.containerd_store {
            true => ImageStore::Containerd,
            false => ImageStore::Graph,
        });
    }
    judge(plan, &compat::before_boot(&planned), &[])?;
    check_patches(plan, &planned)?;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    for ended in compat::end_of_life(&planned, today) {
        tracing::info!("{ended}");
    }
    Ok(planned)
}

/// As [`judge_plan`], as far as a spec alone shows: without an engine, and at once.
pub(super) fn judge_spec(spec: &ClusterSpec) -> Result<()> {
    let Some(recipe) = &spec.recipe else {
        return Ok(());
    };
    // The depth does not matter: no pair depends on where the cluster will stand.
    let plan = Plan::of(spec, recipe, Addresses::at_depth(0)?);
    refuse_other_runtime(&plan, &recipe.name)?;
    let planned = planned_stack(&plan, recipe);
    compat::refuse_known_bad(&compat::before_boot(&planned), &plan.expected.tolerated)?;
    check_patches(&plan, &planned)
}

/// As [`judge_plan`], with the versions in the labels of an image: a node image that kubenest built
/// elsewhere says what is in it.
pub(super) fn judge_labels(plan: &Plan, planned: Stack, labels: &Versions) -> Result<Stack> {
    let known = compat::before_boot(&planned);
    let labelled = Stack {
        containerd: planned.containerd.or_else(|| version(&labels.containerd)),
        shim: planned.shim.or_else(|| version(&labels.shim)),
        kubernetes: planned.kubernetes.or_else(|| version(&labels.kubernetes)),
        ..planned
    };
    judge(plan, &compat::before_boot(&labelled), &known)?;
    check_patches(plan, &labelled)?;
    Ok(labelled)
}

/// Refuses kubeadm patches that the nodes' Kubernetes does not know, now that the nodes have
/// reported it. Returns whether the kubelets have to be told to run on cgroup v1, and reports that.
pub(super) async fn judge_kubernetes(
    plan: &Plan,
    kubernetes: &str,
    docker: &Docker,
) -> Result<bool> {
    let release = version(kubernetes);
    if let Some(release) = &release {
        kubeadm::check_fit(&plan.kubeadm_patches, release)?;
    }
    let cgroup_v1 = docker.info().await?.cgroup_version == "1";
    // A node that does not report its release is expected to have the newest.
    let refuses = release.is_none_or(|release| compat::refuses_cgroup_v1(&release));
    if cgroup_v1 && refuses {
        progress!(
            "the host has cgroup v1, which kubelet {kubernetes} refuses by itself: it is given \
             failCgroupV1: false"
        );
    }
    Ok(cgroup_v1 && refuses)
}

/// Refuses versions that turn out not to work together, now that the nodes report what they run.
pub(super) fn judge_running(plan: &Plan, planned: &Stack, running: &[Stack]) -> Result<()> {
    let known = compat::before_boot(planned);
    running
        .iter()
        .try_for_each(|node| judge(plan, &compat::after_boot(planned, node), &known))
}

fn planned_stack(plan: &Plan, recipe: &Recipe) -> Stack {
    let stack = Stack::of(recipe);
    let image_volumes = plan.expected.image_volumes;
    Stack {
        kind: plan.loader.clone(),
        cri_api: image_volumes.then(|| cri_api(plan, stack.kubernetes().as_ref())),
        registry_mirrors: config::sets_mirrors(&plan.containerd_patches),
        ..stack
    }
}

/// Refuses kubeadm patches that the planned Kubernetes does not know, if its release is known.
fn check_patches(plan: &Plan, planned: &Stack) -> Result<()> {
    let release = planned.kubernetes();
    release.map_or(Ok(()), |release| {
        kubeadm::check_fit(&plan.kubeadm_patches, &release)
    })
}

/// Whether the user's patches make the kubelets refuse cgroup v1.
fn demands_cgroup_v2(plan: &Plan) -> bool {
    let patches = plan.kubeadm_patches.iter().rev();
    let mut told = patches.filter_map(|patch| patch["failCgroupV1"].as_bool());
    told.next().unwrap_or(false)
}

/// The cri-api release that requests image volumes: that of a client, else that of the kubelet. An
/// unknown kubelet counts as one that can, so that the runtime is judged.
fn cri_api(plan: &Plan, kubernetes: Option<&Version>) -> Version {
    let kubelet = kubernetes.map(|release| Version::new(0, release.minor, release.patch));
    let client = plan.cri_client.clone().or(kubelet);
    client.unwrap_or(Version::new(0, 34, 0))
}

/// Refuses what only containerd can do of a plan whose nodes have another runtime: it would have no
/// effect, or fail in the middle of a boot.
pub(super) fn refuse_other_runtime(plan: &Plan, recipe: &str) -> Result<()> {
    if plan.runtime == Runtime::Containerd {
        return Ok(());
    }
    let meant_for_containerd = [
        (!plan.containerd_patches.is_empty(), "a containerd patch"),
        (plan.loader.is_some(), "a load by kind, which calls `ctr`"),
        (plan.expected.snapshotter.is_some(), "a snapshotter"),
        (
            plan.registries.have_login_at_mirror(),
            "a login at a mirror, to which it sends none",
        ),
    ];
    let asked = meant_for_containerd.into_iter().find(|(asked, _)| *asked);
    asked.map_or(Ok(()), |(_, what)| {
        Err(Error::input(format!(
            "the spec asks for {what}, and recipe '{recipe}' has the runtime {}",
            plan.runtime
        ))
        .cure("leave it out, or use a recipe with containerd"))
    })
}

/// Warns of unknown pairs that were not warned of before, and refuses those that are known to fail.
fn judge(plan: &Plan, findings: &[Finding], warned: &[Finding]) -> Result<()> {
    let new = findings.iter().filter(|finding| !warned.contains(finding));
    for warning in new.filter_map(Finding::warning) {
        tracing::warn!("{warning}");
    }
    compat::refuse_known_bad(findings, &plan.expected.tolerated)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubenest_base::ErrorKind;
    use kubenest_health::health::Expected;

    fn spec(recipe: &str) -> ClusterSpec {
        ClusterSpec::single_node().with_recipe(recipe).unwrap()
    }

    #[test]
    fn image_volumes_need_a_client_and_a_runtime_that_know_them() {
        let (old, new) = ("v1.32.1-containerd-2.0.2", "v1.32.1-containerd-2.1.9");
        let refused = |spec: ClusterSpec| judge_spec(&spec).unwrap_err().to_string();
        assert!(judge_spec(&spec(old)).is_ok());
        assert!(refused(spec(old).with_image_volumes()).contains("containerd 2.0.2"));
        assert!(judge_spec(&spec(new).with_image_volumes()).is_ok());
        let client = |release| spec(new).with_cri_client(release).unwrap();
        assert!(judge_spec(&client("0.30.0")).is_ok());
        assert!(refused(client("0.30.0").with_image_volumes()).contains("cri-api 0.30.0"));
        assert!(judge_spec(&client("0.34.0").with_image_volumes()).is_ok());
    }

    /// Patches from public reports, on images in the compatibility table: nothing is started to
    /// refuse them.
    #[test]
    fn patches_are_judged_by_what_the_node_will_run() {
        let node = |kind: &str| {
            let image = compat::default_node(&kind.parse().unwrap()).unwrap();
            ClusterSpec::single_node().with_custom_recipe(Recipe::image(image).unwrap())
        };
        // Kubernetes 1.34.0 with containerd 2.1.3, 1.35.0 with 2.2.0, 1.37.0 with 2.3.4.
        let (old, middle, new) = (node("0.30.0"), node("0.31.0"), node("0.33.0"));
        let mirrors = "[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']
                       endpoint = ['https://registry.example.com']";
        let mirrored =
            |spec: &ClusterSpec| judge_spec(&spec.clone().with_containerd_patch(mirrors).unwrap());
        assert!(mirrored(&old).is_ok() && mirrored(&new).is_ok());
        let error = mirrored(&middle).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(
            error
                .to_string()
                .contains("containerd 2.2.0 adds a config_path"),
            "{error}"
        );
        let tolerated = middle.clone().with_tolerated("plugins");
        assert!(mirrored(&tolerated).is_ok());

        let patched = |spec: &ClusterSpec, patch| {
            judge_spec(&spec.clone().with_kubeadm_patch(patch).unwrap())
        };
        let flag = "{kind: InitConfiguration, nodeRegistration: {kubeletExtraArgs: \
                     [{name: pod-infra-container-image, value: 'registry.k8s.io/pause:3.10.1'}]}}";
        assert!(patched(&old, flag).is_ok());
        assert!(patched(&middle, flag).is_err() && patched(&new, flag).is_err());
        let versioned = "{apiVersion: kubeadm.k8s.io/v1beta3, kind: ClusterConfiguration, \
                          apiServer: {extraArgs: {v: '4'}}}";
        assert!(patched(&old, versioned).is_ok() && patched(&new, versioned).is_ok());
        let misspelt = "{kind: ClusterConfiguration, apiServer: {extraArg: {v: '4'}}}";
        assert_eq!(
            patched(&new, misspelt).unwrap_err().kind(),
            ErrorKind::Input
        );
    }

    #[test]
    fn the_last_word_of_cgroup_v1_is_the_users() {
        let spec = |patches: &[&str]| {
            let spec = patches
                .iter()
                .fold(ClusterSpec::single_node(), |spec, patch| {
                    let patch = format!("{{kind: KubeletConfiguration, failCgroupV1: {patch}}}");
                    spec.with_kubeadm_patch(&patch).unwrap()
                });
            let recipe = Recipe::named("v1.32.1-containerd-2.0.2").unwrap();
            Plan::of(&spec, &recipe, Addresses::at_depth(0).unwrap())
        };
        assert!(!demands_cgroup_v2(&spec(&[])));
        assert!(demands_cgroup_v2(&spec(&["true"])));
        assert!(!demands_cgroup_v2(&spec(&["true", "false"])));
    }

    #[test]
    fn an_images_labels_tell_what_its_digest_does_not() {
        let image = format!("registry.example/node@sha256:{}", "0".repeat(64));
        let spec = ClusterSpec::single_node()
            .with_custom_recipe(Recipe::image(&image).unwrap())
            .with_kind_loader("0.26.0")
            .unwrap();
        judge_spec(&spec).unwrap();
        let labels = |containerd: &str| {
            let mut labels = Versions::default();
            containerd.clone_into(&mut labels.containerd);
            labels
        };
        let judged = |labels: Versions| {
            let recipe = spec.recipe.as_ref().unwrap();
            let plan = Plan::of(&spec, recipe, Addresses::at_depth(0).unwrap());
            judge_labels(&plan, planned_stack(&plan, recipe), &labels)
        };
        assert!(judged(Versions::default()).is_ok());
        assert!(judged(labels("1.7.24")).is_ok());
        let error = judged(labels("2.0.2")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
    }

    #[test]
    fn what_only_containerd_can_do_is_refused_on_cri_o() {
        const CRI_O: &str = "v1.34.3-cri-o-1.34.0";
        judge_spec(&spec(CRI_O)).unwrap();
        let patched = spec(CRI_O).with_containerd_patch("[plugins.a]\nb = 1");
        let loaded = spec(CRI_O).with_kind_loader("0.33.0");
        let expected = Expected::default().with_snapshotter("native");
        let unpacked = spec(CRI_O).with_expected(expected);
        let mirrored = spec(CRI_O)
            .with_registry_mirror("docker.io", "http://mirror:5000")
            .unwrap();
        judge_spec(&mirrored).unwrap();
        let logged_in = mirrored.with_registry_login("docker.io", "ci", "secret");
        for (spec, what) in [
            (logged_in.unwrap(), "a login at a mirror"),
            (patched.unwrap(), "a containerd patch"),
            (loaded.unwrap(), "a load by kind"),
            (unpacked, "a snapshotter"),
        ] {
            let error = judge_spec(&spec).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Input);
            let said = error.to_string();
            assert!(said.contains(what) && said.contains("cri-o"), "{said}");
            assert!(error.cure_text().unwrap().contains("containerd"));
        }
    }
}
