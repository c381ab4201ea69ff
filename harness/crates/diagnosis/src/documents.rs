//! Documents of several lines: JSON, and journal entries as `-o export`, `-o verbose` and `-o
//! json-pretty` write them.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{
    Evidence, Speaker,
    clean::compile,
    events,
    form::{self, json},
    message::evidence,
};

/// Maximum bytes of a document.
const MAX_BYTES: usize = 64 << 20;

/// A field of a journal entry.
static FIELD: LazyLock<Regex> =
    LazyLock::new(|| compile("^ *(?<key>[A-Z_][A-Z0-9_]*)=(?<value>.*)$"));
/// The first line of an entry in verbose output: a time and a cursor.
static VERBOSE: LazyLock<Regex> = LazyLock::new(|| {
    compile(r"^[A-Z][a-z]{2} [0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:.]+ [^ ]+ \[s=[0-9a-f]+;")
});

/// Evidence and the number of its line.
pub(super) type NumberedEvidence = (Evidence, u64);

/// The document that is being read.
#[derive(Default)]
pub(super) struct Documents(OpenDocument);

#[derive(Default)]
enum OpenDocument {
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

/// How a line relates to a document.
#[derive(Default)]
pub(super) struct DocumentPosition {
    /// It is part of a document.
    pub(super) within: bool,
    /// Only the end will show whether it is a document.
    pub(super) pending: bool,
    /// It ends a document that was understood.
    pub(super) ended: bool,
    pub(super) found: Vec<NumberedEvidence>,
}

impl Documents {
    /// Reads a line without headers but with its indentation.
    pub(super) fn next(&mut self, message: &str, number: u64) -> DocumentPosition {
        match &mut self.0 {
            OpenDocument::Json(text) if text.len() < MAX_BYTES && continues_json(message) => {
                text.push_str(message);
                text.push('\n');
                if message == "}" {
                    return self.end(number);
                }
                DocumentPosition {
                    within: true,
                    pending: true,
                    ..DocumentPosition::default()
                }
            }
            OpenDocument::Entry(entry) if entry.accepts(message) => {
                entry.push(message, number);
                DocumentPosition {
                    within: true,
                    ..DocumentPosition::default()
                }
            }
            _ => {
                let found = self.finish();
                let begun = self.begin(message, number);
                DocumentPosition {
                    found: found.into_iter().chain(begun.found).collect(),
                    ..begun
                }
            }
        }
    }

    /// The evidence in the last document, when no line follows.
    pub(super) fn finish(&mut self) -> Vec<NumberedEvidence> {
        match std::mem::take(&mut self.0) {
            OpenDocument::Entry(entry) => entry.into_evidence().into_iter().collect(),
            OpenDocument::Nothing | OpenDocument::Json(_) => Vec::new(),
        }
    }

    fn begin(&mut self, message: &str, number: u64) -> DocumentPosition {
        let mut inside = DocumentPosition::default();
        if message == "{" {
            self.0 = OpenDocument::Json("{\n".to_owned());
            inside.pending = true;
        } else if message.starts_with("__CURSOR=") || VERBOSE.is_match(message) {
            self.0 = OpenDocument::Entry(Entry {
                fields: vec![("__CURSOR".to_owned(), Value::Null)],
                line: number,
                indented: !message.starts_with('_'),
            });
        } else if message.starts_with('{') && message.contains("\"kind\"") {
            return read_document(message, number).unwrap_or_default();
        } else {
            return inside;
        }
        inside.within = true;
        inside
    }

    fn end(&mut self, number: u64) -> DocumentPosition {
        let OpenDocument::Json(text) = std::mem::take(&mut self.0) else {
            return DocumentPosition::default();
        };
        read_document(&text, number).unwrap_or_default()
    }
}

/// Whether a line can continue a JSON document of several lines.
fn continues_json(message: &str) -> bool {
    matches!(
        message.bytes().next(),
        None | Some(b' ' | b'\t' | b'}' | b']')
    )
}

/// Reads a whole document: events of Kubernetes, or a journal entry. Other objects of Kubernetes
/// contain no evidence; `None` for any other document.
fn read_document(text: &str, number: u64) -> Option<DocumentPosition> {
    let value: Value = serde_json::from_str(text).ok()?;
    let found: Vec<Evidence> = if value["kind"].is_string() {
        events::events_in_json(&value)
    } else if value["object"]["kind"].is_string() {
        events::events_in_json(&value["object"])
    } else {
        let record = json::record_of_object(&serde_json::from_str(text).ok()?)?;
        vec![evidence(&form::message_of(&record), Speaker::Unknown)]
    };
    Some(DocumentPosition {
        within: true,
        ended: true,
        found: found.into_iter().map(|line| (line, number)).collect(),
        ..DocumentPosition::default()
    })
}

impl Entry {
    fn accepts(&self, message: &str) -> bool {
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

    fn into_evidence(self) -> Option<NumberedEvidence> {
        let record = json::record_of_object(&json::Object(self.fields))?;
        Some((
            evidence(&form::message_of(&record), Speaker::Unknown),
            self.line,
        ))
    }
}
