//! The container images of the control plane, made from a recipe's own programs.

use std::path::Path;

use super::{
    archive::ImageSpec,
    layer::{Layer, LayerWriter},
};
use crate::component::{self, Built};
use kubenest_base::{Result, store::Store};
use kubenest_recipe::recipe::Parts;

/// The images that a node carries, under the names that kubeadm uses.
pub(crate) async fn images(store: &Store, parts: &Parts) -> Result<Vec<ImageSpec>> {
    let kubernetes = component::part(store, &parts.kubernetes).await?;
    let version = &parts.kubernetes.version;
    let mut images = Vec::new();
    for name in [
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
    ] {
        images.push(program(store, &kubernetes, name, &format!("{name}:v{version}")).await?);
    }
    let proxy_os = component::part(store, &parts.proxy_os).await?;
    let mut proxy = program(
        store,
        &kubernetes,
        "kube-proxy",
        &format!("kube-proxy:v{version}"),
    )
    .await?;
    let key = format!("proxy-os-{}", &proxy_os.hash[..16]);
    let userland = Layer::cached(store, &key, async |layer| {
        layer.archive(&proxy_os.rootfs(), |path| Some(path.to_owned()))
    });
    proxy.layers.insert(0, userland.await?);
    images.push(proxy);

    let etcd = component::part(store, &parts.etcd).await?;
    images.push(
        program(
            store,
            &etcd,
            "etcd",
            &format!("etcd:{}-0", parts.etcd.version),
        )
        .await?,
    );
    let coredns = component::part(store, &parts.coredns).await?;
    let reference = format!("coredns/coredns:v{}", parts.coredns.version);
    let mut image = program(store, &coredns, "coredns", &reference).await?;
    image.entrypoint = vec!["/coredns".into()];
    images.push(image);
    let pause = component::part(store, &parts.pause).await?;
    let reference = format!("pause:{}", parts.pause.version);
    let mut image = program(store, &pause, "pause", &reference).await?;
    image.entrypoint = vec!["/pause".into()];
    images.push(image);
    Ok(images)
}

async fn program(store: &Store, built: &Built, name: &str, reference: &str) -> Result<ImageSpec> {
    let key = format!("{name}-{}", &built.hash[..16]);
    let root = built.image_root(name);
    let layer = Layer::cached(store, &key, async |layer: &mut LayerWriter| {
        // The programs write to /tmp; kubeadm mounts everything else that they need.
        layer.folder("tmp", 0o1777)?;
        layer.tree(Path::new(&root))
    });
    Ok(ImageSpec {
        tags: vec![format!("registry.k8s.io/{reference}")],
        layers: vec![layer.await?],
        ..ImageSpec::default()
    })
}
