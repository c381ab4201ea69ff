//! What is known of a cluster while it lives, so that evidence can be collected at any moment:
//! by a test that fails, on a signal, and by others when this process was killed.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    killed, panics,
    redact::{Redactor, secrets_in},
};
use kubenest_base::{Result, settings::settings};
use kubenest_docker::{Docker, labels::Owner};
use kubenest_recipe::recipe::Versions;

/// How long a node may take to begin or end a case.
const NODE: Duration = Duration::from_secs(10);
/// Folder in the nodes for what cases keep.
const KEPT: &str = "/var/log/kubenest";

/// The clusters that live in this process.
static LIVE: Mutex<Vec<Subject>> = Mutex::new(Vec::new());
/// What Secrets that this process saw hold; it is never written down.
static SECRETS: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A cluster that evidence can be collected of.
#[derive(Debug, Clone)]
pub struct Subject {
    docker: Docker,
    known: Arc<Mutex<Known>>,
}

/// What is known of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Known {
    /// Its name.
    pub(super) cluster: String,
    /// The test it is for; empty outside tests.
    pub(super) test: String,
    /// The process that owns it, as in labels, and its number.
    pub(super) owner: String,
    pub(super) process: u32,
    /// The containers of its nodes.
    pub(super) nodes: Vec<String>,
    pub(super) versions: Versions,
    /// Boot and test, step by step; beside the rest when it is written down.
    #[serde(skip)]
    pub(super) steps: Vec<Step>,
    pub(super) case: Option<Window>,
    /// Evidence of a failure was kept.
    pub(super) kept: bool,
    /// The user's own patterns of what is to be kept out.
    pub(super) redact: Option<String>,
    /// Where bundles go.
    pub(super) home: PathBuf,
    /// The folder of its name in the cache is its own.
    #[serde(skip)]
    pub(super) has_place: bool,
}

/// The time and the place of a case.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Window {
    /// Its namespace.
    pub(super) namespace: String,
    /// When it began, in microseconds since 1970.
    pub(super) since_us: i64,
}

/// What boot or test did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    /// When, in microseconds since 1970.
    pub(super) at_us: i64,
    /// A step of the boot, else of the test.
    pub(super) boot: bool,
    pub(super) failed: bool,
    pub(super) text: String,
}

impl Subject {
    /// A cluster about to be made by the test on this thread; it counts as living until it is
    /// [forgotten](Subject::forget).
    pub fn new(docker: &Docker, cluster: &str, nodes: &[String]) -> Self {
        let subject = Self::of(docker, cluster, nodes);
        panics::redact();
        lock(&LIVE).push(subject.clone());
        subject
    }

    /// A cluster that somebody else made.
    pub(super) fn of(docker: &Docker, cluster: &str, nodes: &[String]) -> Self {
        // libtest names its threads after the tests.
        let thread = std::thread::current();
        let test = thread.name().filter(|name| *name != "main");
        let known = Known {
            cluster: cluster.to_owned(),
            test: test.unwrap_or_default().to_owned(),
            owner: Owner::current().to_string(),
            process: std::process::id(),
            nodes: nodes.to_vec(),
            redact: settings().redact.clone(),
            home: super::bundle::home(),
            ..Known::default()
        };
        Self {
            docker: docker.clone(),
            known: Arc::new(Mutex::new(known)),
        }
    }

    /// The clusters that live in this process.
    pub(super) fn living() -> Vec<Self> {
        lock(&LIVE).clone()
    }

    /// It is being removed: nothing more is collected of it.
    pub fn forget(&self) {
        lock(&LIVE).retain(|other| !Arc::ptr_eq(&other.known, &self.known));
        self.leave_place();
    }

    /// Takes the place of its name in the cache and writes down there what is known, for others to
    /// find when this process is killed. Without it nothing is written: the place may be that of
    /// another cluster of this name.
    ///
    /// # Errors
    /// The place cannot be made.
    pub fn take_place(&self) -> Result<()> {
        let mut known = lock(&self.known);
        killed::prepare(&known.cluster)?;
        known.has_place = true;
        killed::note(&known);
        Ok(())
    }

    /// Nothing is to be saved of it any more, or ever.
    pub fn leave_place(&self) {
        let mut known = lock(&self.known);
        if std::mem::take(&mut known.has_place) {
            killed::forget(&known.cluster);
        }
    }

    /// Notes what its nodes are made of.
    pub fn made_of(&self, versions: &Versions) {
        self.change(|known| known.versions = versions.clone());
    }

    /// Notes a step of the boot that has just ended.
    pub fn booted(&self, text: impl Into<String>) {
        self.step(true, false, text.into());
    }

    /// Notes a step of the test.
    pub fn did(&self, text: impl Into<String>) {
        self.step(false, false, text.into());
    }

    /// Notes that boot or test failed.
    pub fn failed(&self, boot: bool, text: impl Into<String>) {
        self.step(boot, true, text.into());
    }

    /// Notes that evidence of a failure was kept.
    pub(super) fn kept(&self) {
        self.change(|known| known.kept = true);
    }

    /// Notes the begin of a case in this namespace; its nodes mark where their journals stand
    /// and keep the logs of pods that go. A node that cannot has a bundle that is not cut.
    pub async fn open_case(&self, namespace: &str) {
        let window = Window {
            namespace: namespace.to_owned(),
            since_us: now_us(),
        };
        let folder = Window::folder(namespace);
        let argv = ["bash", "-c", include_str!("keep.sh"), "keep", &folder];
        self.on_nodes(&argv).await;
        self.change(|known| known.case = Some(window));
    }

    /// Notes the end of the case; what its nodes kept for it goes.
    pub async fn close_case(&self) {
        let case = self.known().case;
        if let Some(case) = case {
            self.on_nodes(&["rm", "-rf", "--", &Window::folder(&case.namespace)])
                .await;
        }
        self.change(|known| known.case = None);
    }

    async fn on_nodes(&self, argv: &[&str]) {
        let nodes = self.known().nodes;
        let each = nodes.iter().map(async |node| {
            let run = self.docker.exec_bounded(node, argv, 1 << 16, NODE);
            if let Err(error) = run.await {
                tracing::debug!("{}", error.report());
            }
        });
        join_all(each).await;
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    pub(super) fn known(&self) -> Known {
        lock(&self.known).clone()
    }

    fn step(&self, boot: bool, failed: bool, text: String) {
        let step = Step {
            at_us: now_us(),
            boot,
            failed,
            text,
        };
        let mut known = lock(&self.known);
        if known.has_place {
            killed::note_step(&known.cluster, &step);
        }
        known.steps.push(step);
    }

    /// What a killed process knew is read from a file.
    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = lock(&self.known);
        change(&mut known);
        if known.has_place {
            killed::note(&known);
        }
    }
}

impl Known {
    /// What the bundle is about.
    pub(super) fn title(&self) -> String {
        match self.test.as_str() {
            "" => format!("cluster {}", self.cluster),
            test => test.to_owned(),
        }
    }

    /// Its versions by name; those not known are left out.
    pub(super) fn version_list(&self) -> BTreeMap<String, String> {
        let value = serde_json::to_value(&self.versions).unwrap_or_default();
        let fields = value.as_object().into_iter().flatten();
        let named =
            fields.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned())));
        named.filter(|(_, text)| !text.is_empty()).collect()
    }
}

impl Window {
    /// Where the nodes keep what belongs to the case of this namespace.
    pub(super) fn folder(namespace: &str) -> String {
        format!("{KEPT}/{namespace}")
    }
}

/// Adds what Secrets hold, and returns all that is known of them: a log may outlive its
/// namespace, and a test's words its cluster.
pub(super) fn learn(secrets: BTreeSet<String>) -> BTreeSet<String> {
    let mut known = lock(&SECRETS);
    known.extend(secrets);
    known.clone()
}

/// Notes what the Secrets among these documents hold, so that this process never shows it.
pub fn hide<'a>(documents: impl IntoIterator<Item = &'a serde_json::Value>) {
    learn(secrets_in(documents));
}

/// Takes out all that this process knows to be secret.
///
/// # Errors
/// `KUBENEST_REDACT` has a pattern that is none.
pub fn redactor() -> Result<Redactor> {
    let known = learn(BTreeSet::new());
    Ok(Redactor::new(settings().redact.as_deref())?.hiding(&known))
}

pub(super) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
