//! Creates the objects that kubeadm's last phases would create, as soon as the API server answers.
//!
//! kubeadm makes at most five requests a second for each group of the API, one phase after another,
//! and begins when the API server has been ready for up to half a second.

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::{
    Api, Client,
    api::{DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{door, parts, volumes};
use crate::cluster::{SLOW, STEP, addresses::Addresses, kubeadm::CONFIG};
use kubenest_base::{
    Context, Error, Result,
    wait::{self, Probe},
};
use kubenest_node::{node::Node, objects};

/// Namespaces that the API server makes itself, in which the boot makes pods.
const NAMESPACES: [&str; 2] = ["kube-system", "default"];
/// Path in a node of the certificate of the cluster's authority.
const AUTHORITY: &str = "/etc/kubernetes/pki/ca.crt";
/// Kinds whose controllers make pods. They come last, because a controller that meets a missing
/// account waits before it tries again.
const WORKLOADS: [&str; 2] = ["DaemonSet", "Deployment"];

/// The longest pause between two looks at kube-proxy's rules.
const PAUSE: Duration = Duration::from_millis(100);
/// The comment that kube-proxy adds to the rules of the API server's Service.
const API_RULE: &str = "default/kubernetes:https";

/// kubeadm's add-ons: the objects of each, as kubeadm would create them. An older kubeadm cannot
/// print them.
pub(in crate::cluster) struct Addons {
    proxy: Option<Vec<Value>>,
    dns: Option<Vec<Value>>,
    /// The certificate of the cluster's authority.
    authority: String,
}

impl Addons {
    /// Those of the control plane on this node, whose files kubeadm has written.
    pub(in crate::cluster) async fn of(node: &Node) -> Result<Self> {
        let near = node.within(STEP);
        let (proxy, mut dns, authority) = tokio::try_join!(
            manifest(node, "kube-proxy"),
            manifest(node, "coredns"),
            near.read_file(AUTHORITY),
        )?;
        if let Some(objects) = &mut dns {
            speed_up_readiness(objects)?;
        }
        let authority = String::from_utf8_lossy(&authority).into_owned();
        Ok(Self {
            proxy,
            dns,
            authority,
        })
    }

    /// Creates them, and waits until kube-proxy leads to the API server's Service.
    pub(in crate::cluster) async fn start(
        self,
        client: &Client,
        node: &Node,
        addresses: Addresses,
    ) -> Result<()> {
        let authority = &self.authority;
        let accounts = NAMESPACES.map(async |name| {
            wait_for_namespace(client, name).await?;
            objects::create_account(client, name, authority).await
        });
        try_join_all(accounts).await?;
        tokio::try_join!(
            start_one(client, node, "kube-proxy", self.proxy),
            start_one(client, node, "coredns", self.dns),
            create_one(client, volumes::storage_class()),
        )?;
        wait_for_proxy(node).await?;
        door::end_detour(node, addresses).await
    }
}

async fn start_one(
    client: &Client,
    node: &Node,
    name: &str,
    objects: Option<Vec<Value>>,
) -> Result<()> {
    match objects {
        Some(objects) => create(client, objects).await,
        None => node.within(SLOW).exec_ok(&phase(name)).await.map(drop),
    }
}

/// The objects of an add-on; `None` if this kubeadm cannot print them.
async fn manifest(node: &Node, name: &str) -> Result<Option<Vec<Value>>> {
    let argv = [phase(name).as_slice(), &["--print-manifest"]].concat();
    let printed = node.within(STEP).exec(&argv).await?;
    if printed.status != 0 {
        return Ok(None);
    }
    let objects: Vec<Value> = serde_saphyr::from_multiple(&documents(&printed.text()))
        .with_context(|| format!("read kubeadm's manifest of {name}"))?;
    Ok(Some(objects))
}

/// The YAML in what kubeadm prints. Where the user has patches, kubeadm reports them in between, and
/// starts a patched object in the line of the separator.
fn documents(printed: &str) -> String {
    let lines = printed.lines().filter(|line| !line.starts_with('['));
    let lines = lines.map(|line| match line.strip_prefix("---") {
        Some(first) => format!("---\n{first}\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

fn phase(addon: &str) -> [&str; 7] {
    [
        "kubeadm", "init", "phase", "addon", addon, "--config", CONFIG,
    ]
}

async fn wait_for_namespace(client: &Client, name: &str) -> Result<()> {
    let api = Api::<Namespace>::all(client.clone());
    wait_for_object(&format!("namespace '{name}'"), &api, name).await
}

/// Waits until the API server gives addresses to Services, which it has shown by its own. From 1.33 on
/// it refuses any address before it knows its ranges.
async fn wait_for_addresses(client: &Client) -> Result<()> {
    let api = Api::<Service>::namespaced(client.clone(), "default");
    wait_for_object("the API server's own Service", &api, "kubernetes").await
}

async fn wait_for_object<K>(what: &str, api: &Api<K>, name: &str) -> Result<()>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    wait::until(what, SLOW, async || match api.get_opt(name).await {
        Ok(Some(_)) => Probe::Ready(()),
        Ok(None) => Probe::Pending("none".into()),
        Err(error) => Probe::Pending(error.to_string()),
    })
    .await
}

/// Creates these objects side by side, those that make pods last.
async fn create(client: &Client, objects: Vec<Value>) -> Result<()> {
    let is_workload = |object: &Value| WORKLOADS.iter().any(|kind| object["kind"] == *kind);
    let (workloads, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_workload);
    for objects in [others, workloads] {
        try_join_all(objects.into_iter().map(|object| create_one(client, object))).await?;
    }
    Ok(())
}

async fn create_one(client: &Client, object: Value) -> Result<()> {
    let text = |key: &str| object[key].as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    if kind == "Service" {
        wait_for_addresses(client).await?;
    }
    let what = || format!("create {kind} '{}'", object["metadata"]["name"]);
    let of_kind: DynamicObject = serde_json::from_value(object.clone()).with_context(what)?;
    let api: Api<DynamicObject> = match &of_kind.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let params = PostParams::default();
    let created = api.create(&params, &of_kind);
    objects::answer(what, created).await.map(drop)
}

/// Waits until kube-proxy has made the API server's Service reachable.
async fn wait_for_proxy(node: &Node) -> Result<()> {
    let rules = ["iptables-save", "--table", "nat"];
    let served = wait::until_with(
        PAUSE,
        "kube-proxy to serve the API server's Service",
        SLOW,
        async || match node.exec(&rules).await {
            Ok(output) if output.text().contains(API_RULE) => Probe::Ready(()),
            Ok(output) => Probe::Pending(format!("{} rules", output.text().lines().count())),
            Err(error) => Probe::Failed(error),
        },
    );
    parts::explain(served.await, node, &["kube-proxy"]).await
}

/// CoreDNS with a readiness probe every second: with the default of ten seconds it serves half a
/// period late on average.
fn speed_up_readiness(objects: &mut [Value]) -> Result<()> {
    let probe = objects
        .iter_mut()
        .find_map(|object| object.pointer_mut("/spec/template/spec/containers/0/readinessProbe"));
    let probe = probe.ok_or_else(|| Error::setup("kubeadm's CoreDNS has no readiness probe"))?;
    probe["periodSeconds"] = json!(1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_between_reports_of_patches() {
        let printed = "[patches] Reading patches from path \"/a\"\n---apiVersion: v1\nkind: A\n\
                       ---\nkind: B\n[patches] Applied patch\n";
        let objects: Vec<Value> = serde_saphyr::from_multiple(&documents(printed)).unwrap();
        assert_eq!(
            objects,
            [
                json!({"apiVersion": "v1", "kind": "A"}),
                json!({"kind": "B"})
            ]
        );
    }

    #[test]
    fn coredns_is_asked_every_second() {
        let mut objects = [
            json!({"kind": "ServiceAccount"}),
            json!({"kind": "Deployment", "spec": {"template": {"spec": {"containers": [
                {"name": "coredns", "readinessProbe": {"httpGet": {"path": "/ready"}}},
            ]}}}}),
        ];
        speed_up_readiness(&mut objects).unwrap();
        let container = &objects[1]["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            container["readinessProbe"],
            json!({"httpGet": {"path": "/ready"}, "periodSeconds": 1})
        );
    }

    #[test]
    fn a_manifest_without_the_probe_is_an_error() {
        assert!(speed_up_readiness(&mut [json!({"kind": "ConfigMap"})]).is_err());
    }
}
