//! What takes several lines: JSON documents, and entries of the journal as `-o export`,
//! `-o verbose` and `-o json-pretty` write them.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{
    Evidence, Speaker,
    clean::compiled,
    events,
    form::{self, json},
    message::evidence,
};

/// Bytes of a document.
const MOST: usize = 64 << 20;

/// A field of an entry.
static FIELD: LazyLock<Regex> =
    LazyLock::new(|| compiled("^ *(?<key>[A-Z_][A-Z0-9_]*)=(?<value>.*)$"));
/// The first line of an entry in the verbose form: a time and a cursor.
static VERBOSE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r"^[A-Z][a-z]{2} [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+ [^ ]+ \[s=[0-9a-f]+;")
});

/// Evidence and the number of its line.
pub(super) type Found = (Evidence, u64);

/// The document that is being read.
#[derive(Default)]
pub(super) struct Documents(Open);

#[derive(Default)]
enum Open {
    #[default]
    Nothing,
    Json(String),
    Entry(Entry),
}

/// An entry of the journal.
struct Entry {
    fields: Vec<(String, Value)>,
    /// The line of its message.
    line: u64,
    indented: bool,
}

/// What a line is to the documents.
#[derive(Default)]
pub(super) struct Inside {
    /// It is part of one.
    pub(super) within: bool,
    /// Whether that is one will only show at its end.
    pub(super) pending: bool,
    /// It ends one that was understood.
    pub(super) ended: bool,
    pub(super) found: Vec<Found>,
}

impl Documents {
    /// Reads a line without headers, but with its indentation.
    pub(super) fn next(&mut self, message: &str, number: u64) -> Inside {
        match &mut self.0 {
            Open::Json(text) if text.len() < MOST && goes_on(message) => {
                text.push_str(message);
                text.push('\n');
                if message == "}" {
                    return self.end(number);
                }
                Inside {
                    within: true,
                    pending: true,
                    ..Inside::default()
                }
            }
            Open::Entry(entry) if entry.takes(message) => {
                entry.push(message, number);
                Inside {
                    within: true,
                    ..Inside::default()
                }
            }
            _ => {
                let found = self.finish();
                let begun = self.begin(message, number);
                Inside {
                    found: found.into_iter().chain(begun.found).collect(),
                    ..begun
                }
            }
        }
    }

    /// What the last one says when nothing follows.
    pub(super) fn finish(&mut self) -> Vec<Found> {
        match std::mem::take(&mut self.0) {
            Open::Entry(entry) => entry.into_evidence().into_iter().collect(),
            Open::Nothing | Open::Json(_) => Vec::new(),
        }
    }

    fn begin(&mut self, message: &str, number: u64) -> Inside {
        let mut inside = Inside::default();
        if message == "{" {
            self.0 = Open::Json("{\n".to_owned());
            inside.pending = true;
        } else if message.starts_with("__CURSOR=") || VERBOSE.is_match(message) {
            self.0 = Open::Entry(Entry {
                fields: vec![("__CURSOR".to_owned(), Value::Null)],
                line: number,
                indented: !message.starts_with('_'),
            });
        } else if message.starts_with('{') && message.contains("\"kind\"") {
            return document(message, number).unwrap_or_default();
        } else {
            return inside;
        }
        inside.within = true;
        inside
    }

    fn end(&mut self, number: u64) -> Inside {
        let Open::Json(text) = std::mem::take(&mut self.0) else {
            return Inside::default();
        };
        document(&text, number).unwrap_or_default()
    }
}

/// Whether a line can be of a JSON document that is written over several.
fn goes_on(message: &str) -> bool {
    matches!(
        message.bytes().next(),
        None | Some(b' ' | b'\t' | b'}' | b']')
    )
}

/// What a whole document says: events of Kubernetes, or an entry of the journal. Other objects
/// of Kubernetes say nothing; none for other documents.
fn document(text: &str, number: u64) -> Option<Inside> {
    let value: Value = serde_json::from_str(text).ok()?;
    let found: Vec<Evidence> = if value["kind"].is_string() {
        events::of_json(&value)
    } else if value["object"]["kind"].is_string() {
        events::of_json(&value["object"])
    } else {
        let record = json::of_object(&serde_json::from_str(text).ok()?)?;
        vec![evidence(&form::open(&record), Speaker::Unknown)]
    };
    Some(Inside {
        within: true,
        ended: true,
        found: found.into_iter().map(|line| (line, number)).collect(),
        ..Inside::default()
    })
}

impl Entry {
    fn takes(&self, message: &str) -> bool {
        if self.indented {
            return message.starts_with(' ');
        }
        !message.is_empty() && !message.starts_with("__CURSOR=")
    }

    fn push(&mut self, message: &str, number: u64) {
        let Some(field) = FIELD.captures(message) else {
            return;
        };
        if &field["key"] == "MESSAGE" {
            self.line = number;
        }
        let value = Value::String(field["value"].to_owned());
        self.fields.push((field["key"].to_owned(), value));
    }

    fn into_evidence(self) -> Option<Found> {
        let record = json::of_object(&json::Object(self.fields))?;
        Some((evidence(&form::open(&record), Speaker::Unknown), self.line))
    }
}
