//! The page of a bundle, `index.html`: one file that opens offline and shows what failed, why, and
//! all log lines on one time axis.
//!
//! Pure: data in, text out. Texts from outside are inserted as text, never as HTML, and without
//! control characters.

mod data;
mod place;
mod plain;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use kubenest_base::digest::sha256;
use kubenest_protocol::SCHEMA;
use serde::Serialize;

use kubenest_diagnosis::{Diagnosis, Support};

const PAGE: &str = include_str!("web/page.html");
const STYLE: &str = concat!(
    include_str!("web/look.css"),
    include_str!("web/timeline.css")
);
const SCRIPT: &str = concat!(
    include_str!("web/summary.js"),
    include_str!("web/timeline.js"),
    include_str!("web/density.js"),
    include_str!("web/reader.js"),
);

/// Everything that is shown.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Page {
    /// What it is about: `suite::side::test`, or `cluster <name>`.
    pub title: String,
    /// The namespace of the case it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub case: Option<String>,
    /// Why it was written, such as `test failed` or `boot failed`.
    pub reason: String,
    /// The error or the message of the panic; may have several lines.
    pub message: String,
    /// What the test expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What it saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// What ran, such as kubernetes = 1.32.1.
    pub versions: BTreeMap<String, String>,
    /// When it was collected.
    pub made: Timestamp,
    /// The recognised causes; a cause that led to others comes first.
    pub diagnosis: Vec<PageCause>,
    /// The timeline, in any order. It is not in `index.json`, because it is derived from the files.
    #[serde(skip)]
    pub entries: Vec<Entry>,
    /// The files beside the page.
    pub files: Vec<FileLink>,
    /// What could not be collected.
    pub missing: Vec<Missing>,
}

/// A recognised cause.
#[derive(Debug, Clone, Serialize)]
pub struct PageCause {
    /// Stable name of the cause.
    pub id: String,
    /// The cause in a few words.
    pub title: String,
    /// What happened and why.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
    /// Reports of the cause upstream.
    pub links: Vec<String>,
    /// How many lines show it.
    pub count: usize,
    /// Some of them.
    pub lines: Vec<Line>,
}

/// A line that shows a cause.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Line {
    /// Where it stands, such as `nodes/n1/containerd.log:120`.
    pub place: String,
    /// The node it is from; empty when it is from none.
    pub node: String,
    /// The time in microseconds since 1970, if it is known. It distinguishes equal lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_us: Option<i64>,
    /// The message.
    pub text: String,
    /// The part of the text that is typical of the cause; it is used to find the line in the
    /// timeline.
    pub matched: String,
}

/// A line of the timeline.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When, in microseconds since 1970.
    pub at_us: i64,
    /// Who says it.
    pub source: Lane,
    /// The node it is from; empty when it is from none.
    pub node: String,
    /// How bad it is.
    pub level: Level,
    /// What it says; may have several lines.
    pub text: String,
}

/// Who says a line of the timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The test itself.
    Step,
    /// A step of the cluster's boot.
    Boot,
    /// A Kubernetes event.
    Event,
    /// The kubelet's journal.
    Kubelet,
    /// containerd's journal, with its shims.
    Containerd,
    /// The kernel.
    Kernel,
    /// A container's output.
    Pod,
    /// The Docker engine.
    Engine,
}

/// How bad a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something did not work.
    Error,
    /// Something may not work.
    Warning,
    /// All else.
    Info,
}

/// A file of the bundle.
#[derive(Debug, Clone, Serialize)]
pub struct FileLink {
    /// From the bundle's folder, with `/`.
    pub path: String,
    /// What it is, in a few words.
    pub what: String,
    /// Its size.
    pub bytes: u64,
    /// Its beginning was left out, because there was too much of it.
    pub cut: bool,
}

/// A collector that failed.
#[derive(Debug, Clone, Serialize)]
pub struct Missing {
    /// What it was to collect.
    pub name: String,
    /// On which node; empty when on none.
    pub node: String,
    /// Why it could not.
    pub error: String,
}

impl From<&Diagnosis> for PageCause {
    fn from(diagnosis: &Diagnosis) -> Self {
        Self {
            id: diagnosis.id.to_owned(),
            title: diagnosis.title.to_owned(),
            cause: diagnosis.cause.clone(),
            cure: diagnosis.cure.clone(),
            links: diagnosis
                .links
                .iter()
                .map(|&link| link.to_owned())
                .collect(),
            count: diagnosis.count,
            lines: diagnosis.lines.iter().map(Line::from).collect(),
        }
    }
}

impl From<&Support> for Line {
    fn from(support: &Support) -> Self {
        let evidence = &support.evidence;
        Self {
            place: evidence
                .place
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            node: evidence.node.clone().unwrap_or_default(),
            at_us: None,
            text: evidence.text.clone(),
            matched: support.matched.clone(),
        }
    }
}

/// The page as HTML: one file with its style, script and data, which loads nothing.
pub fn render(page: &Page) -> String {
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE),
        hash(SCRIPT)
    );
    // The data is inserted last, so that no placeholder is looked for in it.
    PAGE.replacen("{policy}", &policy, 1)
        .replacen("{style}", STYLE, 1)
        .replacen("{script}", SCRIPT, 1)
        .replacen("{data}", &data::json(page), 1)
}

/// The page as data for programs, `index.json`: all but the timeline.
pub fn index(page: &Page) -> String {
    #[derive(Serialize)]
    struct Index<'a> {
        schema: u32,
        #[serde(flatten)]
        page: &'a Page,
    }
    let index = Index {
        schema: SCHEMA,
        page,
    };
    let json = serde_json::to_string_pretty(&index).expect("the page must be representable");
    json + "\n"
}

/// The hash of a text for the page's content security policy.
fn hash(text: &str) -> String {
    let digest = BASE64_STANDARD.encode(sha256(text.as_bytes()));
    format!("sha256-{digest}")
}
