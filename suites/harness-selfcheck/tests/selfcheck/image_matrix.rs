//! Loads images of both kinds of engine into every containerd with every snapshotter, and into CRI-O.
//! The nodes run no Kubernetes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness_selfcheck::{
    built::{Built, archive, sent_and_skipped},
    docker, unique_name,
};
use kubenest::{
    engine::Docker,
    images::{ImageSource, Images, Load, Pin},
    node::{FileEntry, Node},
    recipe::{NodeImage, Recipe},
    wait::{self, Probe},
};
use kubenest_base::settings::EngineRelease;
use kubenest_fixtures::crictl::{Crictl, pod_on_node_network};
use serde_json::json;

const CONTAINERDS: [(&str, Pin); 5] = [
    ("1.6.20", Pin::Ignored),
    ("1.7.24", Pin::Held),
    ("2.0.2", Pin::Held),
    ("2.1.9", Pin::Held),
    ("2.3.4", Pin::Held),
];

const CRI_O: &str = "v1.34.3-cri-o-1.34.0";

/// The release of crictl, and where its pod and container are described.
const CRICTL: &str = "1.34.0";
const POD: &str = "/run/matrix-pod.json";
const CONTAINER: &str = "/run/matrix-container.json";

/// How long a node's services may take to start on a busy machine.
const SOON: Duration = Duration::from_secs(120);

const SNAPSHOTTERS: [&str; 2] = ["overlayfs", "native"];

/// Images of one engine, which differ only in their top layer.
struct ImageOrigin {
    store: &'static str,
    docker: Docker,
    /// Their names, and the text in each.
    images: Vec<(String, &'static str)>,
    _built: Built,
}

#[tokio::test]
async fn every_containerd_and_snapshotter_takes_images_of_both_stores() -> Result<()> {
    let origins = origins().await?;
    println!("{}", head("containerd"));
    for (containerd, pin) in CONTAINERDS {
        let nodes = nodes(&origins[0].docker, containerd).await?;
        for origin in &origins {
            for line in rows(origin, &nodes, containerd, pin).await? {
                println!("{line}");
            }
        }
        if containerd == "2.0.2" {
            for origin in &origins {
                check_other_platform_is_refused(origin, &nodes).await?;
            }
        }
        for node in &nodes {
            node.docker().remove_container(node.name()).await?;
        }
    }
    Ok(())
}

/// CRI-O has one snapshotter, and no socket that takes images: what it lacks is sent whole.
#[tokio::test]
async fn cri_o_takes_images_of_both_stores() -> Result<()> {
    let origins = origins().await?;
    let image = NodeImage::ensure(&origins[0].docker, &Recipe::named(CRI_O)?).await?;
    let node = image.start(&origins[0].docker, &unique_name()).await?;
    let running = wait::until("CRI-O", SOON, async || {
        Probe::from_result(node.reach_runtime().await)
    });
    running.await?;
    let version = image.versions.crio.as_str();
    println!("{}", head("CRI-O"));
    for origin in &origins {
        let load = async |at: usize| -> Result<Load> {
            let loaded = load(origin, std::slice::from_ref(&node), at).await?;
            let printed = printed_by_crictl(&node, &loaded.names[0]).await?;
            assert_eq!(printed, origin.images[at].1);
            Ok(loaded)
        };
        let (first, again, changed) = (load(0).await?, load(0).await?, load(1).await?);
        for (loaded, expected) in [(&first, (6, 0)), (&again, (0, 6)), (&changed, (6, 0))] {
            assert_eq!(sent_and_skipped(loaded), [expected], "{loaded:?}");
        }
        for at in 2..origin.images.len() {
            load(at).await?;
        }
        assert_eq!(changed.nodes[0].pin, Pin::Held, "{changed:?}");
        println!(
            "{}",
            row(version, "overlay", origin, [&first, &again, &changed], 0)
        );
        check_other_platform_is_refused(origin, std::slice::from_ref(&node)).await?;
    }
    node.docker().remove_container(node.name()).await?;
    Ok(())
}

fn head(runtime: &str) -> String {
    format!(
        "| {runtime} | snapshotter | store | first | unchanged | top layer changed | pin |\n\
         | --- | --- | --- | --- | --- | --- | --- |"
    )
}

async fn origins() -> Result<[ImageOrigin; 2]> {
    Ok([
        origin("classic", EngineRelease::Docker26).await?,
        origin("containerd", EngineRelease::Docker29).await?,
    ])
}

async fn origin(store: &'static str, release: EngineRelease) -> Result<ImageOrigin> {
    let docker = kubenest_forge::engine::embedded(release, kubenest::settings()).await?;
    let containerd_store = docker.info().await?.containerd_store;
    ensure!(containerd_store == (store == "containerd"), "{store}");
    let name = format!("matrix-{store}-{}", unique_name());
    let built = Built::new(&docker, &name).await?;
    let mut images = Vec::new();
    for text in ["one", "two"] {
        images.push((format!("{name}:{text}"), text));
        built
            .build_with_name(text, &format!("{name}:{text}"))
            .await?;
    }
    if containerd_store {
        let pulled = format!("{name}:pulled");
        built.build("absent platforms").await?;
        built.load_as_pulled(&pulled).await?;
        images.push((pulled, "absent platforms"));
    }
    Ok(ImageOrigin {
        store,
        docker,
        images,
        _built: built,
    })
}

/// One node per snapshotter.
async fn nodes(docker: &Docker, containerd: &str) -> Result<[Node; 2]> {
    let recipe = Recipe::named(&format!("v1.32.1-containerd-{containerd}"))?;
    let image = NodeImage::ensure(docker, &recipe).await?;
    let [one, other] = SNAPSHOTTERS.map(|snapshotter| node(docker, &image, snapshotter));
    Ok(tokio::try_join!(one, other)?.into())
}

/// A node whose CRI uses this snapshotter.
async fn node(docker: &Docker, image: &NodeImage, snapshotter: &str) -> Result<Node> {
    let node = image.start(docker, &unique_name()).await?;
    let switch = format!("s/snapshotter = .*/snapshotter = \"{snapshotter}\"/");
    let config = "/etc/containerd/config.toml";
    node.exec_ok(&["sed", "-i", &switch, config]).await?;
    let restart = ["systemctl", "restart", "containerd"];
    let restarted = wait::until("systemd", SOON, async || {
        Probe::from_result(node.exec_ok(&restart).await)
    });
    restarted.await?;
    let folders = wait::until("containerd", SOON, async || {
        Probe::from_result(image_folders(&node).await)
    });
    let folders = folders.await?;
    ensure!(folders.ends_with(&format!(".{snapshotter}")), "{folders}");
    Ok(node)
}

async fn image_folders(node: &Node) -> kubenest::Result<String> {
    let cri = node.cri().await?;
    Ok(cri.image_folders().await?.concat())
}

/// Loads the first image twice and then each of the others, runs a container from each, and returns
/// the rows of the table.
async fn rows(
    origin: &ImageOrigin,
    nodes: &[Node],
    containerd: &str,
    pin: Pin,
) -> Result<Vec<String>> {
    let load = async |at: usize| -> Result<Load> {
        let loaded = load(origin, nodes, at).await;
        let loaded = loaded.with_context(|| format!("into containerd {containerd}"))?;
        for node in nodes {
            assert_eq!(printed(node, &loaded.names[0]).await?, origin.images[at].1);
        }
        Ok(loaded)
    };
    let first = load(0).await?;
    // All images share the lowest layer, and those of the classic store were loaded first.
    let there = usize::from(origin.store != "classic");
    assert_eq!(
        sent_and_skipped(&first),
        [(6 - there, there); 2],
        "{first:?}"
    );
    let again = load(0).await?;
    assert_eq!(sent_and_skipped(&again), [(0, 6); 2], "{again:?}");
    let changed = load(1).await?;
    assert_eq!(sent_and_skipped(&changed), [(3, 3); 2], "{changed:?}");
    for at in 2..origin.images.len() {
        let other = load(at).await?;
        assert_eq!(sent_and_skipped(&other), [(3, 3); 2], "{other:?}");
    }
    let mut rows = Vec::new();
    for (at, snapshotter) in SNAPSHOTTERS.iter().enumerate() {
        assert_eq!(changed.nodes[at].pin, pin, "{changed:?}");
        let loads = [&first, &again, &changed];
        rows.push(row(containerd, snapshotter, origin, loads, at));
    }
    Ok(rows)
}

/// Loads one of the images, always under the same name.
async fn load(origin: &ImageOrigin, nodes: &[Node], at: usize) -> Result<Load> {
    let (image, _) = &origin.images[at];
    let source = ImageSource::engine(image).with_name(format!("loaded-{}:dev", origin.store));
    let loaded = Images::of(&origin.docker, nodes).load(source).await;
    loaded.with_context(|| format!("load {image}"))
}

/// A row of the table: what was sent to one of the nodes.
fn row(
    version: &str,
    snapshotter: &str,
    origin: &ImageOrigin,
    loads: [&Load; 3],
    at: usize,
) -> String {
    let nodes = loads.map(|load| &load.nodes[at]);
    let [first, again, changed] =
        nodes.map(|node| format!("{} blobs, {} KiB", node.sent_blobs, node.sent_bytes >> 10));
    let (store, pin) = (origin.store, nodes[2].pin);
    format!("| {version} | {snapshotter} | {store} | {first} | {again} | {changed} | {pin:?} |")
}

/// The text in a container of the image, which crictl runs on the node's network.
async fn printed_by_crictl(node: &Node, image: &str) -> Result<String> {
    let pod = pod_on_node_network("matrix", "matrix");
    let container = json!({
        "metadata": {"name": "reader"},
        "image": {"image": image},
        "command": ["/bin/busybox", "sleep", "3600"],
    });
    let files = [(POD, pod), (CONTAINER, container)];
    let files = files.map(|(path, config)| FileEntry::new(path, config.to_string()));
    node.write_files(&files).await?;
    let crictl = Crictl::install(CRICTL, node).await?;
    let sandbox = crictl.call_ok(&["runp", POD]).await?;
    let id = crictl
        .call_ok(&["create", "--no-pull", &sandbox, CONTAINER, POD])
        .await?;
    crictl.call_ok(&["start", &id]).await?;
    let text = crictl
        .call_ok(&["exec", &id, "/bin/busybox", "cat", "/top"])
        .await?;
    crictl.call_ok(&["rmp", "--force", &sandbox]).await?;
    Ok(text)
}

/// The text that a container of the image prints, run by the node's own ctr.
async fn printed(node: &Node, image: &str) -> Result<String> {
    let folder = image_folders(node).await?;
    let snapshotter = folder.rsplit('.').next().unwrap_or_default();
    let run = [
        "ctr",
        "--namespace",
        "k8s.io",
        "run",
        "--rm",
        "--snapshotter",
        snapshotter,
    ];
    let run = [
        &run[..],
        &[image, "printing", "/bin/busybox", "cat", "/top"],
    ]
    .concat();
    Ok(node.exec_ok(&run).await?.text().trim().to_owned())
}

async fn check_other_platform_is_refused(origin: &ImageOrigin, nodes: &[Node]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (path, name) = (folder.path().join("other.tar"), "other-platform:1");
    archive(&path, name, "s390x", 1 << 10).await?;
    let file = path.to_str().context("a strange path")?;
    docker(&origin.docker, &["load", "--input", file]).await?;
    let refused = Images::of(&origin.docker, nodes).load(name).await;
    origin.docker.remove_image(name).await?;
    let error = refused.err().context("it must be refused")?;
    assert!(
        error.report().contains("it has linux/s390x"),
        "{}",
        error.report()
    );
    assert!(error.cure_text().is_some());
    Ok(())
}
