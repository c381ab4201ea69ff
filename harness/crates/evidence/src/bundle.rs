//! A written bundle: its first cause, and whether its files alone prove that cause.

use std::{fmt, path::PathBuf, slice};

use super::page::{Line, Missing, PageCause};
use kubenest_diagnosis as diagnosis;
use kubenest_diagnosis::diagnose;

/// A written bundle.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Bundle {
    /// Its folder.
    pub folder: PathBuf,
    /// The recognised causes; a cause that led to others comes first.
    pub causes: Vec<PageCause>,
    /// How many files it has.
    pub files: usize,
    /// What could not be collected.
    pub missing: Vec<Missing>,
}

impl Bundle {
    /// Demands that this cause was recognised before all others, and that the folder alone shows
    /// it: its files hold every quoted line, and name the cause first when `kubenest diagnose`
    /// reads them again.
    ///
    /// # Panics
    /// The cause is not first, or the files do not show it. The message has the recognised causes
    /// and the folder.
    ///
    /// ```no_run
    /// # fn example(evidence: &kubenest_evidence::Bundle) {
    /// // Of a case whose pod asks for an image that was not loaded.
    /// evidence.assert_cause("image-not-in-node");
    /// # }
    /// ```
    #[track_caller]
    pub fn assert_cause(&self, id: &str) {
        let folder = self.folder.display();
        let causes: Vec<&str> = self.causes.iter().map(|cause| cause.id.as_str()).collect();
        assert!(
            causes.first() == Some(&id),
            "no '{id}' first: {causes:?} in {folder}"
        );
        let read = match diagnosis::read(slice::from_ref(&self.folder)) {
            Ok(read) => read,
            Err(error) => panic!("{}", error.report()),
        };
        let again: Vec<&str> = diagnose(&read.evidence)
            .iter()
            .map(|cause| cause.id)
            .collect();
        assert!(
            again.first() == Some(&id),
            "no '{id}' first: {again:?} in the files of {folder}"
        );
        for Line { place, text, .. } in &self.causes[0].lines {
            let held = read.evidence.iter().any(|line| {
                let stands = line.place.as_ref().map(ToString::to_string);
                let stands = stands.is_some_and(|at| at.ends_with(&format!("/{place}")));
                stands && line.text == *text
            });
            assert!(held, "'{text}' is not at '{place}' of {folder}");
        }
    }
}

/// A few lines for people: the first cause, where the bundle is, and how to look inside.
impl fmt::Display for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.causes.first() {
            writeln!(f, "cause     {}", first.cause)?;
            writeln!(f, "cure      {}", first.cure)?;
        }
        let (folder, files) = (self.folder.display(), self.files);
        match self.missing.len() {
            0 => writeln!(f, "evidence  {folder} ({files} files)")?,
            missing => writeln!(
                f,
                "evidence  {folder} ({files} files, {missing} not to be had)"
            )?,
        }
        write!(
            f,
            "look      open {folder}/index.html, or: kubenest diagnose {folder}"
        )
    }
}
