//! What every pod of a namespace needs, made without waiting for the controllers that would make it.

use std::fmt::Debug;

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, ServiceAccount},
};
use kube::{Api, Client, Resource, api::PostParams, core::ObjectMeta};
use serde::{Serialize, de::DeserializeOwned};

use super::answer;
use kubenest_base::Result;

/// The ConfigMap with the authority of the API server's certificate; every pod mounts it.
const ROOT_CA: &str = "kube-root-ca.crt";
/// A ConfigMap without this annotation is written again by its controller.
const DESCRIPTION: &str = "kubernetes.io/description";

/// Makes a namespace's `default` service account and its root-CA ConfigMap with this authority, in
/// PEM. Their controllers take them as they are.
///
/// # Errors
/// The API server refuses, or does not answer.
pub async fn create_account(client: &Client, namespace: &str, authority: &str) -> Result<()> {
    let account = ServiceAccount {
        metadata: metadata_of("default"),
        ..ServiceAccount::default()
    };
    let mut authority = ConfigMap {
        metadata: metadata_of(ROOT_CA),
        data: Some([("ca.crt".to_owned(), authority.to_owned())].into()),
        ..ConfigMap::default()
    };
    let about = "The authority of the API server's certificate".to_owned();
    authority.metadata.annotations = Some([(DESCRIPTION.to_owned(), about)].into());
    tokio::try_join!(
        create_unless_there(client, namespace, &account),
        create_unless_there(client, namespace, &authority)
    )?;
    Ok(())
}

fn metadata_of(name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    }
}

/// Creates an object; its controller may have been faster.
async fn create_unless_there<K>(client: &Client, namespace: &str, object: &K) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
    K::DynamicType: Default,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let create = async {
        match api.create(&PostParams::default(), object).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            created => created.map(drop),
        }
    };
    let name = object.meta().name.as_deref().unwrap_or_default();
    answer(|| format!("create '{name}' in '{namespace}'"), create).await
}
