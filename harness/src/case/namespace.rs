//! The namespace of a case, with what pods need in it from the start.

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{ConfigMap, Namespace, ServiceAccount},
};
use kube::{Api, Client, Resource, api::PostParams, config::Kubeconfig};
use serde::{Serialize, de::DeserializeOwned};

use crate::Cluster;
use kubenest_base::{Context, Error, Result};
use kubenest_node::objects;

/// The ConfigMap with the authority of the API server's certificate; every pod mounts it.
const ROOT_CA: &str = "kube-root-ca.crt";
/// A ConfigMap without this annotation is written again by its controller.
const DESCRIPTION: &str = "kubernetes.io/description";

impl Cluster {
    /// Makes a namespace with its `default` service account and its root-CA ConfigMap, and returns
    /// its name. Their controllers take them as they are, and nothing has to wait for a controller.
    pub(super) async fn make_namespace(&self) -> Result<String> {
        let client = self.client();
        let mut namespace = Namespace::default();
        namespace.metadata.generate_name = Some("case-".into());
        let labels = self.docker().labels("case").cluster(self.name()).map();
        namespace.metadata.labels = Some(labels.into_iter().filter(is_label).collect());
        let api = Api::<Namespace>::all(client.clone());
        let (params, what) = (PostParams::default(), || {
            "create the case's namespace".to_owned()
        });
        let namespace = objects::answer(what, api.create(&params, &namespace)).await?;
        let name = namespace.metadata.name.unwrap_or_default();
        let account = ServiceAccount {
            metadata: named("default"),
            ..ServiceAccount::default()
        };
        let mut authority = ConfigMap {
            metadata: named(ROOT_CA),
            data: Some([("ca.crt".to_owned(), self.authority()?)].into()),
            ..ConfigMap::default()
        };
        let about = "The authority of the API server's certificate".to_owned();
        authority.metadata.annotations = Some([(DESCRIPTION.to_owned(), about)].into());
        tokio::try_join!(
            make_unless_there(&client, &name, &account),
            make_unless_there(&client, &name, &authority)
        )?;
        Ok(name)
    }

    /// The authority of the API server's certificate, as PEM.
    fn authority(&self) -> Result<String> {
        let path = self.kubeconfig();
        let what = || format!("read the authority in '{}'", path.display());
        let kubeconfig = Kubeconfig::read_from(path).with_context(what)?;
        let mut clusters = kubeconfig.clusters.into_iter();
        let authority = clusters.find_map(|named| named.cluster?.certificate_authority_data);
        let authority = authority.ok_or_else(|| Error::setup("there is none"));
        let authority = authority.with_context(what)?;
        let pem = BASE64_STANDARD.decode(authority).with_context(what)?;
        String::from_utf8(pem).with_context(what)
    }
}

fn named(name: &str) -> kube::core::ObjectMeta {
    kube::core::ObjectMeta {
        name: Some(name.to_owned()),
        ..kube::core::ObjectMeta::default()
    }
}

/// Creates an object; its controller may have been faster.
async fn make_unless_there<K>(client: &Client, namespace: &str, object: &K) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Serialize,
    K::DynamicType: Default,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let create = async {
        match api.create(&PostParams::default(), object).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            created => created.map(drop),
        }
    };
    let name = object.meta().name.as_deref().unwrap_or_default();
    objects::answer(|| format!("create '{name}' in '{namespace}'"), create).await
}

/// Whether Kubernetes accepts a label of Docker's: it is stricter, and the owner's label has
/// slashes.
fn is_label((_, value): &(String, String)) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    value.len() <= 63 && value.bytes().all(fine)
}
