//! A small operator: keeps a copy of every config map that is labelled `copy=yes`.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client, Resource, ResourceExt, api::{Patch, PatchParams}, runtime::{Controller, controller::Action, watcher::{self, Config}}};

/// The name of a config map's copy.
pub fn copy_of(name: &str) -> String {
    format!("{name}-copy")
}

/// Runs the operator for one namespace until it is dropped.
pub async fn run(client: Client, namespace: String) {
    let maps = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    Controller::new(maps.clone(), Config::default().labels("copy=yes"))
        .owns(maps, watcher::Config::default())
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_secs(1)),
            Arc::new(client),
        )
        .for_each(async |outcome| {
            if let Err(error) = outcome {
                eprintln!("operator: {error}");
            }
        })
        .await;
}

async fn reconcile(source: Arc<ConfigMap>, client: Arc<Client>) -> kube::Result<Action> {
    let namespace = source.namespace().unwrap_or_default();
    let mut copy = ConfigMap {
        data: source.data.clone(),
        ..ConfigMap::default()
    };
    copy.metadata.name = Some(copy_of(&source.name_any()));
    // The copy goes when its source does.
    copy.metadata.owner_references = source.controller_owner_ref(&()).map(|owner| vec![owner]);
    let maps = Api::<ConfigMap>::namespaced(client.as_ref().clone(), &namespace);
    let apply = PatchParams::apply("downstream").force();
    maps.patch(&copy.name_any(), &apply, &Patch::Apply(&copy))
        .await?;
    Ok(Action::await_change())
}
