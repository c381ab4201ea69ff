//! Recognises the causes of failures in the lines of logs, events and errors.
//!
//! [`diagnose`] takes [`Evidence`] (lines with their source) and returns the causes it recognises,
//! root causes first, each with its cure and the lines that show it. The causes are a table
//! (`causes/`). A line counts only if it comes from a program that can fail this way: the same
//! words in a pod's own output mean nothing.
//!
//! ```
//! # mod kubenest { pub use kubenest_diagnosis as diagnosis; }
//! use kubenest::diagnosis::{Evidence, Speaker, diagnose};
//!
//! let text = "ERROR: failed to detect containerd snapshotter";
//! let found = diagnose(&Evidence::lines(Speaker::Cli, text));
//! assert_eq!(found[0].id, "kind-snapshotter-not-detected");
//! assert!(found[0].cure.contains("kind 0.27.0"));
//! ```

mod catalogue;
mod causes;
mod clean;
mod documents;
mod encoding;
mod events;
mod form;
mod lines;
mod message;
mod quote;
mod read;
mod recognise;
mod report;
mod rule;
mod speaker;
mod surface;

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use kubenest_base::Error;

pub use self::clean::clean;
pub use self::{
    catalogue::{KnownCause, catalogue, similar_ids},
    read::{FileRead, Reading, read, read_stream},
    recognise::diagnose,
    report::DiagnosisReport,
    surface::{Surface, speak_of},
};

/// Who wrote a line, which determines the causes that the line can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Speaker {
    /// The journal of containerd or CRI-O, including messages of their shims.
    Runtime,
    /// The kubelet's journal.
    Kubelet,
    /// The message of a Kubernetes event.
    Event,
    /// The error of a CRI call.
    Cri,
    /// The output of a command such as kind, ctr or crictl.
    Cli,
    /// The output of a container or a line that quotes it, and of programs that usually run in
    /// containers, such as etcd.
    Pod,
    /// A program that contains kubelet, runtime and control plane: k3s, RKE2, k0s, `MicroK8s`.
    Distribution,
    /// Quoted text, where nothing failed: a commit, a diff, a script, a page.
    Quote,
    /// Any other program of the node, such as systemd.
    System,
    /// The line does not say who wrote it.
    Unknown,
}

/// One line, without its headers and safe to print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Who wrote it.
    pub source: Speaker,
    /// The node it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The time as the log has it: many logs have no year and no time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// File and line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The message. Escaped quotes are unescaped; control characters are shown as `\x1b`.
    pub text: String,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file as it was named; `-` is standard input.
    pub file: String,
    /// Counted from 1; `None` for files that are not read line by line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// A recognised cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Stable name of the cause, such as `shim-newer-than-daemon`.
    pub id: &'static str,
    /// The cause in a few words.
    pub title: &'static str,
    /// What happened and why, with facts from the lines.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
    /// Upstream's issues or documentation.
    pub links: &'static [&'static str],
    /// The id of another recognised cause that leads to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<&'static str>,
    /// Facts from the lines, by name, such as `image` or `daemon`.
    pub facts: BTreeMap<&'static str, Vec<String>>,
    /// How many lines show it.
    pub count: usize,
    /// The best few of these lines, in the order of the evidence.
    pub lines: Vec<Support>,
}

/// A line that shows a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Support {
    /// The line.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// The part of its text that matched.
    pub matched: String,
}

impl Speaker {
    /// Whether the source is one of these, or a distribution that contains one of them.
    fn is_among(self, sources: &[Self]) -> bool {
        let parts = [Self::Kubelet, Self::Runtime, Self::Pod];
        let contains_one =
            self == Self::Distribution && parts.iter().any(|part| sources.contains(part));
        contains_one || sources.contains(&self)
    }
}

impl Evidence {
    /// The lines of a text, followed by what several lines form together, such as a list of events.
    /// Their source is `source`, unless a line's header names another.
    pub fn lines(source: Speaker, text: &str) -> Vec<Self> {
        let mut lines = lines::Lines::new(source);
        let mut evidence: Vec<_> = text.lines().map(|line| lines.next(line)).collect();
        let (found, _) = lines.finish();
        evidence.extend(found.into_iter().map(|found| found.0));
        evidence
    }

    /// The message of a Kubernetes event.
    pub fn event(reason: &str, message: &str) -> Self {
        events::evidence(reason, message)
    }

    /// The lines of an error of this crate.
    pub fn error(error: &Error) -> Vec<Self> {
        Self::lines(Speaker::Unknown, &error.report())
    }

    /// Sets the node, unless the line itself named one.
    #[must_use]
    pub fn on(mut self, node: &str) -> Self {
        self.node.get_or_insert_with(|| clean(node).into_owned());
        self
    }
}

/// `file:line`, else the file.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.file),
            None => f.write_str(&self.file),
        }
    }
}

#[cfg(test)]
mod innocuous;
#[cfg(test)]
mod reports;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod wrapped;
