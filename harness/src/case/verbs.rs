//! What a test does in its case: makes objects, waits, and notes what it does and sees.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{NamespaceResourceScope, api::core::v1::Pod};
use kube::{Api, Client, Resource};
use serde::{Serialize, de::DeserializeOwned};

use super::Case;
use crate::{
    Cluster,
    wait::{self, Probe},
};
use kubenest_base::Result;
use kubenest_evidence as evidence;
use kubenest_evidence::{Bundle, Occasion};
use kubenest_node::{node::Node, objects};

impl<'a> Case<'a> {
    /// The cluster it runs in.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// A client with administrator's rights.
    pub fn client(&self) -> Client {
        self.cluster.client()
    }

    /// The control plane's node.
    pub fn node(&self) -> &'a Node {
        self.cluster.control_plane()
    }

    /// The namespace of its own.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Objects of one kind in its namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), &self.namespace)
    }

    /// Makes an object in its namespace.
    ///
    /// # Errors
    /// The API server refuses it: that is the test's own failure. That it does not answer is not.
    pub async fn create<K>(&self, object: &K) -> Result<K>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let name = object.meta().name.clone().unwrap_or_default();
        self.note_step(format!("create {kind} {name}"));
        if kind == "Secret" {
            evidence::hide(&serde_json::to_value(object));
        }
        objects::create(&self.client(), &self.namespace, object).await
    }

    /// Waits until a pod of its namespace is Ready.
    ///
    /// # Errors
    /// The pod ended, or is not Ready in time: the error has its state, and is the test's own
    /// failure. That the API server did not answer is not.
    pub async fn pod_ready(&self, name: &str, deadline: Duration) -> Result<Pod> {
        self.note_step(format!("wait for pod {name}"));
        let ready = objects::pod_ready(&self.client(), &self.namespace, name, deadline).await;
        self.ended(&format!("pod {name} is Ready"), &ready);
        ready
    }

    /// Waits for a condition; see [`wait::until`].
    ///
    /// # Errors
    /// A timeout with what was seen last, which is the test's own failure; or the probe's own:
    /// that of [`Probe::never`] is the test's, and an error of kubenest's that
    /// [`Probe::Failed`] hands on stays what it is.
    pub async fn until<T, F: Future<Output = Probe<T>>>(
        &self,
        what: &str,
        deadline: Duration,
        probe: impl FnMut() -> F,
    ) -> Result<T> {
        self.note_step(format!("wait for {what}"));
        let seen = wait::until(what, deadline, probe).await;
        self.ended(&format!("saw {what}"), &seen);
        seen
    }

    /// Notes a step of the test, for the time line that is kept of a failure. Waiting and
    /// creating are noted without it.
    pub fn note_step(&self, what: impl AsRef<str>) {
        self.subject.note_step(format!("test: {}", what.as_ref()));
    }

    fn ended<T>(&self, well: &str, result: &Result<T>) {
        match result {
            Ok(_) => self.note_step(well),
            Err(error) => self.subject.note_failure(false, error.report()),
        }
    }

    /// Notes for the report what the test expects and what it saw; the test's own
    /// assertion decides.
    pub fn note_observed(&self, expected: impl Into<String>, observed: impl Into<String>) {
        self.seen.replace(Some((expected.into(), observed.into())));
    }

    /// Notes for the report that the documented failure shows itself now: how long after the
    /// boot began a test without the gate would have met it. The first call counts.
    pub fn note_failure_shown(&self) {
        let after = self.cluster.started().elapsed().as_secs_f64();
        self.shown.set(Some(self.shown.get().unwrap_or(after)));
    }

    /// Collects what there is of the case now, with what it [saw](Case::note_observed), as is done when it
    /// fails: for a test of a failure that has to be understood from what it leaves.
    ///
    /// It stays if the case fails, beside the evidence of that, and is else removed with the
    /// case; [`Cluster::evidence`] writes what stays anyway.
    ///
    /// # Errors
    /// It cannot be written.
    ///
    /// ```no_run
    /// # async fn example(cluster: kubenest::Cluster) -> anyhow::Result<()> {
    /// cluster
    ///     .case(async |case| {
    ///         case.node().exec_ok(&["systemctl", "kill", "--signal=KILL", "containerd"]).await?;
    ///         let kept = case.evidence().await?;
    ///         assert!(kept.folder.join("index.html").is_file());
    ///         Ok(())
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn evidence(&self) -> Result<Bundle> {
        let home = evidence::temporary_home()?;
        let (expected, observed) = self.seen.borrow().clone().unzip();
        let why = Occasion {
            expected,
            observed,
            ..Occasion::asked_for()
        };
        let kept = evidence::of_subject(&self.subject, &why, Some(home.path())).await;
        self.asked.borrow_mut().push(home);
        kept
    }
}
