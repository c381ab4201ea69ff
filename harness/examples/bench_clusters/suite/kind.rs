//! Tests on one cluster of kind's, as people write them with kube.

use std::path::PathBuf;

use ::kubenest::{
    engine::Docker,
    k8s_openapi::api::core::v1::{Namespace, ServiceAccount},
    kube::{
        Api, Client, Config,
        api::DeleteParams,
        config::Kubeconfig,
        runtime::wait::{Condition, await_condition},
    },
};
use anyhow::{Context, Result};
use kubenest_docker::{self as docker, Scope};
use kubenest_fixtures::kind::Kind;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{Side, body::Body};

pub(super) struct KindCluster<'a> {
    docker: &'a Docker,
    kind: &'a Kind,
    image: &'a str,
    name: String,
    folder: TempDir,
    created: OnceCell<()>,
}

impl<'a> KindCluster<'a> {
    pub(super) fn new(docker: &'a Docker, kind: &'a Kind, image: &'a str) -> Result<Self> {
        Ok(Self {
            docker,
            kind,
            image,
            name: format!("bench-suite-{}", kubenest_base::random::hex(8)),
            folder: tempfile::tempdir()?,
            created: OnceCell::new(),
        })
    }

    pub(super) async fn remove(&self) -> Result<()> {
        docker::sweep(self.docker, Scope::Cluster(&self.name)).await?;
        Ok(())
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }
}

impl Side for KindCluster<'_> {
    async fn boot(&self) -> Result<()> {
        let create = async || {
            let (docker, path) = (self.docker, self.kubeconfig());
            let created = self.kind.create(docker, &self.name, self.image, &path);
            created.await.map(drop)
        };
        Ok(self.created.get_or_try_init(create).await.copied()?)
    }

    async fn test(&self, body: &Body) -> Result<f64> {
        // Each test has a runtime of its own, and so a client.
        let kubeconfig = Kubeconfig::read_from(self.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?;
        let client = Client::try_from(config)?;
        let namespaces = Api::<Namespace>::all(client.clone());
        let mut namespace = Namespace::default();
        namespace.metadata.generate_name = Some("test-".into());
        let namespace = namespaces.create(&Default::default(), &namespace).await?;
        let name = namespace.metadata.name.context("it has no name")?;
        // No pod is accepted before its service account is there.
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &name);
        await_condition(accounts, "default", IsThere).await?;
        let seconds = body.run(&client, &name).await;
        namespaces.delete(&name, &DeleteParams::default()).await?;
        seconds
    }
}

struct IsThere;

impl Condition<ServiceAccount> for IsThere {
    fn matches_object(&self, account: Option<&ServiceAccount>) -> bool {
        account.is_some()
    }
}
