//! Boots that fail or are cancelled end soon, say why, and leave nothing.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use harness_selfcheck::{RECIPE, docker, remains_of, unique_name};
use kubenest::{
    ClusterSpec, Error, ErrorKind, cluster,
    engine::Docker,
    images::SmallImage,
    recipe::{NodeImage, Recipe},
    wait::{self, Probe},
};
use kubenest_base::process::Command;

/// A boot that cannot succeed must end within this time; kubeadm alone would wait four minutes.
const SOON: Duration = Duration::from_secs(200);

/// How long the cluster of a killed process may stay; its guard first saves evidence.
const CLEAN: Duration = Duration::from_secs(120);

#[tokio::test]
async fn a_kubelet_that_cannot_start_ends_the_boot_with_its_own_words() -> Result<()> {
    let patch = "{kind: KubeletConfiguration, maxPods: -1}";
    let error = boot_error(ClusterSpec::single_node().with_kubeadm_patch(patch)?).await?;
    assert_report_has(&error, &["kubelet", "maxPods (--max-pods) -1 must not be"]);
    Ok(())
}

#[tokio::test]
async fn an_api_server_that_keeps_exiting_ends_the_boot_with_its_own_words() -> Result<()> {
    let patch = "{kind: ClusterConfiguration, \
                  apiServer: {extraArgs: [{name: no-such-flag, value: x}]}}";
    let error = boot_error(ClusterSpec::single_node().with_kubeadm_patch(patch)?).await?;
    assert_report_has(&error, &["kube-apiserver", "unknown flag: --no-such-flag"]);
    Ok(())
}

/// A kubelet reports a removed flag in the same way as one that never existed.
#[tokio::test]
async fn a_flag_that_the_kubelet_does_not_know_ends_the_boot_with_its_own_words() -> Result<()> {
    let patch = "{kind: InitConfiguration, nodeRegistration: {kubeletExtraArgs: {no-such: x}}}";
    let error = boot_error(ClusterSpec::single_node().with_kubeadm_patch(patch)?).await?;
    assert_report_has(&error, &["kubelet", "unknown flag: --no-such"]);
    Ok(())
}

/// A field of a later kubelet, which kubeadm would drop with only a warning.
#[tokio::test]
async fn a_field_that_this_kubeadm_would_drop_ends_the_boot() -> Result<()> {
    let patch = "{kind: KubeletConfiguration, tlsCurvePreferences: [X25519]}";
    let error = boot_error(ClusterSpec::single_node().with_kubeadm_patch(patch)?).await?;
    assert_report_has(
        &error,
        &["kubeadm 1.32.1", "unknown field \"tlsCurvePreferences\""],
    );
    assert!(
        error
            .cure_text()
            .is_some_and(|cure| cure.contains("change the patch"))
    );
    Ok(())
}

#[tokio::test]
async fn a_patch_that_would_be_dropped_is_refused_before_anything_starts() -> Result<()> {
    let patch = "{kind: ClusterConfiguration, apiServer: {extraArg: {v: 4}}}";
    let spec = ClusterSpec::single_node().with_kubeadm_patch(patch)?;
    let error = spec
        .with_recipe(RECIPE)?
        .boot()
        .await
        .err()
        .context("it booted")?;
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_report_has(
        &error,
        &[
            "ClusterConfiguration has no 'apiServer.extraArg'",
            "extraArgs",
        ],
    );
    Ok(())
}

#[tokio::test]
async fn a_containerd_that_cannot_start_ends_the_boot_with_its_own_words() -> Result<()> {
    let spec = ClusterSpec::single_node().with_containerd_patch("version = 99")?;
    let error = boot_error(spec).await?;
    assert_report_has(&error, &["containerd", "99"]);
    Ok(())
}

#[tokio::test]
async fn a_second_boot_of_the_same_name_is_refused_and_the_first_is_unharmed() -> Result<()> {
    let name = unique_name();
    let spec = ClusterSpec::single_node()
        .with_recipe(RECIPE)?
        .with_name(&name);
    let (one, other) = tokio::join!(spec.clone().boot(), spec.clone().boot());
    let (cluster, error) = match (one, other) {
        (Ok(cluster), Err(error)) | (Err(error), Ok(cluster)) => (cluster, error),
        both => bail!("of two of one name one has to boot: {both:?}"),
    };
    let later = spec.boot().await.err().context("two have one name")?;
    for error in [error, later] {
        assert_eq!(error.kind(), ErrorKind::Input);
        assert_report_has(&error, &[&name, "is taken in this process"]);
    }
    // Another process only knows the names of the containers.
    let twin = Command::new(env!("CARGO_BIN_EXE_booting")).arg(&name);
    let twin = wait::within("the refusal", SOON, twin.output()).await?;
    let taken = format!("is taken by container '{name}-control-plane'");
    assert!(twin.stderr.contains(&taken), "{}", twin.stderr);
    assert!(cluster.kubeconfig().exists());
    cluster.health().await?;
    let guard = cluster.docker().container(&format!("{name}-guard")).await?;
    assert!(
        guard.is_some_and(|guard| guard.running),
        "its guard is gone"
    );
    let known = kubenest::settings()
        .cache
        .join("killed")
        .join(&name)
        .join("known.json");
    assert!(known.exists(), "what is known of it is gone");
    Ok(cluster.down().await?)
}

#[tokio::test]
async fn a_foreign_container_with_a_nodes_name_stays() -> Result<()> {
    let engine = kubenest::engine::find().await?;
    let name = unique_name();
    let worker = format!("{name}-worker");
    let image = SmallImage::load(&engine, &name).await?;
    docker(&engine, &["create", "--name", &worker, image.reference()]).await?;
    let spec = ClusterSpec::with_workers(1)
        .with_recipe(RECIPE)?
        .with_name(&name);
    let error = spec
        .boot()
        .await
        .err()
        .context("a node took a stranger's name");
    let filter = format!("name={worker}");
    let left = docker(&engine, &["ps", "--all", "--quiet", "--filter", &filter]).await?;
    docker(&engine, &["rm", "--force", &worker]).await?;
    image.remove().await?;
    assert_report_has(&error?, &[&worker]);
    assert!(!left.is_empty(), "the stranger's container was removed");
    assert_nothing_is_left(&engine, &name).await
}

#[tokio::test]
async fn a_name_that_cannot_be_a_host_name_is_refused() -> Result<()> {
    let spec = ClusterSpec::single_node().with_name("../up");
    let error = spec.boot().await.err().context("it booted")?;
    assert_eq!(error.kind(), ErrorKind::Input);
    assert_report_has(
        &error,
        &["'../up' cannot name a cluster", "lowercase letters"],
    );
    Ok(())
}

#[tokio::test]
async fn a_node_that_drifted_from_the_lock_file_is_refused_with_the_difference() -> Result<()> {
    let engine = engine_with_image().await?;
    let folder = tempfile::tempdir()?;
    let lock = folder.path().join("kubenest.lock");
    std::fs::write(&lock, format!("[node.'{RECIPE}']\nimage = 'another'\n"))?;
    let name = unique_name();
    let boot = Command::new(env!("CARGO_BIN_EXE_booting"))
        .arg(&name)
        .env("KUBENEST_LOCK", &lock);
    let ended = wait::within("the refusal", SOON, boot.output()).await?;
    assert!(!ended.status.success());
    for words in ["component.kubernetes", ".image: \"another\" -> "] {
        assert!(ended.stderr.contains(words), "{}", ended.stderr);
    }
    assert_nothing_is_left(&engine, &name).await
}

#[tokio::test]
async fn a_cancelled_boot_leaves_nothing() -> Result<()> {
    let engine = engine_with_image().await?;
    let mut names = Vec::new();
    // When the network appears, the nodes' containers are about to be created.
    for (appears, kept) in [
        ("guard", false),
        ("kubenest-", false),
        ("control-plane", true),
    ] {
        let name = unique_name();
        let spec = ClusterSpec::with_workers(1)
            .with_recipe(RECIPE)?
            .with_name(&name)
            .with_keep(kept);
        tokio::select! {
            booted = spec.boot() => bail!("the boot was not given up: {booted:?}"),
            seen = wait_for_part(&engine, &name, appears) => seen?,
        }
        assert_nothing_is_left(&engine, &name).await?;
        names.push(name);
    }
    for name in names {
        assert_nothing_is_left(&engine, &name).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_process_killed_during_a_boot_leaves_nothing() -> Result<()> {
    let engine = engine_with_image().await?;
    let mut names = Vec::new();
    for (appears, kept) in [("kubenest-", None), ("control-plane", Some("kept"))] {
        let name = unique_name();
        let boot = Command::new(env!("CARGO_BIN_EXE_booting"))
            .arg(&name)
            .args(kept);
        // Dropping the future kills the program by SIGKILL.
        tokio::select! {
            ended = boot.output() => bail!("it was not killed: {ended:?}"),
            seen = wait_for_part(&engine, &name, appears) => seen?,
        }
        wait::until(
            "the end of all it made",
            CLEAN,
            async || match remains_of(&engine, &name).await {
                Ok(left) if left.is_empty() => Probe::Ready(()),
                Ok(left) => Probe::Pending(left.join(" ")),
                Err(error) => Probe::Pending(format!("{error:#}")),
            },
        )
        .await?;
        cluster::forget_dead(std::slice::from_ref(&engine)).await?;
        names.push(name);
    }
    for name in names {
        assert_nothing_is_left(&engine, &name).await?;
    }
    Ok(())
}

/// The error of a boot, which must fail soon and leave nothing.
async fn boot_error(spec: ClusterSpec) -> Result<Error> {
    let engine = engine_with_image().await?;
    let name = unique_name();
    let spec = spec.with_recipe(RECIPE)?.with_name(&name);
    let boot = async { Ok(spec.boot().await.err()) };
    let error = wait::within("the boot to fail", SOON, boot).await?;
    assert_nothing_is_left(&engine, &name).await?;
    error.context("it booted")
}

/// The engine with the node image, so that no build adds to the time of a boot.
async fn engine_with_image() -> Result<Docker> {
    let engine = kubenest::engine::find().await?;
    NodeImage::ensure(&engine, &Recipe::named(RECIPE)?).await?;
    Ok(engine)
}

fn assert_report_has(error: &Error, words: &[&str]) {
    let report = error.report();
    for word in words {
        assert!(report.contains(word), "no '{word}' in: {report}");
    }
}

/// Waits until a container, network or volume of the cluster has `part` in its name.
async fn wait_for_part(engine: &Docker, cluster: &str, part: &str) -> kubenest::Result<()> {
    wait::until(part, SOON, async || {
        match remains_of(engine, cluster).await {
            Ok(there) if there.iter().any(|name| name.contains(part)) => Probe::Ready(()),
            Ok(there) => Probe::Pending(there.join(" ")),
            Err(error) => Probe::Pending(format!("{error:#}")),
        }
    })
    .await
}

async fn assert_nothing_is_left(engine: &Docker, cluster: &str) -> Result<()> {
    assert_eq!(remains_of(engine, cluster).await?, Vec::<String>::new());
    let folder = kubenest::settings().cache.join("clusters").join(cluster);
    assert!(!folder.exists(), "'{}' is left", folder.display());
    Ok(())
}
