//! Creates the objects that kubeadm's last phases would create, as soon as the API server answers.
//!
//! kubeadm makes at most five requests a second for each group of the API, one phase after another,
//! and begins when the API server has been ready for up to half a second.

use futures::future::try_join_all;
use kube::Client;
use serde_json::{Value, json};

use super::{
    creation::{create, create_one, create_service, wait_for_namespace},
    door,
    join::AUTHORITY,
    volumes,
};
use crate::cluster::{
    SLOW, STEP,
    addresses::{API_PORT, Addresses},
    kubeadm::CONFIG,
    nodes::Nodes,
};
use kubenest_base::{Context, Error, Result};
use kubenest_node::{node::Node, objects};

/// Namespaces that the API server makes itself, in which the boot makes pods.
const NAMESPACES: [&str; 2] = ["kube-system", "default"];
/// The ConfigMaps that the add-ons' pods mount.
const MOUNTED: [&str; 3] = ["kube-proxy", "coredns", "kube-root-ca.crt"];

/// kubeadm's add-ons: the objects of each, as kubeadm would create them. An older kubeadm cannot
/// print them.
pub(in crate::cluster) struct Addons {
    proxy: Option<Vec<Value>>,
    dns: Option<Vec<Value>>,
    /// The certificate of the cluster's authority.
    authority: String,
}

impl Addons {
    /// Those of the control plane on this node of so many, whose files kubeadm has written.
    pub(in crate::cluster) async fn of(node: &Node, nodes: usize) -> Result<Self> {
        let near = node.within(STEP);
        let (proxy, mut dns, authority) = tokio::try_join!(
            manifest(node, "kube-proxy"),
            manifest(node, "coredns"),
            near.read_file(AUTHORITY),
        )?;
        if let Some(objects) = &mut dns {
            adapt_dns(objects, nodes)?;
        }
        let authority = String::from_utf8_lossy(&authority).into_owned();
        Ok(Self {
            proxy,
            dns,
            authority,
        })
    }

    /// Creates them, and waits until kube-proxy leads to the API server's Service on each node.
    pub(in crate::cluster) async fn start(
        self,
        client: &Client,
        nodes: &Nodes,
        addresses: Addresses,
    ) -> Result<()> {
        let node = nodes.control_plane();
        let authority = &self.authority;
        let accounts = NAMESPACES.map(async |name| {
            wait_for_namespace(client, name).await?;
            objects::create_account(client, name, authority).await
        });
        tokio::try_join!(
            try_join_all(accounts),
            let_kubelets_read(client),
            create_api_service(client, addresses),
        )?;
        let class = volumes::storage_class();
        tokio::try_join!(
            start_one(client, node, "kube-proxy", self.proxy),
            start_one(client, node, "coredns", self.dns),
            create_one(client, &class),
        )?;
        door::end_detours(nodes, addresses).await
    }
}

/// Creates the Service of the API server itself, which makes it only when it is ready. A pod that starts
/// earlier is not told its address.
async fn create_api_service(client: &Client, addresses: Addresses) -> Result<()> {
    wait_for_namespace(client, "default").await?;
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "kubernetes",
            "namespace": "default",
            "labels": {"component": "apiserver", "provider": "kubernetes"},
        },
        "spec": {
            "clusterIP": addresses.api_service().to_string(),
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": API_PORT}],
        },
    });
    create_service(client, &service).await
}

/// Gives kubelets a role to read what the add-ons' pods mount. Without it a kubelet may read that once
/// the API server has noted that such a pod is on its node. On a busy machine it often asks too early,
/// is refused, and waits for two seconds before it asks again.
async fn let_kubelets_read(client: &Client) -> Result<()> {
    wait_for_namespace(client, "kube-system").await?;
    let group = "rbac.authorization.k8s.io";
    let api = format!("{group}/v1");
    let metadata = json!({"name": "kubenest:addons", "namespace": "kube-system"});
    let role = json!({
        "apiVersion": api,
        "kind": "Role",
        "metadata": metadata,
        "rules": [{
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": MOUNTED,
            "verbs": ["get", "list", "watch"],
        }],
    });
    let binding = json!({
        "apiVersion": api,
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "Role", "name": "kubenest:addons"},
        "subjects": [{"apiGroup": group, "kind": "Group", "name": "system:nodes"}],
    });
    create(client, vec![role, binding]).await
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

/// CoreDNS with a readiness probe every second: with the default of ten seconds it serves half a
/// period late on average. On a single node a second CoreDNS would help nobody.
fn adapt_dns(objects: &mut [Value], nodes: usize) -> Result<()> {
    let is_deployment = |object: &&mut Value| object["kind"] == "Deployment";
    let spec = objects
        .iter_mut()
        .find(is_deployment)
        .and_then(|it| it.get_mut("spec"));
    let spec = spec.ok_or_else(|| Error::setup("kubeadm's CoreDNS has no Deployment"))?;
    let probe = spec.pointer_mut("/template/spec/containers/0/readinessProbe");
    let probe = probe.ok_or_else(|| Error::setup("kubeadm's CoreDNS has no readiness probe"))?;
    probe["periodSeconds"] = json!(1);
    if nodes == 1 {
        spec["replicas"] = json!(1);
    }
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

    /// CoreDNS as kubeadm prints it, in short, with this container.
    fn coredns(container: Value) -> [Value; 2] {
        [
            json!({"kind": "ServiceAccount"}),
            json!({"kind": "Deployment", "spec": {"replicas": 2, "template": {"spec": {
                "containers": [container],
            }}}}),
        ]
    }

    #[test]
    fn coredns_is_asked_every_second_and_a_single_node_has_one() {
        for (nodes, replicas) in [(1, 1), (2, 2)] {
            let mut objects = coredns(json!({"readinessProbe": {"httpGet": {"path": "/ready"}}}));
            adapt_dns(&mut objects, nodes).unwrap();
            let spec = &objects[1]["spec"];
            assert_eq!(spec["replicas"], replicas);
            assert_eq!(
                spec["template"]["spec"]["containers"][0]["readinessProbe"],
                json!({"httpGet": {"path": "/ready"}, "periodSeconds": 1})
            );
        }
    }

    #[test]
    fn a_manifest_without_the_deployment_or_its_probe_is_an_error() {
        assert!(adapt_dns(&mut [json!({"kind": "ConfigMap"})], 1).is_err());
        assert!(adapt_dns(&mut coredns(json!({})), 1).is_err());
    }
}
