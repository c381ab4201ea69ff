//! Clusters that come up without a part that pods need are refused by the proofs of a boot: each boot
//! ends long before its deadline, says why, and leaves nothing.

use anyhow::{Context, Result};
use harness_selfcheck::{RECIPE, remains_of, unique_name};
use kubenest::{
    ClusterSpec, Error, NodeSpec,
    recipe::{NodeImage, Recipe},
};

/// Gives CoreDNS a configuration that is not there; the last of two such flags counts.
const NO_DNS: &str = r#"[
    {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "-conf"},
    {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "/no-such-file"}
]"#;

#[tokio::test]
async fn a_cluster_without_dns_or_kube_proxy_or_a_network_on_one_node_is_refused() -> Result<()> {
    let engine = kubenest::engine::find().await?;
    NodeImage::ensure(&engine, &Recipe::named(RECIPE)?).await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("corednsdeployment+json.json"), NO_DNS)?;
    let path = folder.path().to_string_lossy();
    let node = NodeSpec::control_plane().with_read_only_mount(path, "/patches");
    let dns = ClusterSpec::of([node])
        .with_kubeadm_patch("{kind: InitConfiguration, patches: {directory: /patches}}")?;
    let proxy = "{kind: KubeProxyConfiguration, mode: telepathy}";
    let proxy = ClusterSpec::single_node().with_kubeadm_patch(proxy)?;
    let empty = tempfile::tempdir()?;
    let path = empty.path().to_string_lossy();
    let worker = NodeSpec::worker().with_read_only_mount(path, "/opt/cni/bin");
    let network = ClusterSpec::of([NodeSpec::control_plane(), worker]);

    // At once, because each waits mostly for a kubelet to try again.
    let (dns, proxy, network) =
        tokio::try_join!(boot_error(dns), boot_error(proxy), boot_error(network))?;
    assert_report_has(&dns, &["coredns", "keeps exiting", "no-such-file"]);
    assert_report_has(&proxy, &["kube-proxy", "keeps exiting", "telepathy"]);
    let words = ["-worker' cannot give a pod a network", "find plugin"];
    assert_report_has(&network, &words);
    for error in [dns, proxy, network] {
        assert!(error.cure_text().is_some(), "no cure: {}", error.report());
    }
    Ok(())
}

/// The error of a boot that leaves nothing.
async fn boot_error(spec: ClusterSpec) -> Result<Error> {
    let name = unique_name();
    let spec = spec.with_recipe(RECIPE)?.with_name(&name);
    let error = spec.boot().await.err().context("it booted")?;
    let engine = kubenest::engine::find().await?;
    assert_eq!(remains_of(&engine, &name).await?, [""; 0]);
    Ok(error)
}

fn assert_report_has(error: &Error, words: &[&str]) {
    let report = error.report();
    for word in words {
        assert!(report.contains(word), "no '{word}' in: {report}");
    }
}
