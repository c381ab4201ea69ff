//! The namespace of a case, with what pods need in it from the start.

use base64::{Engine, prelude::BASE64_STANDARD};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::PostParams, config::Kubeconfig};

use crate::Cluster;
use kubenest_base::{Context, Error, Result};
use kubenest_docker::{Owner, labels::OWNER};
use kubenest_node::objects;

impl Cluster {
    /// Makes a namespace with its `default` service account and its root-CA ConfigMap. Their
    /// controllers take them as they are, and nothing has to wait for a controller.
    pub(super) async fn make_namespace(&self, name: &str) -> Result<()> {
        let client = self.client();
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        let labels = self.docker().labels("case").cluster(self.name()).map();
        namespace.metadata.labels = Some(labels.into_iter().filter(is_label).collect());
        // No label: it has characters that Kubernetes does not allow there.
        let owner = (OWNER.to_owned(), Owner::current().to_string());
        namespace.metadata.annotations = Some([owner].into());
        let api = Api::<Namespace>::all(client.clone());
        let (params, what) = (PostParams::default(), || {
            "create the case's namespace".to_owned()
        });
        objects::answer(what, api.create(&params, &namespace)).await?;
        objects::create_account(&client, name, &self.authority()?).await
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

/// Whether Kubernetes accepts a label of Docker's: it is stricter, and the owner's label has
/// slashes.
fn is_label((_, value): &(String, String)) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    value.len() <= 63 && value.bytes().all(fine)
}
