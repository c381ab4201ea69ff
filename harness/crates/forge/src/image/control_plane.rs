//! The container images of the control plane, made from a recipe's own programs.

use std::path::Path;

use super::{
    archive::ImageSpec,
    layer::{Layer, LayerWriter},
};
use crate::component::{self, Built};
use kubenest_base::{Result, store::Store};
use kubenest_recipe::recipe::Parts;

const PROXY: &str = "kube-proxy";
/// The control plane's own programs, each in an image of its own.
const CONTROL_PLANE: [&str; 3] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
];

/// The name of a recipe's image, as kubeadm has it.
fn name(parts: &Parts, image: &str) -> String {
    let rest = match image {
        "etcd" => format!("etcd:{}-0", parts.etcd.version),
        "coredns" => format!("coredns/coredns:v{}", parts.coredns.version),
        "pause" => format!("pause:{}", parts.pause.version),
        kubernetes => format!("{kubernetes}:v{}", parts.kubernetes.version),
    };
    format!("registry.k8s.io/{rest}")
}

/// The names of the images that a node carries.
pub(super) fn names(parts: &Parts) -> Vec<String> {
    let all = CONTROL_PLANE.into_iter();
    let all = all.chain([PROXY, "etcd", "coredns", "pause"]);
    all.map(|image| name(parts, image)).collect()
}

/// The images that a node carries, under the names that kubeadm uses.
pub(crate) async fn images(store: &Store, parts: &Parts) -> Result<Vec<ImageSpec>> {
    let kubernetes = component::part(store, &parts.kubernetes).await?;
    let mut images = Vec::new();
    for image in CONTROL_PLANE {
        images.push(program(store, &kubernetes, image, parts).await?);
    }
    let proxy_os = component::part(store, &parts.proxy_os).await?;
    let mut proxy = program(store, &kubernetes, PROXY, parts).await?;
    let key = format!("proxy-os-{}", &proxy_os.hash[..16]);
    let userland = Layer::cached(store, &key, async |layer| {
        layer.archive(&proxy_os.rootfs(), |path| Some(path.to_owned()))
    });
    proxy.layers.insert(0, userland.await?);
    images.push(proxy);

    let etcd = component::part(store, &parts.etcd).await?;
    images.push(program(store, &etcd, "etcd", parts).await?);
    let coredns = component::part(store, &parts.coredns).await?;
    let mut image = program(store, &coredns, "coredns", parts).await?;
    image.entrypoint = vec!["/coredns".into()];
    images.push(image);
    let pause = component::part(store, &parts.pause).await?;
    let mut image = program(store, &pause, "pause", parts).await?;
    image.entrypoint = vec!["/pause".into()];
    images.push(image);
    Ok(images)
}

async fn program(store: &Store, built: &Built, image: &str, parts: &Parts) -> Result<ImageSpec> {
    let key = format!("{image}-{}", &built.hash[..16]);
    let root = built.image_root(image);
    let layer = Layer::cached(store, &key, async |layer: &mut LayerWriter| {
        // The programs write to /tmp; kubeadm mounts everything else that they need.
        layer.folder("tmp", 0o1777)?;
        layer.tree(Path::new(&root))
    });
    Ok(ImageSpec {
        tags: vec![name(parts, image)],
        layers: vec![layer.await?],
        ..ImageSpec::default()
    })
}
