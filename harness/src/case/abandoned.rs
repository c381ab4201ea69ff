//! What tests of killed processes have left in a cluster that others go on using.

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, api::ListParams};

use super::failed::FAILED;
use crate::{
    Cluster,
    cluster::contents::{self, ObjectState},
};
use kubenest_base::{Result, progress};
use kubenest_docker::{
    Liveness, Owner,
    labels::{OWNER, ROLE},
};
use kubenest_node::objects::{self, CASE};

impl Cluster {
    /// Removes the namespaces of cases whose processes are dead, and before them what those cases
    /// have made outside: a webhook without its server would refuse the removal. Nothing waits for
    /// the end. Errors are only logged: whoever comes next tries it again.
    pub(crate) async fn remove_abandoned(&self) {
        if let Err(error) = self.try_remove_abandoned().await {
            tracing::warn!("{}", error.report());
        }
    }

    async fn try_remove_abandoned(&self) -> Result<()> {
        let client = self.client();
        let params = ListParams::default().labels(&format!("{ROLE}=case,!{FAILED}"));
        let (api, what) = (Api::<Namespace>::all(client.clone()), || {
            "list the namespaces of cases".to_owned()
        });
        let mut found = objects::answer(what, api.list(&params)).await?.items;
        found.retain(is_abandoned);
        for name in found.into_iter().filter_map(|one| one.metadata.name) {
            let made = ListParams::default().labels(&format!("{CASE}={name}"));
            let mut made = contents::list(&client, &made).await?;
            made.sort_by_key(ObjectState::rank);
            for object in &made {
                object.remove(&client).await?;
            }
            self.remove_namespace(&name).await?;
            progress!("removed namespace '{name}', whose test was killed");
        }
        Ok(())
    }
}

/// Whether the process of a case is dead.
fn is_abandoned(namespace: &Namespace) -> bool {
    let meta = &namespace.metadata;
    let owner = meta.annotations.as_ref().and_then(|notes| notes.get(OWNER));
    let owner = owner.and_then(|owner| owner.parse::<Owner>().ok());
    let is_dead = owner.is_some_and(|owner| owner.liveness() == Liveness::Dead);
    is_dead && meta.deletion_timestamp.is_none()
}
