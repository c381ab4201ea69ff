//! The notebook of a living process: what it knows of a cluster, written down in case the process
//! is killed.
//!
//! It is a private folder that exists as long as its cluster. When the process is gone, the guard
//! adds what the nodes say, and [`finish`](super::finish) makes a bundle of it. A process that holds
//! a lease has a folder of its own for as long as it holds it: the cluster outlives the process, so
//! whoever makes the bundle asks the nodes himself.

use std::{
    fs,
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use serde_json::json;

use super::notes::{Notes, Step};
use kubenest_base::{Context, Result, file, random, settings::Settings};

/// All that the process knew, except the steps.
const KNOWN: &str = "known.json";
/// When the first of the running cases began, and their namespaces: the arguments of a look, which
/// the guard takes from this file.
pub(super) const CASES: &str = "cases";
/// The steps, one on each line. They are in a file of their own because they are appended often.
const STEPS: &str = "steps.jsonl";

/// The name of a notebook of a process that holds a lease of this cluster.
pub(super) fn name_of_holder(cluster: &str) -> String {
    format!("{cluster}-{}-{}", std::process::id(), random::hex(4))
}

/// Makes the folder of a cluster's notebook, into which a guard saves. Until the guard has its
/// name, the contents may belong to another cluster of the same name.
pub fn notebook_folder(settings: &Settings, cluster: &str) -> Result<PathBuf> {
    let folder = folder(settings, cluster);
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(&folder)
        .with_context(|| format!("make '{}'", folder.display()))?;
    Ok(folder)
}

/// Empties the [folder](notebook_folder) of this name: its contents belong to an earlier cluster of
/// the same name.
pub(super) fn prepare(settings: &Settings, name: &str) -> Result<()> {
    fs::remove_dir_all(folder(settings, name)).ok();
    notebook_folder(settings, name)?;
    Ok(())
}

/// Removes the folder of a notebook into which nothing was written.
pub fn remove_empty_notebook(settings: &Settings, cluster: &str) {
    fs::remove_dir(folder(settings, cluster)).ok();
}

/// Writes down what is known of a cluster in the notebook of this name.
pub(super) fn note(settings: &Settings, name: &str, notes: &Notes) {
    write_to(settings, name, |folder| write_notes(folder, notes));
}

/// Adds a step to those that are written down.
pub(super) fn note_step(settings: &Settings, name: &str, step: &Step) {
    write_to(settings, name, |folder| add_step(folder, step));
}

fn write_to(settings: &Settings, name: &str, write: impl FnOnce(&Path) -> Result<()>) {
    let folder = folder(settings, name);
    if !folder.is_dir() {
        return;
    }
    if let Err(error) = write(&folder) {
        tracing::debug!("notebook '{name}': {}", error.report());
    }
}

pub(super) fn write_notes(folder: &Path, notes: &Notes) -> Result<()> {
    if !folder.join(STEPS).exists() {
        let lines: String = notes.steps.iter().map(line_of).collect();
        file::write(&folder.join(STEPS), lines)?;
    }
    let known = serde_json::to_vec(notes).context("note what is known")?;
    // Each file is replaced as a whole: the guard may read it at any moment.
    let about = notes.about_all();
    let cases = format!("{} {}", about.since_seconds(), about.namespaces());
    file::write(&folder.join(CASES), cases.trim())?;
    file::write(&folder.join(KNOWN), known)
}

/// Appends a step. When there is no file yet, nothing is lost: the first notes will contain all
/// steps.
fn add_step(folder: &Path, step: &Step) -> Result<()> {
    let file = fs::OpenOptions::new().append(true).open(folder.join(STEPS));
    let added = match file {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.and_then(|mut file| file.write_all(line_of(step).as_bytes())),
    };
    added.context("note a step")
}

fn line_of(step: &Step) -> String {
    json!(step).to_string() + "\n"
}

pub(super) fn read_notes_without_steps(folder: &Path) -> Option<Notes> {
    serde_json::from_slice(&fs::read(folder.join(KNOWN)).ok()?).ok()
}

/// The notes of a process; a last step that was only half written is left out.
pub(super) fn read_notes(folder: &Path) -> Option<Notes> {
    let mut notes = read_notes_without_steps(folder)?;
    let steps = fs::read(folder.join(STEPS)).unwrap_or_default();
    let steps = steps.split(|byte| *byte == b'\n');
    notes.steps = steps
        .filter_map(|step| serde_json::from_slice(step).ok())
        .collect();
    Some(notes)
}

/// Removes the notebook: from now on a guard saves nothing of this cluster.
pub(super) fn forget(settings: &Settings, name: &str) {
    fs::remove_dir_all(folder(settings, name)).ok();
}

/// The folder of all notebooks.
pub(super) fn home(settings: &Settings) -> PathBuf {
    settings.cache.join("killed")
}

fn folder(settings: &Settings, name: &str) -> PathBuf {
    home(settings).join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(at_us: i64) -> Step {
        Step {
            at_us,
            boot: at_us < 2,
            failed: false,
            case: String::new(),
            text: format!("step\n{at_us}"),
        }
    }

    #[test]
    fn clusters_of_one_name_in_two_caches_have_a_notebook_each() {
        let caches = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [one, other] = caches.each_ref().map(|cache| {
            let mut settings = Settings::from_env();
            settings.cache = cache.path().to_owned();
            settings
        });
        let mut notes = Notes::default();
        notes.cluster.name = "c".into();
        for (settings, test) in [(&one, "a"), (&other, "b")] {
            prepare(settings, "c").unwrap();
            notes.cluster.test = test.into();
            note(settings, "c", &notes);
        }
        let test_in = |settings| {
            Some(
                read_notes_without_steps(&folder(settings, "c"))?
                    .cluster
                    .test,
            )
        };
        assert_eq!(test_in(&one).as_deref(), Some("a"));
        forget(&one, "c");
        assert_eq!(test_in(&one), None);
        assert_eq!(test_in(&other).as_deref(), Some("b"));
    }

    #[test]
    fn a_step_is_added_to_those_before_and_half_a_one_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        add_step(path, &step(0)).unwrap();
        let mut notes = Notes {
            steps: vec![step(0), step(1)],
            ..Notes::default()
        };
        notes.cluster.name = "c".into();
        write_notes(path, &notes).unwrap();
        let noted = fs::read(path.join(STEPS)).unwrap();
        add_step(path, &step(2)).unwrap();
        // New notes leave the steps as they are.
        write_notes(path, &notes).unwrap();
        let added = fs::read(path.join(STEPS)).unwrap();
        assert_eq!(added, [noted, line_of(&step(2)).into_bytes()].concat());
        fs::write(
            path.join(STEPS),
            [&added[..], br#"{"at_us":3,"bo"#].concat(),
        )
        .unwrap();
        let read = read_notes(path).unwrap();
        assert_eq!(read.cluster.name, "c");
        assert_eq!(read.steps, [step(0), step(1), step(2)]);
    }
}
