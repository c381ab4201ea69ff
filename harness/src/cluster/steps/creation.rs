//! Creates objects that the boot makes instead of kubeadm or the API server.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{DynamicObject, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::Value;

use crate::cluster::SLOW;
use kubenest_base::{
    Context, Result,
    wait::{self, Probe},
};
use kubenest_node::objects;

/// Kinds whose controllers make pods. They come last, because a controller that meets a missing
/// account waits before it tries again.
const WORKLOADS: [&str; 2] = ["DaemonSet", "Deployment"];

/// Waits until the API server has made a namespace of its own.
pub(super) async fn wait_for_namespace(client: &Client, name: &str) -> Result<()> {
    let api = Api::<Namespace>::all(client.clone());
    let what = format!("namespace '{name}'");
    wait::until(&what, SLOW, async || match api.get_opt(name).await {
        Ok(Some(_)) => Probe::Ready(()),
        Ok(None) => Probe::Pending("none".into()),
        Err(error) => Probe::Pending(error.to_string()),
    })
    .await
}

/// Creates these objects side by side. Those that make pods come after all but the Services, for which
/// pods need not wait.
pub(super) async fn create(client: &Client, objects: Vec<Value>) -> Result<()> {
    let is_service = |object: &Value| object["kind"] == "Service";
    let is_workload = |object: &Value| WORKLOADS.iter().any(|kind| object["kind"] == *kind);
    let (services, objects): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_service);
    let (workloads, others): (Vec<_>, Vec<_>) = objects.into_iter().partition(is_workload);
    let in_turn = async {
        for objects in [others, workloads] {
            try_join_all(objects.iter().map(|object| create_one(client, object))).await?;
        }
        Ok(())
    };
    let services = services
        .iter()
        .map(|service| create_service(client, service));
    tokio::try_join!(in_turn, try_join_all(services)).map(drop)
}

/// Creates an object.
pub(super) async fn create_one(client: &Client, object: &Value) -> Result<()> {
    let (api, of_kind) = api_and_object(client, object)?;
    let params = PostParams::default();
    let created = api.create(&params, &of_kind);
    objects::answer(|| format!("create {}", kind_and_name(object)), created)
        .await
        .map(drop)
}

/// Creates an object, unless the API server has made it meanwhile.
pub(super) async fn ensure_one(client: &Client, object: &Value) -> Result<()> {
    let (api, of_kind) = api_and_object(client, object)?;
    let made = create_if_absent(&api, &of_kind);
    objects::answer(|| format!("create {}", kind_and_name(object)), made).await
}

/// Creates a Service, unless it is there: then it is its address that the API server refuses first. From
/// 1.33 on an API server refuses each address until it has noted its ranges.
pub(super) async fn create_service(client: &Client, service: &Value) -> Result<()> {
    let (api, of_kind) = api_and_object(client, service)?;
    let what = format!("the API server to accept {}", kind_and_name(service));
    wait::until(&what, SLOW, async || {
        let refused = match create_if_absent(&api, &of_kind).await {
            Ok(()) => return Probe::Ready(()),
            Err(error) => error.to_string(),
        };
        match api.get_opt(&of_kind.name_any()).await {
            Ok(Some(_)) => Probe::Ready(()),
            _ => Probe::Pending(refused),
        }
    })
    .await
}

async fn create_if_absent(api: &Api<DynamicObject>, object: &DynamicObject) -> kube::Result<()> {
    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => made.map(drop),
    }
}

/// As "Service 'kube-dns'", for messages.
fn kind_and_name(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    format!("{kind} '{name}'")
}

/// The API of an object's kind, and the object as that takes it.
fn api_and_object(client: &Client, object: &Value) -> Result<(Api<DynamicObject>, DynamicObject)> {
    let text = |key: &str| object[key].as_str().unwrap_or_default();
    let version = text("apiVersion");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
    let of_kind: DynamicObject = serde_json::from_value(object.clone())
        .with_context(|| format!("create {}", kind_and_name(object)))?;
    let api = match &of_kind.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((api, of_kind))
}
