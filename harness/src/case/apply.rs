//! `apply`: manifests of any kind, for one case.

use kube::api::DynamicObject;

use super::Case;
use kubenest_base::Result;
use kubenest_evidence as evidence;
use kubenest_node::objects::{self, Manifest, Manifests};

impl Case<'_> {
    /// Applies manifests by server-side apply: YAML or JSON text with any number of documents and
    /// lists, a file or the files of a folder, or a value. The kinds may be any that the cluster
    /// has, or that the manifests define.
    ///
    /// CustomResourceDefinitions are applied first, and served before anything else is applied;
    /// then Namespaces, then all others in the order in which they stand. Objects that need a
    /// namespace and name none get the case's. The field manager is `kubenest`, and fields that no
    /// schema knows are refused. Returns the objects in the order of applying.
    ///
    /// # Outside the namespace
    /// What is made outside the case's namespace, such as a ClusterRole, is labelled as the case's
    /// own (`dev.kubenest.case`) and removed with it, without waiting. What was there before and
    /// belongs to no case, such as the Namespace `default`, is changed and stays.
    ///
    /// # Errors
    /// All of these are failures of the test: a manifest cannot be read, a kind is unknown, the API
    /// server refuses an object, or another case that still runs has made one of the same name
    /// outside its namespace. The error names the file, the document and the field. If the API
    /// server does not answer, that is none.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// use std::path::Path;
    ///
    /// case.apply(Path::new("deploy")).await?;
    /// let applied = case
    ///     .apply(
    ///         "
    ///         apiVersion: v1
    ///         kind: ConfigMap
    ///         metadata: {name: colours}
    ///         data: {sky: blue}
    ///         ",
    ///     )
    ///     .await?;
    /// assert_eq!(applied[0].data["data"]["sky"], "blue");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn apply(&self, manifests: impl Into<Manifests>) -> Result<Vec<DynamicObject>> {
        let manifests = manifests.into();
        self.note_step(format!("apply {manifests}"));
        let objects = manifests.read()?;
        evidence::hide(objects.iter().map(Manifest::object));
        let (client, outside) = (self.client(), Some(&self.outside));
        let applied = objects::apply(&client, self.namespace(), outside, &objects).await;
        self.note_result(&format!("applied {} objects", objects.len()), &applied);
        applied
    }
}
