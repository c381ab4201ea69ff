//! A part of an operator: it keeps a note of what it has seen in each namespace.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Config,
    api::{Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};

/// The name of the note.
pub const NOTE: &str = "seen";

/// A client for the cluster of this kubeconfig, of this project's own kube.
pub async fn client_from(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Notes how many ConfigMaps the client's namespace has beside the note itself.
pub async fn note(client: Client) -> Result<usize> {
    let api = Api::<ConfigMap>::default_namespaced(client);
    let found = api.list(&Default::default()).await?;
    let is_note = |found: &&ConfigMap| found.metadata.name.as_deref() == Some(NOTE);
    let seen = found.items.len() - found.iter().filter(is_note).count();
    let mut note = ConfigMap {
        data: Some(BTreeMap::from([("seen".to_owned(), seen.to_string())])),
        ..ConfigMap::default()
    };
    note.metadata.name = Some(NOTE.to_owned());
    let params = PatchParams::apply("older-kube").force();
    api.patch(NOTE, &params, &Patch::Apply(&note)).await?;
    Ok(seen)
}
