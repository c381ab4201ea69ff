//! Loading images: into every generation of containerd, from every kind of source, into several
//! nodes at once, and by processes that are killed.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{fs, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, ensure};
use harness_selfcheck::{
    RECIPE,
    archives::{ctr, state},
    built::{Built, archive, sent_and_skipped},
    change_kubelet_config, docker, remains_of,
};
use kubenest::{
    Case, Cluster, ClusterSpec, ErrorKind,
    engine::Docker,
    images::{ImageSource, Images, Load, Pin},
    node::Node,
    wait::{self, Probe},
};
use kubenest_base::settings::EngineRelease;
use kubenest_docker::discover::{Address, Endpoint, Origin};
use kubenest_fixtures::{kind::Kind, registry::LocalRegistry};
use kubenest_forge::image::architecture;
use tokio::{io::copy_bidirectional, net, process::Command};

const MIB: u64 = 1 << 20;

/// How long a node may take to be healthy again on a busy machine.
const SOON: Duration = Duration::from_secs(120);

#[tokio::test]
async fn containerd_1_6_which_ignores_pins() -> Result<()> {
    check_loads_on("v1.32.1-containerd-1.6.20", Pin::Ignored).await
}

#[tokio::test]
async fn containerd_2_1_with_the_native_snapshotter() -> Result<()> {
    check_loads_on("v1.32.1-containerd-2.1.9-native", Pin::Held).await
}

#[tokio::test]
async fn containerd_2_3() -> Result<()> {
    check_loads_on("v1.32.1-containerd-2.3.4", Pin::Held).await
}

async fn check_loads_on(recipe: &str, pin: Pin) -> Result<()> {
    let spec = ClusterSpec::single_node().with_recipe(recipe)?;
    let cluster = spec.boot().await?;
    cluster
        .case(async |case| check_loads(case, pin).await.map(drop))
        .await?;
    Ok(cluster.down().await?)
}

/// Loads a new image, the same again, one with a changed top layer, and an archive; runs a pod from
/// each new one.
async fn check_loads(case: &Case<'_>, pin: Pin) -> Result<Built> {
    let built = Built::new(case.cluster().docker(), case.cluster().name()).await?;
    built.build("one").await?;
    let first = load(case, built.name.as_str()).await?;
    assert_eq!(first.names, [format!("docker.io/library/{}", built.name)]);
    assert_eq!(sent_and_skipped(&first), [(6, 0)], "{first:?}");
    assert!(first.nodes[0].sent_bytes > 20 * MIB, "{first:?}");
    assert_eq!(first.nodes[0].pin, pin);
    assert_eq!(built.run(case, "first", &built.name).await?, "one");
    assert_eq!(is_pinned(case.node(), &built.name).await?, pin == Pin::Held);

    let again = load(case, built.name.as_str()).await?;
    assert_eq!(sent_and_skipped(&again), [(0, 6)], "{again:?}");
    assert_eq!(again.nodes[0].sent_bytes, 0);
    assert_eq!(again.nodes[0].pin, pin);

    built.build("two").await?;
    let changed = load(case, built.name.as_str()).await?;
    assert_eq!(sent_and_skipped(&changed), [(3, 3)], "{changed:?}");
    assert!(changed.nodes[0].sent_bytes < 2 * MIB, "{changed:?}");
    assert_eq!(built.run(case, "changed", &built.name).await?, "two");
    assert_eq!(is_pinned(case.node(), &built.name).await?, pin == Pin::Held);

    built.build("three").await?;
    let saved = built.save("three.tar").await?;
    let source = ImageSource::archive(&saved).with_name("saved.local/app:3");
    let loaded = load(case, source).await?;
    assert_eq!(loaded.names, ["saved.local/app:3"]);
    assert_eq!(sent_and_skipped(&loaded), [(3, 3)], "{loaded:?}");
    assert_eq!(
        built.run(case, "saved", "saved.local/app:3").await?,
        "three"
    );

    case.node()
        .exec_ok(&["systemctl", "restart", "containerd"])
        .await?;
    let again = load_when_ready(case, &built.name).await?;
    assert!(
        again.nodes[0].sent_blobs <= 1,
        "it was there by another name: {again:?}"
    );
    // The same image under its other name keeps its pin.
    case.cluster().images().release("saved.local/app:3").await?;
    assert_eq!(is_pinned(case.node(), &built.name).await?, pin == Pin::Held);
    Ok(built)
}

/// The other kind of engine: boots a cluster on it, and loads images from its store.
#[tokio::test]
async fn docker_29_with_containerds_image_store() -> Result<()> {
    let engine =
        kubenest_forge::engine::embedded(EngineRelease::Docker29, kubenest::settings()).await?;
    let info = engine.info().await?;
    ensure!(
        info.containerd_store && info.version.starts_with("29."),
        "{info:?}"
    );
    let spec = ClusterSpec::single_node().with_recipe(RECIPE)?;
    let cluster = spec.with_engine(&engine).boot().await?;
    let name = cluster.name().to_owned();
    cluster
        .case(async |case| {
            let built = check_loads(case, Pin::Held).await?;
            check_absent_platform_is_ignored(case, &built).await?;
            check_remote_engine(case, &built).await
        })
        .await?;
    // The guard removes the cluster, in this engine too.
    drop(cluster);
    let gone = wait::until("the cluster's end", SOON, async || {
        match remains_of(&engine, &name).await {
            Ok(left) if left.is_empty() => Probe::Ready(()),
            left => Probe::Pending(format!("{left:?}")),
        }
    });
    Ok(gone.await?)
}

/// A pulled image has an index of platforms, some of which the engine does not have.
async fn check_absent_platform_is_ignored(case: &Case<'_>, built: &Built) -> Result<()> {
    let engine = case.cluster().docker();
    let pulled = format!("pulled-{}", built.name);
    built.build("pulled").await?;
    built.load_as_pulled(&pulled).await?;
    let kind = Kind::release("0.27.0").await?;
    let kind = kind.load(case.cluster(), &pulled).await?;
    let absent = format!("content digest sha256:{}: not found", "5".repeat(64));
    assert!(kind.stderr.contains(&absent), "{}", kind.stderr);
    let loaded = load(case, pulled.as_str()).await?;
    assert!(loaded.nodes[0].sent_bytes < MIB, "{loaded:?}");
    assert_eq!(built.run(case, "pulled", &pulled).await?, "pulled");
    let again = load(case, pulled.as_str()).await?;
    assert_eq!(sent_and_skipped(&again), [(0, 6)], "{again:?}");
    let once = count_saves(engine, &built.name).await?;
    assert_eq!(once, 1, "the load was to be read in place");

    built.build("far and pulled").await?;
    built.load_as_pulled(&pulled).await?;
    let (remote, nodes) = attach_remotely(case).await?;
    let loaded = Images::of(&remote, &nodes).load(pulled.as_str()).await?;
    assert_eq!(sent_and_skipped(&loaded), [(3, 3)], "{loaded:?}");
    assert_eq!(
        built.run(case, "far-pulled", &pulled).await?,
        "far and pulled"
    );
    assert_eq!(count_saves(engine, &built.name).await?, 2);
    Ok(())
}

/// How often the engine has saved this image, by its own events, which are some seconds late;
/// [`Built::load_as_pulled`] counts as one.
async fn count_saves(engine: &Docker, image: &str) -> Result<usize> {
    let id = engine.image(image).await?.context("it must be there")?.id;
    let events = ["events", "--since=1h", "--until=0s", "--filter=event=save"];
    let told = docker(engine, &events).await?;
    Ok(told.lines().filter(|line| line.contains(&id)).count())
}

/// A daemon that has just been restarted may not answer yet.
async fn load_when_ready(case: &Case<'_>, name: &str) -> Result<Load> {
    let loaded = wait::until("a load", SOON, async || {
        Probe::from_result(case.cluster().images().load(name).await)
    });
    Ok(loaded.await?)
}

#[tokio::test]
async fn two_nodes_load_an_image_together_or_not_at_all() -> Result<()> {
    let cluster = ClusterSpec::with_workers(1)
        .with_recipe(RECIPE)?
        .boot()
        .await?;
    let built = cluster
        .case(async |case| {
            let built = Built::new(cluster.docker(), cluster.name()).await?;
            built.build("one").await?;
            let half = Images::of(case.cluster().docker(), &case.cluster().nodes()[1..]);
            let worker = half.load(built.name.as_str()).await?;
            assert_eq!(sent_and_skipped(&worker), [(6, 0)]);
            let both = load(case, built.name.as_str()).await?;
            assert_eq!(sent_and_skipped(&both), [(6, 0), (0, 6)], "{both:?}");
            assert_eq!(both.nodes[0].sent_bytes, worker.nodes[0].sent_bytes);
            built.build("two").await?;
            let both = load(case, built.name.as_str()).await?;
            assert_eq!(sent_and_skipped(&both), [(3, 3), (3, 3)], "{both:?}");
            for node in case.cluster().nodes() {
                let name = node.name();
                assert_eq!(built.run_on(case, name, name, &built.name).await?, "two");
            }
            check_remote_engine(case, &built).await?;
            check_load_from_registry(case, &built).await?;
            check_killed_load(case, &built).await?;
            check_failed_loads_change_nothing(case, &built).await?;
            Ok(built)
        })
        .await?;
    check_restarted_node_is_restored(&cluster, &built).await?;
    Ok(cluster.down().await?)
}

/// The worker loses a pin and kubelet settings, and is killed and restarted. That restores neither,
/// but the next test finds both restored.
async fn check_restarted_node_is_restored(cluster: &Cluster, built: &Built) -> Result<()> {
    let (docker, worker, name) = (cluster.docker(), &cluster.nodes()[1], &built.name);
    let full = format!("docker.io/library/{name}");
    let unpin = "io.cri-containerd.pinned=";
    ctr(worker, &["images", "label", &full, unpin]).await?;
    let told = change_kubelet_config(worker).await?;
    docker.kill_container(worker.name(), "SIGKILL").await?;
    docker.start_container(worker.name()).await?;
    let told = format!("health check 'kubelet' failed on {worker}: {told}");
    wait::until(
        "the worker to be well but for that",
        SOON,
        async || match cluster.health().await {
            Err(error) if error.to_string() == told => Probe::Ready(()),
            health => Probe::Pending(format!("{health:?}")),
        },
    )
    .await?;
    assert!(
        !is_pinned(worker, name).await?,
        "the pin is there without its label"
    );
    let next = cluster.case(async |case| {
        assert!(is_pinned(worker, name).await?, "the pin was not put back");
        let said = built.run_on(case, worker.name(), "again", name).await?;
        assert_eq!(said, "after the killing");
        Ok(())
    });
    next.await
}

/// Loads through the same engine over TCP, as if it were remote: its store cannot be read directly,
/// and nodes are reached through the engine.
async fn check_remote_engine(case: &Case<'_>, built: &Built) -> Result<()> {
    let (remote, nodes) = attach_remotely(case).await?;
    built.build("from afar").await?;
    let loaded = Images::of(&remote, &nodes)
        .load(built.name.as_str())
        .await?;
    assert_eq!(
        sent_and_skipped(&loaded),
        vec![(3, 3); nodes.len()],
        "{loaded:?}"
    );
    assert_eq!(built.run(case, "far", &built.name).await?, "from afar");
    let again = Images::of(&remote, &nodes)
        .load(built.name.as_str())
        .await?;
    assert_eq!(
        sent_and_skipped(&again),
        vec![(0, 6); nodes.len()],
        "{again:?}"
    );
    Ok(())
}

async fn attach_remotely(case: &Case<'_>) -> Result<(Docker, Vec<Node>)> {
    let remote = remote_engine(case.cluster().docker()).await?;
    let mut nodes = Vec::new();
    for node in case.cluster().nodes() {
        nodes.push(Node::attach(&remote, node.name(), node.role()).await?);
    }
    Ok((remote, nodes))
}

async fn remote_engine(docker: &Docker) -> Result<Docker> {
    let socket = docker
        .socket()
        .context("the engine must be here")?
        .to_owned();
    let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut remote = net::UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut remote).await });
        }
    });
    let address = Address::Tcp { host, tls: None };
    let origin = Origin::Variable;
    Ok(Docker::at(&Endpoint { address, origin }, kubenest::settings()).await?)
}

/// Loads an image from a registry by digest, and runs a pod by the same reference.
async fn check_load_from_registry(case: &Case<'_>, built: &Built) -> Result<()> {
    let docker = case.cluster().docker();
    let registry = LocalRegistry::start(docker).await?;
    built.build("pushed").await?;
    let reference = registry.publish(&built.name, "app", "1").await?;
    let loaded = load(case, ImageSource::registry(&reference)).await?;
    docker.remove_image(&reference).await?;
    registry.stop().await?;
    assert_eq!(loaded.names, std::slice::from_ref(&reference));
    assert_eq!(sent_and_skipped(&loaded), [(3, 3), (3, 3)], "{loaded:?}");
    assert_eq!(built.run(case, "pushed", &reference).await?, "pushed");
    Ok(())
}

/// A load that is killed leaves no image name and only an expiring lease, which the next load
/// removes.
async fn check_killed_load(case: &Case<'_>, built: &Built) -> Result<()> {
    let node = case.node();
    let large = built.folder().join("large.tar");
    let digest = archive(&large, "killed:1", architecture(), LARGE).await?;
    check_dropped_load(case, &large, &digest).await?;
    #[expect(clippy::disallowed_methods, reason = "it is killed while it works")]
    let mut child = Command::new(env!("CARGO_BIN_EXE_loading"))
        .arg(node.name())
        .arg(&large)
        .env(
            "DOCKER_HOST",
            case.cluster().docker().endpoint().to_string(),
        )
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    wait_for_ingest(node, &digest).await?;
    child.kill().await?;
    let leases = ctr(node, &["leases", "list"]).await?;
    ensure!(
        leases.contains("kubenest-"),
        "it had ended before: {leases}"
    );
    assert!(leases.contains("containerd.io/gc.expire="), "{leases}");
    assert_eq!(find(node, "killed:1").await?, None);
    assert!(!ctr(node, &["images", "list"]).await?.contains("killed"));

    built.build("after the killing").await?;
    load(case, built.name.as_str()).await?;
    let leases = ctr(node, &["leases", "list"]).await?;
    assert!(!leases.contains("kubenest-"), "{leases}");
    for list in [["content", "active"], ["content", "list"]] {
        let text = ctr(node, &list).await?;
        assert!(!text.contains(&digest), "{text}");
    }
    Ok(())
}

/// A load whose future is dropped cleans up after itself.
async fn check_dropped_load(case: &Case<'_>, large: &Path, digest: &str) -> Result<()> {
    let node = case.node();
    let first = Images::of(case.cluster().docker(), &case.cluster().nodes()[..1]);
    tokio::select! {
        ended = first.load(ImageSource::archive(large)) => anyhow::bail!("it had ended before: {ended:?}"),
        seen = wait_for_ingest(node, digest) => seen?,
    }
    let clean = wait::until("the lease's end", SOON, async || {
        let left = async {
            let leases = ctr(node, &["leases", "list", "--quiet"]).await?;
            Ok::<_, anyhow::Error>(leases + &ctr(node, &["content", "active"]).await?)
        };
        match left.await {
            Ok(left) if !left.contains("kubenest-") && !left.contains(digest) => Probe::Ready(()),
            left => Probe::Pending(format!("{left:?}")),
        }
    });
    Ok(clean.await?)
}

async fn wait_for_ingest(node: &Node, digest: &str) -> Result<()> {
    let seen = wait::until("bytes under way", SOON, async || {
        match ctr(node, &["content", "active"]).await {
            Ok(text) if text.contains(digest) => Probe::Ready(()),
            other => Probe::Pending(format!("{other:?}")),
        }
    });
    Ok(seen.await?)
}

/// Broken sources give an error with a cure, and leave the nodes unchanged.
async fn check_failed_loads_change_nothing(case: &Case<'_>, built: &Built) -> Result<()> {
    let node = case.node();
    let before = state(node).await?;
    let whole = built.save("whole.tar").await?;
    let folder = built.folder();
    let corrupt = folder.join("corrupt.tar");
    archive(&corrupt, "corrupt:1", architecture(), LARGE).await?;
    let bytes = fs::OpenOptions::new().write(true).open(&corrupt)?;
    std::os::unix::fs::FileExt::write_all_at(&bytes, b"!", LARGE / 2)?;
    let short = folder.join("short.tar");
    fs::copy(&whole, &short)?;
    let file = fs::OpenOptions::new().write(true).open(&short)?;
    file.set_len(file.metadata()?.len() / 2)?;
    for (source, told) in [
        (ImageSource::archive(&corrupt), "is corrupt: it has digest"),
        (ImageSource::archive(&short), "it ends within"),
        (ImageSource::archive(folder.join("none.tar")), "open '"),
        (ImageSource::archive(folder), "is no file"),
        (ImageSource::oci_layout(folder), "has neither 'index.json'"),
        (
            ImageSource::engine("none.local/none:1"),
            "the engine has no image",
        ),
        (ImageSource::registry("a.local/b:1"), "it has no digest"),
        (ImageSource::engine("Not A Name"), "is no image's name"),
    ] {
        let error = case.cluster().images().load(source).await.unwrap_err();
        assert!(error.report().contains(told), "{error:?}");
        assert!(error.cure_text().is_some(), "{error:?}");
        assert_ne!(error.kind(), ErrorKind::Timeout, "{error:?}");
    }
    let first = Images::of(case.cluster().docker(), &case.cluster().nodes()[..1]);
    let full = load_to_full_disk(node, first, &corrupt).await?;
    assert!(
        full.report().contains("no space left on device"),
        "{full:?}"
    );
    assert!(
        full.cure_text().unwrap().contains("free disk space"),
        "{full:?}"
    );
    assert_eq!(state(node).await?, before);
    Ok(())
}

/// The error of a load when containerd's disk is full.
async fn load_to_full_disk(
    node: &Node,
    images: Images<'_>,
    large: &Path,
) -> Result<kubenest::Error> {
    const INGEST: &str = "/var/lib/containerd/io.containerd.content.v1.content/ingest";
    let mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", INGEST];
    node.exec_ok(&mount).await?;
    let loaded = images.load(ImageSource::archive(large)).await;
    node.exec_ok(&["umount", INGEST]).await?;
    loaded.err().context("it must not have fitted")
}

const LARGE: u64 = 512 << 20;

async fn load(case: &Case<'_>, source: impl Into<ImageSource>) -> Result<Load> {
    Ok(case.cluster().images().load(source).await?)
}

async fn find(node: &Node, name: &str) -> Result<Option<kubenest::node::cri::Image>> {
    Ok(node.cri().await?.image(name).await?)
}

async fn is_pinned(node: &Node, name: &str) -> Result<bool> {
    let image = find(node, name).await?.context("CRI must see it")?;
    Ok(image.pinned)
}
