//! Containers of testcontainers beside the nodes, which the pods of a case reach by name.

use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use serde_json::json;
use testcontainers::{
    ContainerAsync, ContainerRequest, Image, ImageExt,
    core::client::{ClientError, docker_client_instance},
    runners::AsyncRunner,
};

use super::Case;
use kubenest_base::{Context, Error, Result};
use kubenest_docker::{Docker, labels::NAME};

/// The role of the containers in labels.
const ROLE: &str = "container";

impl Case<'_> {
    /// Starts a container of testcontainers beside the nodes. Pods of the case reach it as `name`,
    /// at the ports on which it listens; the test reaches it as testcontainers says, on 127.0.0.1
    /// only. It goes when the returned value is dropped, and at the latest with the cluster, however
    /// the test ends.
    ///
    /// testcontainers takes its engine from the environment. `kubenest test` and `cargo xtask`
    /// point it at the engine of the clusters; other runners leave that to you.
    ///
    /// # Errors
    /// testcontainers would use another engine than the cluster, which the cure explains; the name
    /// cannot be that of a Service; or the container does not start.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// use testcontainers::{GenericImage, ImageExt, core::WaitFor};
    ///
    /// let image = GenericImage::new("postgres", "17")
    ///     .with_wait_for(WaitFor::message_on_stderr("ready to accept connections"))
    ///     .with_env_var("POSTGRES_HOST_AUTH_METHOD", "trust");
    /// let database = case.start_container("database", image).await?;
    /// // Pods reach it as database:5432, the test at this port of 127.0.0.1.
    /// let port = database.get_host_port_ipv4(5432).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start_container<I: Image>(
        &self,
        name: &str,
        image: impl Into<ContainerRequest<I>>,
    ) -> Result<ContainerAsync<I>> {
        let docker = self.cluster().docker();
        require_engine(docker).await?;
        let container = format!("{}-{name}", self.namespace());
        let labels = self.cluster().labels(ROLE);
        let started = image
            .into()
            .with_labels(labels)
            .with_label(NAME, &container)
            .with_container_name(&container)
            .with_network(self.cluster().network())
            .start()
            .await
            .map_err(|cause| Error::setup(format!("start container '{name}'")).because(cause))?;
        let address = address(docker, started.id(), &self.cluster().network()).await?;
        self.name_address(name, &address).await?;
        Ok(started)
    }

    /// Gives an address outside the cluster a name in the case's namespace.
    async fn name_address(&self, name: &str, address: &str) -> Result<()> {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": name},
            "spec": {"clusterIP": "None"},
        }))
        .context("describe a Service")?;
        self.create(&service).await?;
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
            "ports": [],
        }))
        .context("describe an EndpointSlice")?;
        self.create(&slice).await?;
        Ok(())
    }
}

/// The address that a container has on a network.
async fn address(docker: &Docker, container: &str, network: &str) -> Result<String> {
    let about = docker.inspect(container).await?;
    let address = about["NetworkSettings"]["Networks"][network]["IPAddress"].as_str();
    let address = address.filter(|address| !address.is_empty());
    address.map(str::to_owned).ok_or_else(|| {
        Error::setup(format!(
            "container {container} has no address on network {network}"
        ))
        .cure("see its log: it may have ended at once")
    })
}

/// Requires that testcontainers uses the engine of the cluster.
async fn require_engine(docker: &Docker) -> Result<()> {
    let theirs = async {
        let client = docker_client_instance().await?;
        Ok::<_, ClientError>(client.info().await.map(|info| info.id).ok().flatten())
    };
    let theirs = theirs.await.ok().flatten();
    let seen = match theirs {
        Some(id) if id == docker.info().await?.id => return Ok(()),
        Some(_) => "testcontainers uses another engine than the cluster",
        None => "testcontainers finds no engine",
    };
    let variables = docker.endpoint().variables().into_iter();
    let variables: Vec<_> = variables
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    Err(Error::setup(seen).cure(format!(
        "run the tests with `kubenest test`, or with {}",
        variables.join(" ")
    )))
}
