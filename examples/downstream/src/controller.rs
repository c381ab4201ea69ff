//! The controller: makes a config map and a deployment for each page.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{Controller, controller::Action, watcher::Config},
};
use serde_json::json;

use crate::{PORT, Page};

/// What a controller needs to know.
struct Context {
    client: Client,
    namespace: String,
    /// An image with busybox.
    image: String,
}

/// Runs the controller for one namespace until it is dropped.
pub async fn run(client: Client, namespace: String, image: String) {
    let pages = Api::<Page>::namespaced(client.clone(), &namespace);
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    let context = Context {
        client,
        namespace,
        image,
    };
    let retry =
        |_: Arc<Page>, _: &kube::Error, _: Arc<Context>| Action::requeue(Duration::from_secs(1));
    Controller::new(pages, Config::default())
        .owns(maps, Config::default())
        .owns(deployments, Config::default())
        .run(reconcile, retry, Arc::new(context))
        .for_each(async |outcome| {
            if let Err(error) = outcome {
                eprintln!("operator: {error}");
            }
        })
        .await;
}

async fn reconcile(page: Arc<Page>, context: Arc<Context>) -> kube::Result<Action> {
    let (client, namespace) = (context.client.clone(), context.namespace.as_str());
    let name = page.name_any();
    let apply = PatchParams::apply("page-operator").force();
    // Both go when their page does.
    let owners: Vec<_> = page.controller_owner_ref(&()).into_iter().collect();
    let metadata = json!({"name": name, "ownerReferences": owners});

    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"index.html": page.spec.text},
    });
    let maps = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    maps.patch(&name, &apply, &Patch::Apply(&map)).await?;

    let labels = json!({"page": name});
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": page.spec.replicas,
            "selector": {"matchLabels": labels},
            "template": {
                // Another text is another pod: a mounted one changes only after a minute.
                "metadata": {"labels": labels, "annotations": {"example.com/text": page.spec.text}},
                "spec": pod(&name, &context.image),
            },
        },
    });
    let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
    let made = deployments
        .patch(&name, &apply, &Patch::Apply(&deployment))
        .await?;

    let ready = made.status.and_then(|status| status.ready_replicas);
    let status = json!({
        "apiVersion": "example.com/v1",
        "kind": "Page",
        "status": {"ready": ready.unwrap_or_default()},
    });
    let pages = Api::<Page>::namespaced(client, namespace);
    pages
        .patch_status(&name, &apply, &Patch::Apply(&status))
        .await?;
    Ok(Action::await_change())
}

/// The spec of a pod that serves the page of this name.
fn pod(name: &str, image: &str) -> serde_json::Value {
    let port = PORT.to_string();
    json!({
        "terminationGracePeriodSeconds": 0,
        "containers": [{
            "name": "server",
            "image": image,
            "imagePullPolicy": "Never",
            "command": ["/bin/busybox", "httpd", "-f", "-p", port, "-h", "/pages"],
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            "volumeMounts": [{"name": "pages", "mountPath": "/pages"}],
        }],
        "volumes": [{"name": "pages", "configMap": {"name": name}}],
    })
}
