//! Collects the facts of a node: from CRI, containerd, one probe script and one request to the
//! kubelet, all at once.

use kube::Client;

use super::{
    Expected,
    checks::{
        Facts, cgroup, clock, cri, crio, daemon, disk, image_volume, inotify, kubelet, loader,
        overlay, plugins, shim,
    },
    facts::{Probe, within},
};
use kubenest_node::node::Node;

/// Collects all facts that the checks judge on a node. A fact that cannot be collected says why;
/// without a `client` the kubelet cannot be asked.
pub(super) async fn collect(node: &Node, client: Option<&Client>, expected: &Expected) -> Facts {
    let (cri, plugins, probe, configz) = tokio::join!(
        cri::ask(node),
        plugins::ask(node),
        Probe::run(node),
        within(kubelet::configz(node, client))
    );
    let daemon = daemon::read(&probe, node.runtime());
    let driver = cgroup::driver(&cri);
    let dump = loader::read_dump(&probe);
    let snapshotter = loader::loader_snapshotter(&dump, &cri.image_folders);
    // The two trials run one after the other. Otherwise the smallest image could be the one just
    // imported.
    let tried = async {
        let image_volume = match expected.image_volumes {
            true => image_volume::look(node, &driver).await,
            false => Err("the spec asks for no image volumes".to_owned()),
        };
        let import = match expected.loader {
            Some(_) => loader::import(node, &snapshotter).await,
            None => Err("nothing is loaded by kind".to_owned()),
        };
        (image_volume, import)
    };
    let (shims, disk, (image_volume, import)) = tokio::join!(
        shim::look(node, &cri, &daemon),
        disk::look(node, &cri.image_folders),
        tried,
    );
    Facts {
        runtime: node.runtime(),
        cri,
        plugins,
        daemon,
        shims,
        crio: crio::read(&probe),
        overlay: overlay::read(&probe),
        disk,
        kubelet: configz.and_then(|text| kubelet::Kubelet::parse(&text)),
        kubelet_flags: kubelet::read_flags(&probe),
        cgroup: cgroup::read(&probe),
        inotify: inotify::read(&probe),
        clock: clock::read(&probe),
        image_volume,
        dump,
        import,
    }
}
