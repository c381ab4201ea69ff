//! The namespaces of failed tests on a shared cluster: each stays until its test runs again, and of
//! a cluster the newest few, so that people can look inside.

use std::{env, thread};

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::Case;
use crate::Cluster;
use kubenest_base::{Result, digest::sha256_hex, progress};
use kubenest_node::objects;

/// The label of such a namespace; its value tells its test from others.
pub(super) const FAILED: &str = "dev.kubenest.failed";
/// How many of them a cluster has at most.
const MOST: usize = 5;

impl Cluster {
    /// Removes the namespaces that earlier runs of this thread's test have left on a shared cluster.
    pub(super) async fn remove_failed(&self) -> Result<()> {
        if !self.is_shared() {
            return Ok(());
        }
        let selector = format!("{FAILED}={}", this_test());
        for namespace in self.failed_namespaces(&selector).await? {
            self.remove_namespace(&namespace).await?;
        }
        Ok(())
    }

    /// The namespaces of failed tests, the oldest first.
    async fn failed_namespaces(&self, selector: &str) -> Result<Vec<String>> {
        let (api, what) = (Api::<Namespace>::all(self.client()), || {
            "list the namespaces of failed tests".to_owned()
        });
        let params = ListParams::default().labels(selector);
        let mut found = objects::answer(what, api.list(&params)).await?.items;
        found.retain(|namespace| namespace.metadata.deletion_timestamp.is_none());
        found.sort_by_key(|namespace| namespace.metadata.creation_timestamp.clone());
        let names = found
            .into_iter()
            .filter_map(|namespace| namespace.metadata.name);
        Ok(names.collect())
    }

    /// Removes a namespace, without waiting for its end.
    pub(super) async fn remove_namespace(&self, name: &str) -> Result<()> {
        let api = Api::<Namespace>::all(self.client());
        let params = DeleteParams::default();
        let what = || format!("remove namespace '{name}'");
        objects::answer(what, api.delete(name, &params))
            .await
            .map(drop)
    }
}

impl Case<'_> {
    /// Leaves the namespace of this test, which has failed, and removes the oldest of others if
    /// there are too many.
    pub(super) async fn leave_namespace(&self) -> Result<()> {
        let (cluster, name) = (self.cluster, self.namespace());
        let api = Api::<Namespace>::all(self.client());
        let label = Patch::Merge(json!({"metadata": {"labels": {FAILED: this_test()}}}));
        let what = || format!("label namespace '{name}'");
        let params = PatchParams::default();
        objects::answer(what, api.patch(name, &params, &label)).await?;
        let failed = cluster.failed_namespaces(FAILED).await?;
        let surplus = failed.len().saturating_sub(MOST);
        for oldest in &failed[..surplus] {
            cluster.remove_namespace(oldest).await?;
        }
        progress!(
            "namespace '{name}' of cluster '{}' stays until this test runs again; look inside with \
             KUBECONFIG={}",
            cluster.name(),
            cluster.kubeconfig().display()
        );
        Ok(())
    }
}

/// Tells this thread's test from all others: the value of a label.
fn this_test() -> String {
    let program = env::current_exe().unwrap_or_default();
    // Without the hash that cargo adds, which changes with the code.
    let program = program.file_stem().unwrap_or_default().to_string_lossy();
    let program = program.rsplit_once('-').map_or(&*program, |(name, _)| name);
    let thread = thread::current();
    let test = thread.name().unwrap_or_default();
    let mut id = sha256_hex(format!("{program} {test}").as_bytes());
    id.truncate(16);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_told_from_others() {
        let other = thread::spawn(this_test).join().unwrap();
        assert_ne!(this_test(), other);
        assert_eq!(this_test(), this_test());
    }
}
