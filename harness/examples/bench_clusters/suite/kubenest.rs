//! Tests on kubenest's leases, and with a cluster for each.

use ::kubenest::{ClusterSpec, cluster, engine::Docker};
use anyhow::Result;

use super::{Side, body::Body};

/// A lease that all tests share.
pub(super) struct Lease {
    docker: Docker,
    spec: ClusterSpec,
    name: String,
}

impl Lease {
    /// A cluster of a name that nobody else has, so that the first boots it.
    pub(super) fn new(docker: &Docker, recipe: &str) -> Result<Self> {
        let name = format!("bench-suite-{}", kubenest_base::random::hex(8));
        let spec = ClusterSpec::single_node()
            .with_name(&name)
            .with_recipe(recipe)?;
        Ok(Self {
            docker: docker.clone(),
            spec,
            name,
        })
    }

    pub(super) async fn remove(&self) -> Result<()> {
        Ok(cluster::remove(&self.docker, &self.name).await?)
    }
}

impl Side for Lease {
    /// Nothing: the first test boots it.
    async fn boot(&self) -> Result<()> {
        Ok(())
    }

    async fn test(&self, body: &Body) -> Result<f64> {
        // As `#[kubenest::test]` does it.
        let cluster = ::kubenest::lease(&self.spec).await?;
        cluster
            .case(async |case| body.run(&case.client(), case.namespace()).await)
            .await
    }
}

/// A cluster for each test.
pub(super) struct Own(ClusterSpec);

impl Own {
    pub(super) fn new(docker: &Docker, recipe: &str) -> Result<Self> {
        let spec = ClusterSpec::single_node().with_engine(docker);
        Ok(Self(spec.with_recipe(recipe)?))
    }
}

impl Side for Own {
    async fn boot(&self) -> Result<()> {
        Ok(())
    }

    async fn test(&self, body: &Body) -> Result<f64> {
        let cluster = self.0.clone().boot().await?;
        let body = cluster
            .case(async |case| body.run(&case.client(), case.namespace()).await)
            .await?;
        cluster.down().await?;
        Ok(body)
    }
}
