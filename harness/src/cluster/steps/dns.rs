//! Installs CoreDNS while the workers join.

use serde_json::{Value, json};

use super::parts;
use crate::cluster::{SLOW, STEP, kubeadm::CONFIG};
use kubenest_base::{
    Context, Error, Result,
    wait::{self, Probe},
};
use kubenest_node::node::Node;

/// The comment that kube-proxy adds to the rules of the API server's Service.
const API_RULE: &str = "default/kubernetes:https";
const ADDON: [&str; 7] = [
    "kubeadm", "init", "phase", "addon", "coredns", "--config", CONFIG,
];
const CREATE: [&str; 7] = [
    "kubectl",
    "--kubeconfig=/etc/kubernetes/admin.conf",
    "create",
    "--validate=false",
    "--output=name",
    "--filename",
    "-",
];

/// Installs CoreDNS when kube-proxy has made the Services reachable. If CoreDNS starts before that,
/// its first calls to the API server fail and it backs off for seconds.
pub(in crate::cluster) async fn run(node: &Node) -> Result<()> {
    let print = [ADDON.as_slice(), &["--print-manifest"]].concat();
    let printed = node.within(STEP).exec(&print).await?;
    let rules = ["iptables-save", "--table", "nat"];
    let served = wait::until(
        "kube-proxy to serve the API server's Service",
        SLOW,
        async || match node.exec(&rules).await {
            Ok(output) if output.text().contains(API_RULE) => Probe::Ready(()),
            Ok(output) => Probe::Pending(format!("{} rules", output.text().lines().count())),
            Err(error) => Probe::Failed(error),
        },
    );
    parts::explain(served.await, node, &["kube-proxy"]).await?;
    let node = node.within(SLOW);
    // An older kubeadm cannot print the manifest; it can only install CoreDNS.
    if printed.status == 0 {
        let objects = speed_up_readiness(&printed.text())?;
        node.exec_with(&CREATE, objects.into_bytes()).await?;
    } else {
        node.exec_ok(&ADDON).await?;
    }
    Ok(())
}

/// kubeadm's manifest as one JSON list, the Deployment last, with a readiness probe every second:
/// with the default of ten seconds CoreDNS serves half a period late on average.
fn speed_up_readiness(manifest: &str) -> Result<String> {
    let objects: Vec<Value> =
        serde_saphyr::from_multiple(manifest).context("read kubeadm's manifest of CoreDNS")?;
    let (mut deployments, mut objects): (Vec<Value>, Vec<Value>) = objects
        .into_iter()
        .partition(|object| object["kind"] == "Deployment");
    let probe = deployments.iter_mut().find_map(|deployment| {
        deployment.pointer_mut("/spec/template/spec/containers/0/readinessProbe")
    });
    let probe = probe.ok_or_else(|| Error::setup("kubeadm's CoreDNS has no readiness probe"))?;
    probe["periodSeconds"] = json!(1);
    objects.append(&mut deployments);
    Ok(json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployment_comes_last_and_is_asked_every_second() {
        let manifest = "---\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n\
            \x20     - name: coredns\n        readinessProbe: {httpGet: {path: /ready}}\n\
            ---\nkind: ServiceAccount\n";
        let list: Value = serde_json::from_str(&speed_up_readiness(manifest).unwrap()).unwrap();
        assert_eq!(list["items"][0]["kind"], "ServiceAccount");
        let container = &list["items"][1]["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            container["readinessProbe"],
            json!({"httpGet": {"path": "/ready"}, "periodSeconds": 1})
        );
    }

    #[test]
    fn a_manifest_without_the_probe_is_an_error() {
        assert!(speed_up_readiness("kind: ConfigMap\n").is_err());
    }
}
