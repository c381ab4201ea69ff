//! What the nodes of a cluster share, and its removal.

use super::Inventory;
use crate::cluster::steps::volumes;
use kubenest_base::Result;
use kubenest_docker::SharedVolume;

impl Inventory {
    /// The volume for dynamic volumes of pods.
    pub(in crate::cluster) fn shared_volume(&self) -> SharedVolume {
        SharedVolume {
            name: self.volume_name(),
            labels: self.site.labels("volumes", &self.boot).map(),
            path: volumes::FOLDER.to_owned(),
        }
    }

    fn volume_name(&self) -> String {
        format!("kubenest-{}-volumes-{}", self.site.name, self.boot.as_str())
    }

    /// Removes what the nodes shared, when there are no nodes any more.
    pub(super) async fn remove_shared(&self, network: &str) -> Result<()> {
        let (docker, volume) = (&self.site.docker, self.volume_name());
        let (network, volume) = tokio::join!(
            docker.remove_network(network),
            docker.remove_volume(&volume)
        );
        network.and(volume)
    }
}
