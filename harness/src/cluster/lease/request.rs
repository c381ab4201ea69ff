//! What is asked of a lease.

use futures::future::BoxFuture;

use super::{Preparation, take};
use crate::cluster::{Cluster, ClusterSpec, boot};
use kubenest_base::Result;

/// A cluster of this spec that all tests share: the first who needs it boots it, in whatever thread
/// or process, and the others use the same.
///
/// Specs share a cluster if they ask for the same nodes of the same versions on the same engine,
/// under the same name if they name it, from the same cache, and with the same
/// [preparation](LeaseRequest::prepared). Whoever finds the cluster gone or unhealthy gets another
/// one.
///
/// Dropping the handle, and [`Cluster::down`], only release it. The cluster ends when nobody has
/// held it for ten minutes, or one minute where `CI` is set, or what `KUBENEST_IDLE` said in the
/// process that booted it. `kubenest list` shows who holds it; `kubenest down` ends it at once.
///
/// On a cluster that others use [`Cluster::case`] repairs nothing. A test that changes nodes asks
/// for one that it has [alone](LeaseRequest::exclusive). Where the engine does not see the locks of
/// this machine, because it is on another one, each call boots a cluster that ends with its handle.
///
/// # Errors
/// Those of the awaited request: as [`ClusterSpec::boot`]; or the name of the spec is that of
/// another cluster, for example of one that is leased from another cache; or its preparation failed.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// let cluster = kubenest::lease(&kubenest::ClusterSpec::single_node()).await?;
/// cluster
///     .case(async |case| {
///         println!("{} is mine alone", case.namespace());
///         Ok(())
///     })
///     .await
/// # }
/// ```
pub fn lease(spec: &ClusterSpec) -> LeaseRequest {
    LeaseRequest {
        spec: spec.clone(),
        preparation: None,
        exclusive: false,
    }
}

/// A [`lease`] that is not yet taken: awaiting it takes it.
#[derive(Debug, Clone)]
#[must_use = "only awaiting it leases a cluster"]
pub struct LeaseRequest {
    pub(super) spec: ClusterSpec,
    pub(super) preparation: Option<Preparation>,
    pub(super) exclusive: bool,
}

impl LeaseRequest {
    /// Prepares the cluster once, after its boot, for all who lease it with the same preparation.
    ///
    /// A preparation that applies or loads something else than before makes another cluster, and
    /// ends the earlier one when nobody holds it.
    ///
    /// ```no_run
    /// # async fn example() -> anyhow::Result<()> {
    /// use std::path::Path;
    ///
    /// use kubenest::{ClusterSpec, Preparation};
    ///
    /// let operator = Preparation::new("operator")
    ///     .load("my-operator:dev")
    ///     .apply(Path::new("config/crd"));
    /// let spec = ClusterSpec::single_node();
    /// let cluster = kubenest::lease(&spec).prepared(operator).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn prepared(mut self, preparation: Preparation) -> Self {
        self.preparation = Some(preparation);
        self
    }

    /// Takes a cluster that nobody else has until its handle is dropped: for a test that changes
    /// nodes, or that needs what there is once in a cluster.
    ///
    /// The next who takes it gets it as it was handed out first. What tests left in it is undone
    /// where that is safe: objects and images that were not there are removed, stopped services are
    /// started, taints and labels of nodes are put back. After anything else, such as a changed file,
    /// a removed image or a filled disk, the cluster is replaced, and the reason said.
    ///
    /// The machine decides how many such clusters are in use at a time; others wait for their turn.
    /// A test that takes two at a time can wait for itself on a machine that holds one.
    ///
    /// ```no_run
    /// # async fn example() -> anyhow::Result<()> {
    /// use kubenest::ClusterSpec;
    ///
    /// let cluster = kubenest::lease(&ClusterSpec::single_node()).exclusive().await?;
    /// cluster
    ///     .control_plane()
    ///     .exec_ok(&["systemctl", "restart", "containerd"])
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn exclusive(mut self) -> Self {
        self.exclusive = true;
        self
    }
}

impl IntoFuture for LeaseRequest {
    type Output = Result<Cluster>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        // Boxed: it is a large future, and test threads have small stacks.
        Box::pin(async move {
            self.spec.check()?;
            boot::begin(&self.spec)?;
            boot::note_broken_setup(take(&self).await)
        })
    }
}
