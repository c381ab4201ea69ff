//! Networks of clusters.

use std::collections::HashMap;

use bollard::models::{NetworkConnectRequest, NetworkCreateRequest};

use super::{Docker, explain::Explain, is_gone};
use kubenest_base::{Error, Result};

/// The address on which ports are published that name none.
const BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";

impl Docker {
    /// Makes a bridge network and returns its id, because another network may get the same name.
    /// What its containers publish is on 127.0.0.1 only.
    ///
    /// # Errors
    /// The name is taken, or the engine has no address range left for it.
    pub async fn create_network(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<String> {
        // The engine allows two networks of one name; a container could then join either.
        if self.network_exists(name).await? {
            return Err(
                Error::input(format!("network '{name}' is there already")).cure(format!(
                    "choose another cluster name, or `docker network rm {name}`"
                )),
            );
        }
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            driver: Some("bridge".into()),
            options: Some([(BINDING.to_owned(), "127.0.0.1".to_owned())].into()),
            labels: Some(labels),
            ..Default::default()
        };
        let made = self.raw().create_network(request).await.map_err(|cause| {
            Error::setup(format!("create network '{name}'"))
                .because(cause)
                .cure(
                    "free an address range: `kubenest clean`, then `docker network prune`, \
                 or add default-address-pools to the engine's configuration",
                )
        })?;
        Ok(made.id)
    }

    /// Whether there is a network of that name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn network_exists(&self, name: &str) -> Result<bool> {
        match self.raw().inspect_network(name, None).await {
            Ok(_) => Ok(true),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(error).explain(|| format!("inspect network '{name}'")),
        }
    }

    /// Puts a container on a network as well.
    ///
    /// # Errors
    /// There is no such container or network, or it is on it already.
    pub async fn join_network(&self, container: &str, network: &str) -> Result<()> {
        let request = NetworkConnectRequest {
            container: container.to_owned(),
            ..Default::default()
        };
        let joined = self.raw().connect_network(network, request).await;
        joined.explain(|| format!("put container '{container}' on network '{network}'"))
    }

    /// Removes a network. A missing network is no error.
    ///
    /// # Errors
    /// Containers are on it.
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        match self.raw().remove_network(name).await {
            Err(error) if !is_gone(&error) => {
                Err(error).explain(|| format!("remove network '{name}'"))
            }
            _ => Ok(()),
        }
    }
}
