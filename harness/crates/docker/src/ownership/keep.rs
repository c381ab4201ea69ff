//! Marks a running cluster as kept. A label cannot do this, because labels cannot be changed later.

use std::collections::HashSet;

use bollard::{models::VolumeCreateRequest, query_parameters::ListVolumesOptions};

use super::{
    labels::{BOOT, BootId, CLUSTER, KEPT, ROLE},
    owner::Owner,
};
use crate::{Docker, explain::Explain};
use kubenest_base::Result;

impl Docker {
    /// Records, as an empty volume, that this boot of a cluster outlives this owner. Only a removal
    /// by the cluster's name, or a `clean` of everything, then removes the cluster.
    ///
    /// # Errors
    /// The engine refuses.
    pub async fn keep_cluster(&self, owner: &Owner, cluster: &str, boot: &BootId) -> Result<()> {
        let name = format!("kubenest-{cluster}-kept-{}", boot.as_str());
        let labels = self.labels(KEPT).owner(owner).cluster(cluster).boot(boot);
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
