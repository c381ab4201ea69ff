//! The verbs of a case on a real cluster: objects, waits, containers, rights and fields.

use std::time::Duration;

use anyhow::{Context, Result};
use harness_selfcheck::{good_node, nodes_by_kubeconfig};
use kubenest::{
    Case, Cluster, Error, Origin,
    k8s_openapi::api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Node as KubeNode, Pod, Secret},
        rbac::v1::ClusterRole,
    },
    kube::{
        self, Api, Client, Config, ResourceExt,
        api::Patch,
        config::Kubeconfig,
        runtime::wait::conditions::{is_deployment_completed, is_pod_running},
    },
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DEADLINE: Duration = Duration::from_secs(60);

/// For what must not come true.
const SOON: Duration = Duration::from_secs(1);

/// The port of the pod that serves.
const PORT: u16 = 8080;

/// Asserts that an error is the test's own, and returns its report without the namespace.
fn report(case: &Case<'_>, error: &Error) -> String {
    assert_eq!(error.origin(), Origin::Test, "{error:?}");
    error.report().replace(case.namespace(), "NAMESPACE")
}

#[kubenest::test(spec = good_node)]
async fn objects_of_all_kinds_are_made_changed_awaited_and_removed(case: Case) -> Result<()> {
    let map: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "colours"}, "data": {"sky": "blue"},
    }))?;
    case.create(&map).await?;
    assert_eq!(case.get::<ConfigMap>("colours").await?.data, map.data);
    let grey = Patch::Merge(json!({"data": {"sky": "grey"}}));
    let patched = case.patch::<ConfigMap>("colours", &grey).await?;
    assert_eq!(patched.data.context("it has data")?["sky"], "grey");
    let is_grey = |map: Option<&ConfigMap>| map.is_some_and(|map| map.data == patched_data());
    assert!(case.wait("colours", is_grey, DEADLINE).await?.is_some());

    // Objects of the whole cluster by the same verbs.
    let node: KubeNode = case.get(case.node().name()).await?;
    assert_eq!(node.name_any(), case.node().name());
    let role: ClusterRole = serde_json::from_value(json!({"metadata": {"name": "of-a-test"}}))?;
    let role = case.create(&role).await?;
    assert_eq!(role.labels()["dev.kubenest.case"], case.namespace());
    let fight = case.cluster().case(async |other| {
        Ok(other
            .create(&role_named("of-a-test")?)
            .await
            .expect_err("it is another's"))
    });
    let said = report(case, &Box::pin(fight).await?);
    assert!(
        said.starts_with("ClusterRole 'of-a-test' belongs to 'NAMESPACE', another test"),
        "{said}"
    );
    case.delete::<ClusterRole>("of-a-test").await?;
    case.gone::<ClusterRole>("of-a-test", DEADLINE).await?;

    case.delete::<ConfigMap>("colours").await?;
    case.gone::<ConfigMap>("colours", DEADLINE).await?;
    let error = case
        .get::<ConfigMap>("colours")
        .await
        .expect_err("it is gone");
    assert_eq!(
        report(case, &error),
        "get ConfigMap 'colours': configmaps \"colours\" not found: NotFound"
    );
    let error = case
        .delete::<ConfigMap>("colours")
        .await
        .expect_err("it is gone");
    assert!(
        report(case, &error).starts_with("delete ConfigMap 'colours': "),
        "{error:?}"
    );
    let held: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "held", "finalizers": ["example.com/never"]},
    }))?;
    case.create(&held).await?;
    case.delete::<ConfigMap>("held").await?;
    let error = case
        .gone::<ConfigMap>("held", SOON)
        .await
        .expect_err("it is held");
    let said = report(case, &error);
    assert!(
        said.contains("last seen: being removed, held by example.com/never"),
        "{said}"
    );
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    case.patch::<ConfigMap>("held", &free).await?;
    Ok(case.gone::<ConfigMap>("held", DEADLINE).await?)
}

fn patched_data() -> Option<std::collections::BTreeMap<String, String>> {
    Some([("sky".to_owned(), "grey".to_owned())].into())
}

fn role_named(name: &str) -> Result<ClusterRole> {
    Ok(serde_json::from_value(json!({"metadata": {"name": name}}))?)
}

/// A Deployment of a pod that serves a page.
fn deployment(case: &Case<'_>, image: &str) -> Value {
    let mut pod = server(case);
    pod["spec"]["containers"][0]["image"] = image.into();
    let labels = json!({"app": "web"});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod["spec"]},
        },
    })
}

fn image(case: &Case<'_>) -> String {
    let version = &case.cluster().versions().kubernetes;
    format!("registry.k8s.io/kube-proxy:v{version}")
}

/// A pod that tells that it begins, then serves its folder `/etc`.
fn server(case: &Case<'_>) -> Value {
    let script = format!(
        "echo begins; echo aside; exec /bin/busybox httpd -f -v -p 127.0.0.1:{PORT} -h /etc"
    );
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "server"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "server",
                "image": image(case),
                "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "sh", "-c", script],
            }],
        },
    })
}

#[kubenest::test(spec = good_node)]
async fn a_deployment_is_awaited_with_what_its_pods_say(case: Case) -> Result<()> {
    case.apply(deployment(case, "example.com/none:1")).await?;
    let waited = case
        .deployment_available("web", Duration::from_secs(5))
        .await;
    let said = report(case, &waited.expect_err("its image is not there"));
    assert!(
        said.contains("for Deployment 'web' to be available; last seen: "),
        "{said}"
    );
    assert!(
        said.contains("Available False MinimumReplicasUnavailable"),
        "{said}"
    );
    assert!(
        said.contains("\npod web-") && said.contains("ErrImageNeverPull"),
        "{said}"
    );
    let error = case.wait("web", is_deployment_completed(), SOON).await;
    let said = report(case, &error.expect_err("it is not complete"));
    assert!(
        said.contains("for Deployment 'web' to be as the test expects"),
        "{said}"
    );

    let events = case.events().await?;
    let failed = "Warning ErrImageNeverPull Pod/web-";
    assert!(events.contains(failed), "{events}");
    assert!(events.lines().is_sorted(), "{events}");

    case.apply(deployment(case, &image(case))).await?;
    let web = case.deployment_available("web", DEADLINE).await?;
    assert_eq!(
        web.status.and_then(|status| status.available_replicas),
        Some(1)
    );
    case.wait("web", is_deployment_completed(), DEADLINE)
        .await?;
    let none = case
        .deployment_available("none", SOON)
        .await
        .expect_err("there is none");
    assert!(
        report(case, &none).contains("last seen: there is none of this name"),
        "{none:?}"
    );
    case.delete::<Deployment>("web").await?;
    Ok(())
}

#[kubenest::test(spec = good_node)]
async fn a_pods_log_commands_and_ports_are_reached(case: Case) -> Result<()> {
    let early = case.logs("server").await.expect_err("there is no pod yet");
    let said = "read the log of pod 'server': pods \"server\" not found: NotFound";
    assert_eq!(report(case, &early), said);
    case.apply(server(case)).await?;
    // The container may not be there yet.
    let log = case
        .logs_until(("server", "server"), "aside", DEADLINE)
        .await?;
    assert!(log.starts_with("begins\n"), "{log}");
    assert_eq!(case.logs("server").await?, "begins\naside\n");
    let never = case
        .logs_until("server", "ends", SOON)
        .await
        .expect_err("it never says so");
    let said = report(case, &never);
    assert!(
        said.contains("'ends' in the log of pod 'server'; last seen: begins\naside"),
        "{said}"
    );

    check_commands(case).await?;
    check_streams(case).await?;
    check_ended_pod(case).await
}

async fn check_commands(case: &Case<'_>) -> Result<()> {
    let script = "echo to stdout; echo to stderr >&2; exit 3";
    let output = case
        .exec("server", &["/bin/busybox", "sh", "-c", script])
        .await?;
    let streams = (output.text(), output.stderr.as_str());
    assert_eq!(
        (output.status, streams.0.as_str(), streams.1),
        (3, "to stdout\n", "to stderr\n")
    );
    // More than any buffer on the way holds.
    let many = ["/bin/busybox", "seq", "1", "100000"];
    let output = case.exec(("server", "server"), &many).await?;
    assert_eq!((output.status, output.text().lines().count()), (0, 100_000));
    let missing = case
        .exec("server", &["no-such-program"])
        .await
        .expect_err("there is none");
    assert!(
        report(case, &missing).contains("no-such-program"),
        "{missing:?}"
    );
    let missing = case
        .exec(("server", "none"), &["true"])
        .await
        .expect_err("there is none");
    let said = report(case, &missing);
    assert!(
        said.starts_with("run `true` in container 'none' of pod 'server': "),
        "{said}"
    );

    Ok(())
}

async fn check_streams(case: &Case<'_>) -> Result<()> {
    let mut stream = case.port_forward("server", PORT).await?;
    stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(
        answer.starts_with("HTTP/1.") && answer.ends_with("\r\n\r\nserver\n"),
        "{answer}"
    );
    case.logs_until("server", "response:200", DEADLINE).await?;
    let mut nobody = case.port_forward("server", 1).await?;
    answer.clear();
    nobody.read_to_string(&mut answer).await.ok();
    assert_eq!(answer, "");
    assert!(case.port_forward("none", PORT).await.is_err());

    Ok(())
}

async fn check_ended_pod(case: &Case<'_>) -> Result<()> {
    case.apply(
        server(case)
            .to_string()
            .replace("exec /bin", "exit 4; /bin")
            .replace("\"server\"}", "\"ended\"}")
            .replace("\"spec\":{", "\"spec\":{\"restartPolicy\":\"Never\","),
    )
    .await?;
    let ended = case
        .logs_until("ended", "more", DEADLINE)
        .await
        .expect_err("it has ended");
    let said = report(case, &ended);
    assert_eq!(
        said,
        "pod 'ended' ended without 'more' in its log: begins\naside"
    );
    Ok(())
}

const RIGHTS: &str = "\
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules: [{apiGroups: [''], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
";

#[kubenest::test(spec = good_node)]
async fn a_kubeconfig_has_its_rights_and_ends_with_its_case(cluster: &Cluster) -> Result<()> {
    let kubeconfig = cluster.case(async |case| check_rights(case).await).await?;
    assert!(!kubeconfig.exists(), "the kubeconfig outlived its case");
    Ok(())
}

/// Returns the path of a kubeconfig, which must end with the case.
async fn check_rights(case: &Case<'_>) -> Result<std::path::PathBuf> {
    case.apply(RIGHTS).await?;
    let client = case.client_as("reader").await?;
    Api::<ConfigMap>::default_namespaced(client.clone())
        .list(&Default::default())
        .await?;
    check_is_forbidden(case, client).await?;
    let none = case
        .client_as("none")
        .await
        .err()
        .context("there is no such account")?;
    assert!(
        report(case, &none).contains("serviceaccounts \"none\" not found"),
        "{none:?}"
    );

    // The same from a file, as a client of another version of kube has it.
    let from_file = async |path: &std::path::Path| -> Result<Client> {
        let config = Kubeconfig::read_from(path)?;
        let config = Config::from_custom_kubeconfig(config, &Default::default()).await?;
        assert_eq!(config.default_namespace, case.namespace());
        Ok(Client::try_from(config)?)
    };
    let file = case.kubeconfig_as("reader").await?;
    check_is_forbidden(case, from_file(&file).await?).await?;
    let admin = case.kubeconfig()?;
    let secrets = Api::<Secret>::default_namespaced(from_file(&admin).await?);
    assert_eq!(secrets.list(&Default::default()).await?.items.len(), 0);
    assert_eq!(nodes_by_kubeconfig(&admin).await?, [case.node().name()]);
    Ok(admin)
}

async fn check_is_forbidden(case: &Case<'_>, client: Client) -> Result<()> {
    let secrets = Api::<Secret>::default_namespaced(client);
    let refused = secrets
        .list(&Default::default())
        .await
        .expect_err("it has no right to");
    let kube::Error::Api(status) = refused else {
        anyhow::bail!("{refused}");
    };
    let user = format!("system:serviceaccount:{}:reader", case.namespace());
    assert_eq!(status.code, 403);
    assert!(status.message.contains(&user), "{}", status.message);
    Ok(())
}

#[kubenest::test(spec = good_node)]
async fn a_field_is_awaited_without_its_type(case: Case) -> Result<()> {
    case.apply(server(case)).await?;
    case.wait_for_field("Pod", "server", "{.status.phase}", "Running", DEADLINE)
        .await?;
    let ready = ".status.conditions[?(@.type == 'Ready')].status";
    case.wait_for_field("pods", "server", ready, "True", DEADLINE)
        .await?;
    case.wait("server", is_pod_running(), DEADLINE).await?;
    assert_eq!(
        case.api::<Pod>()
            .list(&Default::default())
            .await?
            .items
            .len(),
        1
    );
    let restarts = ".status.containerStatuses[0].restartCount";
    case.wait_for_field("Pod", "server", restarts, 0, DEADLINE)
        .await?;
    let node = case.node().name();
    case.wait_for_field("nodes", node, ".spec.unschedulable", "", SOON)
        .await
        .expect_err("none");

    let waited = case
        .wait_for_field("Pod", "server", ".status.phase", "Gone", SOON)
        .await;
    let said = report(case, &waited.expect_err("it runs"));
    let expected =
        "for $.status.phase of Pod 'server' to be Gone; last seen: it is Running; phase Running";
    assert!(said.contains(expected), "{said}");
    let unknown = case
        .wait_for_field("Duck", "donald", ".spec", "", SOON)
        .await;
    let said = report(case, &unknown.expect_err("there are no ducks"));
    assert!(
        said.starts_with("the cluster has no kind 'Duck'\ncure: "),
        "{said}"
    );
    Ok(())
}
