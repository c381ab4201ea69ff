//! What a failure means: causes recognised in the lines of logs, events and errors.
//!
//! [`diagnose`] takes [`Evidence`], lines that say where they are from, and gives the causes
//! it recognises, the root of others first, each with its cure and the lines that show it.
//! The causes are a table (`causes.rs`). A line counts only where the program that can fail
//! so says it: the same words in a pod's own output mean nothing.
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

/// Who says a line. It decides which causes the line can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Speaker {
    /// The journal of containerd or CRI-O, with the words of their shims.
    Runtime,
    /// The kubelet's journal.
    Kubelet,
    /// The message of a Kubernetes event.
    Event,
    /// The error of a CRI call.
    Cri,
    /// What a command such as kind, ctr or crictl wrote.
    Cli,
    /// What a container wrote, or a line that quotes it; and programs that elsewhere are
    /// containers, such as etcd.
    Pod,
    /// A program that holds a kubelet, a runtime and a control plane: k3s, RKE2, k0s, `MicroK8s`.
    Distribution,
    /// Words that are only shown: a commit, a diff, a script, a page.
    Quote,
    /// Any other program of the node, such as systemd.
    System,
    /// A line that does not say.
    Unknown,
}

/// One line, without its headers and safe to print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// Who says it.
    pub source: Speaker,
    /// The node it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When, as the log has it: many logs name no year and no zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The message. Escaped quotes are quotes; control characters are shown as `\x1b`.
    pub text: String,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file as it was named; `-` is standard input.
    pub file: String,
    /// Counted from 1; none in files that are not read by lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// A recognised cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Stable name of the cause, as `shim-newer-than-daemon`.
    pub id: &'static str,
    /// The cause in a few words.
    pub title: &'static str,
    /// What happened and why, with what the lines say of it.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
    /// Where upstream has it.
    pub links: &'static [&'static str],
    /// The id of the other cause found here that leads to this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<&'static str>,
    /// What the lines name, such as `image` or `daemon`.
    pub facts: BTreeMap<&'static str, Vec<String>>,
    /// How many lines show it.
    pub count: usize,
    /// The lines that show it best, in the order of the evidence; a few of `count`.
    pub lines: Vec<Support>,
}

/// A line that shows a cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Support {
    /// The line.
    #[serde(flatten)]
    pub evidence: Evidence,
    /// The part of its text that is typical of the cause.
    pub matched: String,
}

impl Speaker {
    /// Whether it is, or holds, one of these.
    fn is_among(self, sources: &[Self]) -> bool {
        let holds = [Self::Kubelet, Self::Runtime, Self::Pod];
        let held = self == Self::Distribution && holds.iter().any(|held| sources.contains(held));
        held || sources.contains(&self)
    }
}

impl Evidence {
    /// The lines of a text, and behind them what several lines make together, such as a list of
    /// events. They are `source`'s, unless a line's own header names another.
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

    /// Says which node the line is from, unless it said so itself.
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
