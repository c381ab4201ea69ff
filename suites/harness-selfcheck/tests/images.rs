//! Images loaded into nodes: on every generation of containerd, from every kind of source, into
//! several nodes at once, and by processes that die.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use harness_selfcheck::{RECIPE, docker};
use kubenest::{
    Case, Cluster, ClusterSpec, ErrorKind,
    docker::{
        Docker,
        discover::{Address, Endpoint, Origin},
    },
    image::SmallImage,
    images::{Images, Loaded, Pin, Source},
    k8s_openapi::api::core::v1::Pod,
    kube::api::LogParams,
    node::{Node, containerd::Containerd},
    process,
    tools::LocalRegistry,
    wait::{self, Probe},
};
use tempfile::TempDir;
use tokio::{io::copy_bidirectional, net, process::Command};

const MIB: u64 = 1 << 20;

#[tokio::test]
async fn containerd_1_6_which_ignores_pins() -> Result<()> {
    takes_images("v1.32.1-containerd-1.6.20", Pin::Ignored).await
}

#[tokio::test]
async fn containerd_1_7() -> Result<()> {
    takes_images("v1.32.1-containerd-1.7.24", Pin::Held).await
}

#[tokio::test]
async fn containerd_2_0() -> Result<()> {
    takes_images("v1.32.1-containerd-2.0.2", Pin::Held).await
}

#[tokio::test]
async fn containerd_2_1() -> Result<()> {
    takes_images("v1.32.1-containerd-2.1.9", Pin::Held).await
}

#[tokio::test]
async fn containerd_2_1_with_the_native_snapshotter() -> Result<()> {
    takes_images("v1.32.1-containerd-2.1.9-native", Pin::Held).await
}

#[tokio::test]
async fn containerd_2_3() -> Result<()> {
    takes_images("v1.32.1-containerd-2.3.4", Pin::Held).await
}

/// First load, unchanged, changed top layer, an archive: a pod runs from each that is new.
async fn takes_images(recipe: &str, pin: Pin) -> Result<()> {
    let cluster = ClusterSpec::single_node()
        .with_recipe(recipe)?
        .boot()
        .await?;
    cluster
        .case(async |case| {
            let built = Built::new(case.cluster(), recipe).await?;
            built.build("one").await?;
            let first = load(case, built.name.as_str()).await?;
            assert_eq!(first.names, [format!("docker.io/library/{}", built.name)]);
            assert_eq!(sent(&first), [(6, 0)], "{first:?}");
            assert!(first.nodes[0].sent_bytes > 20 * MIB, "{first:?}");
            assert_eq!(first.nodes[0].pin, pin);
            assert_eq!(built.run(case, "first", &built.name).await?, "one");
            assert_eq!(pinned(case.node(), &built.name).await?, pin == Pin::Held);

            let again = load(case, built.name.as_str()).await?;
            assert_eq!(sent(&again), [(0, 6)], "{again:?}");
            assert_eq!(again.nodes[0].sent_bytes, 0);
            assert_eq!(again.nodes[0].pin, pin);

            built.build("two").await?;
            let changed = load(case, built.name.as_str()).await?;
            assert_eq!(sent(&changed), [(3, 3)], "{changed:?}");
            assert!(changed.nodes[0].sent_bytes < 2 * MIB, "{changed:?}");
            assert_eq!(built.run(case, "changed", &built.name).await?, "two");
            assert_eq!(pinned(case.node(), &built.name).await?, pin == Pin::Held);

            built.build("three").await?;
            let archive = built.save("three.tar").await?;
            let source = Source::archive(&archive).named("saved.local/app:3");
            let loaded = load(case, source).await?;
            assert_eq!(loaded.names, ["saved.local/app:3"]);
            assert_eq!(sent(&loaded), [(3, 3)], "{loaded:?}");
            assert_eq!(
                built.run(case, "saved", "saved.local/app:3").await?,
                "three"
            );

            case.node()
                .exec_ok(&["systemctl", "restart", "containerd"])
                .await?;
            let again = load(case, built.name.as_str()).await;
            let again = wait_for_containerd(again, case, &built.name).await?;
            assert!(
                again.nodes[0].sent_blobs <= 1,
                "it was there by another name: {again:?}"
            );
            assert_eq!(pinned(case.node(), &built.name).await?, pin == Pin::Held);
            Ok(())
        })
        .await?;
    Ok(cluster.down().await?)
}

/// A daemon that has just been restarted may not answer yet.
async fn wait_for_containerd(first: Result<Loaded>, case: &Case<'_>, name: &str) -> Result<Loaded> {
    if first.is_ok() {
        return first;
    }
    let loaded = wait::until("a load", Duration::from_secs(30), async || {
        Probe::from_result(case.cluster().images().load(name).await)
    });
    Ok(loaded.await?)
}

#[tokio::test]
async fn two_nodes_take_an_image_at_once_and_give_up_as_one() -> Result<()> {
    let cluster = ClusterSpec::with_workers(1)
        .with_recipe(RECIPE)?
        .boot()
        .await?;
    cluster
        .case(async |case| {
            let built = Built::new(case.cluster(), "two nodes").await?;
            built.build("one").await?;
            let half = Images::of(case.cluster().docker(), &case.cluster().nodes()[1..]);
            let worker = half.load(built.name.as_str()).await?;
            assert_eq!(sent(&worker), [(6, 0)]);
            let both = load(case, built.name.as_str()).await?;
            assert_eq!(sent(&both), [(6, 0), (0, 6)], "{both:?}");
            assert_eq!(both.nodes[0].sent_bytes, worker.nodes[0].sent_bytes);
            built.build("two").await?;
            let both = load(case, built.name.as_str()).await?;
            assert_eq!(sent(&both), [(3, 3), (3, 3)], "{both:?}");
            for node in case.cluster().nodes() {
                let mut pod = built.pod(node.name(), &built.name);
                pod.spec.as_mut().unwrap().node_name = Some(node.name().to_owned());
                assert_eq!(built.run_pod(case, &pod).await?, "two");
            }
            a_remote_engine_streams(case, &built).await?;
            a_registry_gives_by_digest(case, &built).await?;
            a_killed_load_leaves_nothing(case, &built).await?;
            what_cannot_be_loaded_changes_nothing(case, &built).await
        })
        .await?;
    Ok(cluster.down().await?)
}

/// The same engine over TCP, as if it were far away: its store cannot be read, and its nodes are
/// reached through it.
async fn a_remote_engine_streams(case: &Case<'_>, built: &Built) -> Result<()> {
    let far = far(case.cluster().docker()).await?;
    let mut nodes = Vec::new();
    for node in case.cluster().nodes() {
        nodes.push(Node::attach(&far, node.name(), node.role()).await?);
    }
    built.build("three").await?;
    let loaded = Images::of(&far, &nodes).load(built.name.as_str()).await?;
    assert_eq!(sent(&loaded), [(3, 3), (3, 3)], "{loaded:?}");
    assert_eq!(built.run(case, "far", &built.name).await?, "three");
    let again = Images::of(&far, &nodes).load(built.name.as_str()).await?;
    assert_eq!(sent(&again), [(0, 6), (0, 6)], "{again:?}");
    Ok(())
}

async fn far(docker: &Docker) -> Result<Docker> {
    let socket = docker
        .socket()
        .context("the engine must be here")?
        .to_owned();
    let listener = net::TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let mut far = net::UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    let address = Address::Tcp { host, tls: None };
    let origin = Origin::Variable;
    Ok(Docker::at(&Endpoint { address, origin }).await?)
}

/// The engine pulls what the registry has under the digest, and pods ask for it by that.
async fn a_registry_gives_by_digest(case: &Case<'_>, built: &Built) -> Result<()> {
    let docker = case.cluster().docker();
    let registry = LocalRegistry::start(docker).await?;
    built.build("pushed").await?;
    let reference = registry.publish(&built.name, "app", "1").await?;
    let loaded = load(case, Source::registry(&reference)).await?;
    docker.remove_image(&reference).await?;
    registry.stop().await?;
    assert_eq!(loaded.names, std::slice::from_ref(&reference));
    assert_eq!(sent(&loaded), [(3, 3), (3, 3)], "{loaded:?}");
    assert_eq!(built.run(case, "pushed", &reference).await?, "pushed");
    Ok(())
}

/// `kill -9` in the middle: no name, a lease that expires, and nothing after the next load.
async fn a_killed_load_leaves_nothing(case: &Case<'_>, built: &Built) -> Result<()> {
    let node = case.node();
    let archive = built.folder.path().join("large.tar");
    let digest = large_archive(&archive, "killed:1").await?;
    #[expect(clippy::disallowed_methods, reason = "it is killed while it works")]
    let mut child = Command::new(env!("CARGO_BIN_EXE_loading"))
        .arg(node.name())
        .arg(&archive)
        .env(
            "DOCKER_HOST",
            case.cluster().docker().endpoint().to_string(),
        )
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    wait::until(
        "bytes under way",
        Duration::from_secs(30),
        async || match ctr(node, &["content", "active"]).await {
            Ok(text) if text.contains(&digest) => Probe::Ready(()),
            other => Probe::Pending(format!("{other:?}")),
        },
    )
    .await?;
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

/// Broken sources: one error each, with a cure, and the nodes as before.
async fn what_cannot_be_loaded_changes_nothing(case: &Case<'_>, built: &Built) -> Result<()> {
    let node = case.node();
    let before = state(node).await?;
    let whole = built.save("whole.tar").await?;
    let folder = built.folder.path();
    let corrupt = folder.join("corrupt.tar");
    large_archive(&corrupt, "corrupt:1").await?;
    let bytes = fs::OpenOptions::new().write(true).open(&corrupt)?;
    std::os::unix::fs::FileExt::write_all_at(&bytes, b"!", LARGE / 2)?;
    let short = folder.join("short.tar");
    fs::copy(&whole, &short)?;
    let file = fs::OpenOptions::new().write(true).open(&short)?;
    file.set_len(file.metadata()?.len() / 2)?;
    for (source, told) in [
        (Source::archive(&corrupt), "is corrupt: it has digest"),
        (Source::archive(&short), "it ends within"),
        (Source::archive(folder.join("none.tar")), "open '"),
        (Source::archive(folder), "is no file"),
        (Source::oci_layout(folder), "has neither 'index.json'"),
        (
            Source::engine("none.local/none:1"),
            "the engine has no image",
        ),
        (Source::registry("a.local/b:1"), "it has no digest"),
        (Source::engine("Not A Name"), "is no image's name"),
    ] {
        let error = case.cluster().images().load(source).await.unwrap_err();
        assert!(error.report().contains(told), "{error:?}");
        assert!(error.cure_text().is_some(), "{error:?}");
        assert_ne!(error.kind(), ErrorKind::Timeout, "{error:?}");
    }
    let first = Images::of(case.cluster().docker(), &case.cluster().nodes()[..1]);
    let full = on_a_full_disk(node, first, &corrupt).await?;
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

/// What a load says when containerd has no room for what comes.
async fn on_a_full_disk(node: &Node, images: Images<'_>, large: &Path) -> Result<kubenest::Error> {
    const INGEST: &str = "/var/lib/containerd/io.containerd.content.v1.content/ingest";
    let mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "none", INGEST];
    node.exec_ok(&mount).await?;
    let loaded = images.load(Source::archive(large)).await;
    node.exec_ok(&["umount", INGEST]).await?;
    loaded.err().context("it must not have fitted")
}

/// An image that is built anew upon the same layers, in a folder of its own.
struct Built {
    docker: Docker,
    small: SmallImage,
    folder: TempDir,
    name: String,
}

impl Built {
    async fn new(cluster: &Cluster, mark: &str) -> Result<Self> {
        let docker = cluster.docker().clone();
        let mark = format!("{mark} {}", cluster.name());
        let small = SmallImage::load(&docker, &mark).await?;
        let folder = tempfile::tempdir()?;
        let mut large = vec![0; 20 << 20];
        std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut large)?;
        fs::write(folder.path().join("large"), large)?;
        let text = format!(
            "FROM {}\nCOPY large /large\nCOPY top /top\n",
            small.reference()
        );
        fs::write(folder.path().join("Dockerfile"), text)?;
        let name = format!("{}:dev", cluster.name());
        Ok(Self {
            docker,
            small,
            folder,
            name,
        })
    }

    /// Builds it with this text in its top layer.
    async fn build(&self, text: &str) -> Result<()> {
        fs::write(self.folder.path().join("top"), format!("{text}\n"))?;
        let folder = self.folder.path().to_str().unwrap();
        let label = "--label=dev.kubenest.role=small-image";
        docker(&self.docker, &["build", label, "--tag", &self.name, folder]).await?;
        Ok(())
    }

    async fn save(&self, file: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(file);
        let args = ["save", "--output", path.to_str().unwrap(), &self.name];
        docker(&self.docker, &args).await?;
        Ok(path)
    }

    fn pod(&self, name: &str, image: &str) -> Pod {
        let mut pod = self.small.pod(name, image);
        let container = &mut pod.spec.as_mut().unwrap().containers[0];
        let show = "/bin/busybox cat /top && exec /bin/busybox sleep 3600";
        container.command = Some(
            ["/bin/busybox", "sh", "-c", show]
                .map(str::to_owned)
                .to_vec(),
        );
        pod
    }

    async fn run(&self, case: &Case<'_>, name: &str, image: &str) -> Result<String> {
        let mut pod = self.pod(name, image);
        pod.spec.as_mut().unwrap().node_name = Some(case.node().name().to_owned());
        self.run_pod(case, &pod).await
    }

    /// What the pod prints.
    async fn run_pod(&self, case: &Case<'_>, pod: &Pod) -> Result<String> {
        let name = pod.metadata.name.as_deref().unwrap();
        case.create(pod).await?;
        case.pod_ready(name, Duration::from_secs(60)).await?;
        let pods = case.api::<Pod>();
        let printed = case.until(
            "the pod's words",
            Duration::from_secs(30),
            async || match pods.logs(name, &LogParams::default()).await {
                Ok(text) if text.is_empty() => Probe::Pending("nothing yet".into()),
                other => Probe::from_result(other),
            },
        );
        Ok(printed.await?.trim_end().to_owned())
    }
}

const LARGE: u64 = 512 << 20;

/// Writes a docker-archive whose one layer takes a while; returns the layer's digest.
async fn large_archive(path: &Path, name: &str) -> Result<String> {
    // A file of zeros in a tar, whose digest is known once it is written.
    let layer = path.with_extension("layer");
    let mut tar = tar::Builder::new(fs::File::create(&layer)?);
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(LARGE);
    tar.append_data(
        &mut header,
        "zeros",
        std::io::Read::take(std::io::repeat(0), LARGE),
    )?;
    tar.into_inner()?;
    let digest = digest(&layer).await?;
    let config = serde_json::json!({
        "os": "linux", "architecture": arch(),
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    let manifest = serde_json::json!([{
        "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"],
    }]);
    let mut tar = tar::Builder::new(fs::File::create(path)?);
    tar.append_path_with_name(&layer, "layer.tar")?;
    for (name, json) in [("config.json", config), ("manifest.json", manifest)] {
        let bytes = json.to_string().into_bytes();
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes.as_slice())?;
    }
    tar.into_inner()?;
    fs::remove_file(layer)?;
    Ok(digest)
}

async fn digest(path: &Path) -> Result<String> {
    let told = process::Command::new("sha256sum").arg(path).run().await?;
    Ok(told
        .stdout
        .split_whitespace()
        .next()
        .unwrap_or_default()
        .to_owned())
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn load(case: &Case<'_>, source: impl Into<Source>) -> Result<Loaded> {
    Ok(case.cluster().images().load(source).await?)
}

/// Blobs sent and skipped, node by node.
fn sent(loaded: &Loaded) -> Vec<(usize, usize)> {
    let nodes = loaded.nodes.iter();
    nodes
        .map(|node| (node.sent_blobs, node.skipped_blobs))
        .collect()
}

/// The witness that shares no code with kubenest.
async fn ctr(node: &Node, args: &[&str]) -> Result<String> {
    let argv = [&["ctr", "--namespace", "k8s.io"], args].concat();
    Ok(node.exec_ok(&argv).await?.text())
}

/// All that containerd holds, but for what a cluster does beside the test.
async fn state(node: &Node) -> Result<String> {
    let lists: [&[&str]; 4] = [
        &["images", "list", "--quiet"],
        &["content", "list", "--quiet"],
        &["content", "active"],
        &["leases", "list", "--quiet"],
    ];
    // What nothing holds any more goes now, not in the middle of a comparison.
    ctr(node, &["leases", "create", "--id", "settle"]).await?;
    let mut text = ctr(node, &["leases", "delete", "--sync", "settle"]).await?;
    for list in lists {
        text.push_str(&ctr(node, list).await?);
    }
    Ok(text)
}

async fn find(node: &Node, name: &str) -> Result<Option<kubenest::node::cri::Image>> {
    Ok(Containerd::connect(node).await?.cri().image(name).await?)
}

async fn pinned(node: &Node, name: &str) -> Result<bool> {
    let image = find(node, name).await?.context("CRI must see it")?;
    Ok(image.pinned)
}
