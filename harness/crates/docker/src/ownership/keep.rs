//! What says of a running cluster that it is kept: labels, once given, cannot be changed.

use std::collections::HashSet;

use bollard::{models::VolumeCreateRequest, query_parameters::ListVolumesOptions};

use super::labels::{BOOT, BootId, CLUSTER, KEPT, ROLE};
use crate::{Docker, explain::Explain};
use kubenest_base::Result;

impl Docker {
    /// Notes, by an empty volume, that this boot of a cluster outlives its owner; only the
    /// cluster's name, or `clean` of everything, then removes it.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn keep_cluster(&self, cluster: &str, boot: &BootId) -> Result<()> {
        let name = format!("kubenest-{cluster}-kept-{}", boot.as_str());
        let labels = self.labels(KEPT).cluster(cluster).boot(boot);
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(labels.map()),
            ..Default::default()
        };
        let made = self.raw().create_volume(request).await;
        made.explain(|| format!("create volume '{name}'"))?;
        Ok(())
    }

    /// The boots that [`keep_cluster`](Self::keep_cluster) was called for.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn kept_boots(&self) -> Result<HashSet<String>> {
        let filters = [CLUSTER.to_owned(), format!("{ROLE}={KEPT}")];
        let options = ListVolumesOptions {
            filters: Some([("label".to_owned(), filters.to_vec())].into()),
        };
        let list = self.raw().list_volumes(Some(options)).await;
        let marks = list.explain(|| "list volumes".into())?.volumes;
        let boots = marks.into_iter().flatten();
        Ok(boots
            .filter_map(|mut mark| mark.labels.remove(BOOT))
            .collect())
    }
}
