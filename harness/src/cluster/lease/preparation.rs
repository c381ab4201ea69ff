//! Preparations: what is done to a cluster once, before tests get it.

use std::{fmt, sync::Arc};

use futures::future::BoxFuture;

use crate::cluster::Cluster;
use kubenest_base::{Error, Result, digest::sha256_hex};
use kubenest_docker::Docker;
use kubenest_evidence as evidence;
use kubenest_evidence::Occasion;
use kubenest_images::ImageSource;
use kubenest_node::objects::{self, Manifest, Manifests};

/// The namespace of objects that need one and name none.
const NAMESPACE: &str = "default";

/// What is done to a [leased](crate::lease) cluster once, after its boot and before the first test
/// gets it: its steps, in the order in which they were added.
///
/// ```
/// use kubenest::Preparation;
///
/// let preparation = Preparation::new("colours").apply(
///     "
///     apiVersion: v1
///     kind: ConfigMap
///     metadata: {name: colours}
///     data: {sky: blue}
///     ",
/// );
/// ```
#[derive(Debug, Clone)]
pub struct Preparation {
    name: String,
    steps: Vec<Step>,
}

#[derive(Clone)]
enum Step {
    Apply(Manifests),
    Load(ImageSource),
    Run(Code),
}

/// Code of a test's author.
type Code = Arc<dyn Fn(&Cluster) -> BoxFuture<'_, anyhow::Result<()>> + Send + Sync>;

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Apply(manifests) => f.debug_tuple("Apply").field(manifests).finish(),
            Self::Load(source) => f.debug_tuple("Load").field(source).finish(),
            Self::Run(_) => f.write_str("Run"),
        }
    }
}

impl Preparation {
    /// A preparation of this name without steps. The name stands in what people read, and tells
    /// apart preparations whose manifests and images are the same.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            steps: Vec::new(),
        }
    }

    /// Applies manifests, as [`Case::apply`](crate::Case::apply) does, to the cluster as a whole:
    /// what needs a namespace and names none gets the namespace `default`.
    #[must_use]
    pub fn apply(self, manifests: impl Into<Manifests>) -> Self {
        self.with(Step::Apply(manifests.into()))
    }

    /// Loads images into all nodes, as [`Images::load`](kubenest_images::Images::load) does. An
    /// image of the engine is another one when its id has changed.
    #[must_use]
    pub fn load(self, source: impl Into<ImageSource>) -> Self {
        self.with(Step::Load(source.into()))
    }

    /// Runs code on the cluster. What it does is not known beforehand: when it changes, change the
    /// preparation's name too.
    ///
    /// ```
    /// use kubenest::{Cluster, Preparation};
    ///
    /// async fn cordon(cluster: &Cluster) -> anyhow::Result<()> {
    ///     let node = cluster.control_plane();
    ///     let kubectl = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf"];
    ///     node.exec_ok(&[&kubectl[..], &["cordon", node.name()]].concat()).await?;
    ///     Ok(())
    /// }
    ///
    /// let preparation = Preparation::new("cordoned").run(|cluster| Box::pin(cordon(cluster)));
    /// ```
    #[must_use]
    pub fn run<F>(self, code: F) -> Self
    where
        F: Fn(&Cluster) -> BoxFuture<'_, anyhow::Result<()>> + Send + Sync + 'static,
    {
        self.with(Step::Run(Arc::new(code)))
    }

    fn with(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// Reads all that is to be applied and looks up all that is to be loaded, so that its content
    /// is known.
    pub(super) async fn resolve(&self, docker: &Docker) -> Result<ResolvedPreparation> {
        let mut content = String::new();
        let mut steps = Vec::new();
        for step in &self.steps {
            let (text, step) = match step {
                Step::Apply(manifests) => {
                    let objects = manifests.read()?;
                    let values: Vec<_> = objects.iter().map(Manifest::object).collect();
                    let text = serde_json::Value::from_iter(values.into_iter().cloned());
                    (format!("apply {text}"), ResolvedStep::Apply(objects))
                }
                Step::Load(source) => {
                    let text = format!("load {}", source.fingerprint(docker).await?);
                    (text, ResolvedStep::Load(source.clone()))
                }
                Step::Run(code) => ("run".to_owned(), ResolvedStep::Run(Arc::clone(code))),
            };
            content.push_str(&text);
            content.push('\n');
            steps.push(step);
        }
        Ok(ResolvedPreparation {
            name: self.name.clone(),
            content: sha256_hex(content.as_bytes()),
            steps,
        })
    }
}

/// A preparation of which all that it applies and loads is known.
pub(super) struct ResolvedPreparation {
    pub(super) name: String,
    /// The hash of all that it applies and loads.
    pub(super) content: String,
    steps: Vec<ResolvedStep>,
}

enum ResolvedStep {
    Apply(Vec<Manifest>),
    Load(ImageSource),
    Run(Code),
}

impl ResolvedPreparation {
    /// Prepares a cluster that nobody uses yet. If that fails, evidence is kept and the cluster
    /// removed.
    pub(super) async fn prepare(&self, cluster: Cluster) -> Result<Cluster> {
        for step in &self.steps {
            let Err(cause) = step.take(&cluster).await else {
                continue;
            };
            let what = format!("prepare cluster '{}' with '{}'", cluster.name(), self.name);
            let failed = Error::setup(what).because(cause);
            let occasion = Occasion {
                reason: "preparation failed",
                message: failed.report(),
                ..Occasion::default()
            };
            let kept = evidence::keep(cluster.subject(), &occasion).await;
            // Its lease is not settled, and ends with this handle.
            if let Err(error) = cluster.down().await {
                tracing::warn!("{}", error.report());
            }
            return Err(match kept {
                Some(kept) => failed.note(kept.to_string()),
                None => failed,
            });
        }
        Ok(cluster)
    }
}

impl ResolvedStep {
    async fn take(&self, cluster: &Cluster) -> anyhow::Result<()> {
        match self {
            Self::Apply(objects) => {
                evidence::hide(objects.iter().map(Manifest::object));
                objects::apply(&cluster.client(), NAMESPACE, None, objects).await?;
            }
            Self::Load(source) => {
                cluster.images().load(source.clone()).await?;
            }
            Self::Run(code) => code(cluster).await?,
        }
        Ok(())
    }
}
