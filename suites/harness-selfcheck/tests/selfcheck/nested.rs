//! Clusters in pods of other clusters: they are clusters like any other, a layer that is not fit for one
//! is refused, and they end with what is around them.

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use harness_selfcheck::{good_node, remains_of, unique_name};
use kubenest::{
    Cluster, ClusterSpec, ErrorKind, cluster,
    images::SmallImage,
    wait::{self, Probe},
};
use kubenest_forge::image;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

const SOON: Duration = Duration::from_secs(120);

/// Counts the engines in the pods of a node.
const ENGINES: [&str; 3] = ["pgrep", "--count", "dockerd"];

#[tokio::test]
async fn a_cluster_in_a_pod_is_like_any_other_and_goes_with_the_pod() -> Result<()> {
    let outer = good_node()?.boot().await?;
    unfit_layers_are_refused(&outer).await?;
    a_job_has_an_engine_beside_it(&outer).await?;

    let inner = outer.nest(&good_node()?).await?;
    assert_eq!((outer.depth(), inner.depth()), (0, 1));
    let image = SmallImage::load(inner.docker(), "nested").await?;
    inner.images().load(image.reference()).await?;
    inner
        .case(async |case| {
            case.create(&image.pod("small", image.reference())).await?;
            case.pod_ready("small", SOON).await?;
            Ok(())
        })
        .await?;
    // Each layer's name server asks that of the layer around it. An engine keeps names without a dot
    // to itself, and knows its containers also by the name of their network.
    let (node, outer_node) = (inner.control_plane(), outer.control_plane());
    let name = format!("{outer_node}.kubenest-{}", outer.name());
    node.exec_ok(&["getent", "hosts", &name]).await?;
    // A process that a node does not see would show that it shares its cgroup with other nodes.
    let script = "cat /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/unified/cgroup.procs || true";
    let processes = node.exec_ok(&["sh", "-c", script]).await?.text();
    ensure!(processes.lines().all(|pid| pid != "0"), "{processes}");
    assert_ne!(engines_in(&outer).await?, "0");
    evidence_tells_of_every_layer(&outer, &inner).await?;
    inner.down().await?;
    assert_eq!(engines_in(&outer).await?, "0");
    outer.health().await?;
    Ok(outer.down().await?)
}

/// Also when the engine between them was killed, which takes the inner cluster along.
async fn evidence_tells_of_every_layer(outer: &Cluster, inner: &Cluster) -> Result<()> {
    let (around, within) = (outer.control_plane(), inner.control_plane());
    let around_log = format!("layers/{}/nodes/{around}/kubelet.log", outer.name());
    let within_log = format!("nodes/{within}/kubelet.log");
    let kept = inner.evidence().await?;
    for file in ["index.html", &around_log, &within_log] {
        ensure!(kept.folder.join(file).is_file(), "no {file}: {kept}");
    }
    around
        .exec_ok(&["pkill", "--signal", "KILL", "dockerd"])
        .await?;
    let kept = inner.evidence().await?;
    ensure!(kept.folder.join(&around_log).is_file(), "{kept}");
    ensure!(!kept.folder.join(&within_log).is_file(), "{kept}");
    let missing = kept.missing.iter().map(|missing| missing.node.as_str());
    let missing: Vec<&str> = missing.filter(|node| !node.is_empty()).collect();
    ensure!(
        missing.iter().all(|node| *node == within.name()),
        "{missing:?}"
    );
    ensure!(!missing.is_empty(), "{kept}");
    Ok(())
}

/// The image of the engine itself has a Docker client, too.
async fn a_job_has_an_engine_beside_it(outer: &Cluster) -> Result<()> {
    let missing = outer.job_pod("kubenest.local/missing:v1").await.err();
    let report = missing.context("no image is needed")?.report();
    ensure!(
        report.contains("has no image 'kubenest.local/missing:v1'"),
        "{report}"
    );

    let image = image::nested_engine(outer.docker()).await?.reference;
    outer.images().load(image.as_str()).await?;
    let job = outer.job_pod(&image).await?;
    let told = job
        .exec(&["docker", "info", "--format", "{{.Name}}"])
        .await?;
    ensure!(
        told.text().trim() == job.name(),
        "{}{}",
        told.text(),
        told.stderr
    );
    // What the job writes into its folder, a container of the engine mounts from there.
    let small = SmallImage::load(job.docker(), "in-a-job").await?;
    job.exec(&["sh", "-c", "echo seen > note"]).await?;
    let run = [
        "docker",
        "run",
        "--rm",
        "--volume=/kubenest/note:/note",
        "--entrypoint=/bin/busybox",
        small.reference(),
        "cat",
        "/note",
    ];
    let told = job.exec(&run).await?;
    ensure!(told.text() == "seen\n", "{}{}", told.text(), told.stderr);
    job.down().await?;
    assert_eq!(engines_in(outer).await?, "0");
    Ok(())
}

/// A layer that does not fit is refused before anything is started, one that is broken before a node
/// is.
async fn unfit_layers_are_refused(outer: &Cluster) -> Result<()> {
    let error = outer.nest(&ClusterSpec::with_workers(200)).await.err();
    let error = error.context("200 workers fit")?;
    assert_eq!(error.kind(), ErrorKind::Refused);
    ensure!(
        error.report().contains("does not fit"),
        "{}",
        error.report()
    );

    let node = outer.control_plane();
    let servers = node.read_file("/etc/resolv.conf").await?;
    let write = ["bash", "-c", "cat > /etc/resolv.conf"];
    node.exec_with(&write, b"nameserver 127.0.0.11\n".to_vec())
        .await?;
    let error = outer
        .nest(&good_node()?.with_name("on-loopback"))
        .await
        .err();
    node.exec_with(&write, servers).await?;
    let report = error.context("a name server on loopback is fit")?.report();
    let layer = format!("health check 'dns' failed on {}/on-loopback", outer.name());
    ensure!(report.contains(&layer), "{report}");
    assert_eq!(
        engines_in(outer).await?,
        "0",
        "the pod of the refused cluster"
    );
    Ok(())
}

async fn engines_in(outer: &Cluster) -> Result<String> {
    let told = outer.control_plane().exec(&ENGINES).await?.text();
    Ok(told.trim().to_owned())
}

#[tokio::test]
async fn a_killed_process_leaves_nothing_at_any_layer() -> Result<()> {
    let name = unique_name();
    #[expect(clippy::disallowed_methods, reason = "it stays while the test goes on")]
    let mut command = Command::new(env!("CARGO_BIN_EXE_booting"));
    let kept = tempfile::tempdir()?;
    let command = command.args([&name, "nested"]).stdout(Stdio::piped());
    let command = command.env("KUBENEST_EVIDENCE", kept.path());
    let mut process = command.kill_on_drop(true).spawn()?;
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let up = lines.next_line().await?.context("it ended")?;
    assert_eq!(up, format!("{name}-in is up"));

    let engine = kubenest::engine::find().await?;
    let node = engine.container(&format!("{name}-control-plane")).await?;
    let node = node.context("there is no outer node")?;
    let var = node.mounts.get("/var").context("the node has no volume")?;
    assert!(Path::new(var).is_dir() && has_cgroup(&node.id)?);
    process.kill().await?;
    wait::until(
        "the end of all that it made",
        SOON,
        async || match remains_of(&engine, &name).await {
            Ok(left) if left.is_empty() => Probe::Ready(()),
            Ok(left) => Probe::Pending(left.join(" ")),
            Err(error) => Probe::Pending(format!("{error:#}")),
        },
    )
    .await?;
    ensure!(!Path::new(var).exists(), "'{var}' is left");
    ensure!(!has_cgroup(&node.id)?, "a cgroup of '{}' is left", node.id);
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains(var.as_str()), "{mounts}");
    let folders = ["", "-in"].map(|end| {
        let clusters = kubenest::settings().cache.join("clusters");
        clusters.join(format!("{name}{end}"))
    });
    ensure!(folders.iter().all(|folder| folder.is_dir()));
    the_guard_has_kept_what_the_inner_node_said(&name, kept.path()).await?;
    cluster::forget_dead(std::slice::from_ref(&engine)).await?;
    ensure!(folders.iter().all(|folder| !folder.exists()), "{folders:?}");
    Ok(())
}

async fn the_guard_has_kept_what_the_inner_node_said(outer: &str, home: &Path) -> Result<()> {
    let (_, finished) = kubenest_evidence::finish(kubenest::settings()).await;
    finished?;
    let log = format!("nodes/{outer}-in-control-plane/kubelet.log");
    let bundles = fs::read_dir(home)?.flatten();
    let mut kept = bundles.filter_map(|bundle| fs::read_to_string(bundle.path().join(&log)).ok());
    ensure!(
        kept.any(|log| log.contains("Started kubelet")),
        "no bundle in '{}' has {log}",
        home.display()
    );
    Ok(())
}

/// Whether this machine has a cgroup of the container with this id.
fn has_cgroup(id: &str) -> Result<bool> {
    let mut folders = vec![Path::new("/sys/fs/cgroup").to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(id) {
                return Ok(true);
            }
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(false)
}
