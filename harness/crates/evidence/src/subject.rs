//! What is known of a living cluster, so that evidence can be collected at any moment: when a test
//! fails, on a signal, and by another process after this one was killed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::{
    home::home,
    notebook,
    notes::{About, CaseNotes, ClusterNotes, Held, Notes, Step},
    panics,
    part::place,
};
use kubenest_base::{Result, settings::Settings};
use kubenest_docker::{Docker, Owner, labels::BootId};
use kubenest_recipe::recipe::Versions;

/// The clusters that live in this process.
static LIVE: Mutex<Vec<Subject>> = Mutex::new(Vec::new());

/// A cluster, or one case on it, of which evidence can be collected.
#[derive(Debug, Clone)]
pub struct Subject {
    docker: Docker,
    known: Arc<Mutex<Known>>,
    /// The namespace of the case; `None` for the whole cluster.
    case: Option<String>,
}

/// What is known, and whether it is written down.
#[derive(Debug, Default)]
struct Known {
    notes: Notes,
    /// The name of the notebook in the cache that belongs to this cluster, and not to another one of
    /// the same name.
    notebook: Option<String>,
}

impl Subject {
    /// A cluster that the test on this thread is about to make. It counts as living until it is
    /// [forgotten](Subject::forget).
    pub fn new(docker: &Docker, cluster: &str, nodes: &[String]) -> Self {
        let subject = Self::of(docker, cluster, nodes);
        panics::redact(docker.settings());
        lock(&LIVE).push(subject.clone());
        subject
    }

    /// A cluster that somebody else made.
    pub(super) fn of(docker: &Docker, cluster: &str, nodes: &[String]) -> Self {
        let settings = docker.settings();
        let cluster = ClusterNotes {
            name: cluster.to_owned(),
            test: test_of_thread(),
            owner: Owner::current().to_string(),
            process: std::process::id(),
            nodes: nodes.to_vec(),
            redact: settings.redact.clone(),
            home: home(settings),
            ..ClusterNotes::default()
        };
        let notes = Notes {
            cluster,
            ..Notes::default()
        };
        let known = Known {
            notes,
            notebook: None,
        };
        Self {
            docker: docker.clone(),
            known: Arc::new(Mutex::new(known)),
            case: None,
        }
    }

    /// The clusters that live in this process.
    pub(super) fn living() -> Vec<Self> {
        lock(&LIVE).clone()
    }

    /// The clusters of this process that this one is nested in, the outermost first.
    pub(super) fn around(&self) -> Vec<Self> {
        let Some(around) = self.docker.around() else {
            return Vec::new();
        };
        let mut outer = Self::living();
        outer.retain(|other| is_around(&other.path(), around));
        outer.sort_by_key(|other| other.path().len());
        outer
    }

    /// Its name behind those of the clusters around it.
    pub(super) fn path(&self) -> String {
        let around = self.docker.around().unwrap_or_default();
        place(around, &lock(&self.known).notes.cluster.name)
    }

    /// Each running case, or the cluster where no case runs.
    pub(super) fn subjects_now(&self) -> Vec<Self> {
        let cases = lock(&self.known).notes.about_all().cases;
        let cases: Vec<Self> = cases
            .into_iter()
            .map(|case| self.of_case(case.namespace))
            .collect();
        match cases.is_empty() {
            true => vec![self.clone()],
            false => cases,
        }
    }

    fn of_case(&self, namespace: String) -> Self {
        Self {
            case: Some(namespace),
            ..self.clone()
        }
    }

    /// Says that the cluster is being removed: no more evidence is collected of it.
    pub fn forget(&self) {
        lock(&LIVE).retain(|other| !Arc::ptr_eq(&other.known, &self.known));
        self.end_notebook();
    }

    /// Begins the cluster's notebook, which tells other processes what this one knew if it is
    /// killed. Before this call nothing is written down, because the notebook of this name may
    /// belong to another cluster.
    ///
    /// # Errors
    /// The notebook cannot be written.
    pub fn begin_notebook(&self) -> Result<()> {
        let name = lock(&self.known).notes.cluster.name.clone();
        self.begin(name)
    }

    /// Begins the notebook of a process that holds a lease of the cluster of this boot, in place of
    /// the one that it had. The cluster outlives the process.
    ///
    /// # Errors
    /// The notebook cannot be written.
    pub fn begin_notebook_of_holder(&self, boot: &BootId) -> Result<()> {
        self.end_notebook();
        let Some(socket) = self.docker.socket() else {
            return Ok(());
        };
        let name = {
            let mut known = lock(&self.known);
            known.notes.cluster.held = Some(Held {
                socket: socket.to_owned(),
                boot: boot.as_str().to_owned(),
            });
            notebook::name_of_holder(&known.notes.cluster.name)
        };
        self.begin(name)
    }

    fn begin(&self, name: String) -> Result<()> {
        let mut known = lock(&self.known);
        notebook::prepare(self.settings(), &name)?;
        notebook::note(self.settings(), &name, &known.notes);
        known.notebook = Some(name);
        Ok(())
    }

    /// Removes the notebook: if this process is killed later, nothing is saved of the cluster.
    pub fn end_notebook(&self) {
        if let Some(name) = lock(&self.known).notebook.take() {
            notebook::forget(self.settings(), &name);
        }
    }

    /// Notes which versions its nodes are made of.
    pub fn note_versions(&self, versions: &Versions) {
        self.change(|notes| notes.cluster.versions = versions.clone());
    }

    /// Notes a step of the boot that has just ended.
    pub fn note_boot_step(&self, text: impl Into<String>) {
        self.step(true, false, text.into());
    }

    /// Notes a step of the test.
    pub fn note_step(&self, text: impl Into<String>) {
        self.step(false, false, text.into());
    }

    /// Notes that boot or test failed.
    pub fn note_failure(&self, boot: bool, text: impl Into<String>) {
        self.step(boot, true, text.into());
    }

    /// Notes that evidence of a failure was kept.
    pub(super) fn note_kept(&self) {
        self.change(|notes| notes.cluster.kept = true);
    }

    /// Evidence of a failure on this cluster was kept.
    pub(super) fn is_kept(&self) -> bool {
        lock(&self.known).notes.cluster.kept
    }

    /// Records that a case of the test on this thread begins in this namespace, beside other
    /// running cases. Notes on the returned subject belong to this case alone.
    pub fn open_case(&self, namespace: &str) -> Self {
        let case = CaseNotes {
            namespace: namespace.to_owned(),
            test: test_of_thread(),
            since_us: now_us(),
        };
        self.change(|notes| {
            notes.cases.insert(case.namespace.clone(), case);
        });
        self.of_case(namespace.to_owned())
    }

    /// Records the end of this subject's case.
    pub fn close_case(&self) {
        let Some(namespace) = &self.case else {
            return;
        };
        self.change(|notes| {
            notes.cases.remove(namespace);
        });
    }

    pub(super) fn docker(&self) -> &Docker {
        &self.docker
    }

    fn settings(&self) -> &Settings {
        self.docker.settings()
    }

    /// The subject of a bundle of this cluster or case.
    pub(super) fn about(&self) -> About {
        let notes = &lock(&self.known).notes;
        match &self.case {
            Some(namespace) => notes.about_case(namespace),
            None => notes.about_all(),
        }
    }

    fn step(&self, boot: bool, failed: bool, text: String) {
        let step = Step {
            at_us: now_us(),
            boot,
            failed,
            case: self.case.clone().unwrap_or_default(),
            text,
        };
        let mut known = lock(&self.known);
        if let Some(name) = &known.notebook {
            notebook::note_step(self.settings(), name, &step);
        }
        known.notes.steps.push(step);
    }

    /// Changes the notes, and writes them to the notebook in case this process is killed.
    fn change(&self, change: impl FnOnce(&mut Notes)) {
        let mut known = lock(&self.known);
        change(&mut known.notes);
        if let Some(name) = &known.notebook {
            notebook::note(self.settings(), name, &known.notes);
        }
    }
}

/// Whether a cluster with this path is the one that `nested` names as the next around it, or is around
/// that.
fn is_around(path: &str, nested: &str) -> bool {
    let rest = nested.strip_prefix(path);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The name of the test on this thread: libtest names its threads after tests. Threads of an async
/// runtime have names that say nothing.
fn test_of_thread() -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    let says_nothing = name == "main" || name.starts_with("tokio-");
    if says_nothing {
        String::new()
    } else {
        name.to_owned()
    }
}

pub(super) fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_around_a_cluster_is_told_by_whole_names() {
        assert!(is_around("a", "a") && is_around("a", "a/b") && is_around("a/b", "a/b"));
        assert!(!is_around("a", "ab") && !is_around("a/b", "a") && !is_around("b", "a/b"));
    }
}
