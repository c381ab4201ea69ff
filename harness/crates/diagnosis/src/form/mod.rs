//! Where a line comes from: nested headers are stripped until the program's own message is left.
//! This layer does not interpret the message.
//!
//! Each family of formats has a file here. A header precedes a message (a CI service's timestamp; a
//! journal's time, node and program); a record contains the message among other fields (JSON,
//! `key=value`).

mod ci;
mod container;
mod fields;
mod journal;
pub(super) mod json;
mod klog;
mod program;
mod scan;
mod stamp;

use std::borrow::Cow;

use super::{Speaker, clean::visible};

pub(super) use self::ci::buildkite;

/// Maximum number of headers that are stripped from a line.
const DEPTH: usize = 8;

/// A log message without its headers, and what they said.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    /// The time, from the most reliable header.
    pub(super) time: Option<String>,
    pub(super) node: Option<String>,
    /// Who wrote it, if a header names a program or a container.
    pub(super) source: Option<Speaker>,
    /// The message itself. Its quotes may still be escaped.
    pub(super) text: Cow<'a, str>,
    /// Where the message begins in the line, including its indentation.
    pub(super) begin: usize,
    /// The message of a record without other fields, including its indentation.
    pub(super) carried: Option<String>,
    /// For streams that split messages: whether this line continues the last one.
    pub(super) continues: Option<bool>,
    /// The time is that of a relay, which only passed the line on.
    relayed: bool,
}

/// A header before a message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header<'a> {
    /// Length in bytes.
    length: usize,
    time: Option<&'a str>,
    node: Option<&'a str>,
    source: Option<Speaker>,
    /// It is from a relay, which passes on the output of others, such as a CI service.
    relay: bool,
    continues: Option<bool>,
}

/// A message among other fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    message: String,
    /// The other fields, as the program's text format has them after the message.
    fields: String,
    time: Option<String>,
    node: Option<String>,
    source: Option<Speaker>,
}

/// Strips the headers of a line without terminal sequences.
pub(super) fn peel(line: &str) -> Message<'_> {
    peel_at_most(line, DEPTH)
}

fn peel_at_most(line: &str, most: usize) -> Message<'_> {
    let mut peeled = Message::default();
    let (mut rest, mut begin) = (line, None);
    for _ in 0..most {
        rest = rest.trim_start_matches('\u{feff}');
        let inner = rest.trim_start_matches([' ', '\t']);
        let Some(header) = header_of(rest).or_else(|| {
            let indent = rest.len() - inner.len();
            let mut header = (indent > 0).then(|| header_of(inner)).flatten()?;
            begin.get_or_insert(line.len() - rest.len());
            header.length += indent;
            Some(header)
        }) else {
            break;
        };
        peeled.note(&header);
        rest = &rest[header.length..];
    }
    peeled.begin = begin.unwrap_or(line.len() - rest.len());
    peeled.text = Cow::Borrowed(rest);
    if most > 0
        && let Some(record) = record_of(rest.trim_start())
    {
        peeled.open(&record, most - 1);
    }
    peeled
}

/// The message of a record, without its own headers.
pub(super) fn message_of(record: &Record) -> Message<'static> {
    let mut peeled = Message::default();
    peeled.open(record, DEPTH);
    peeled
}

fn header_of(rest: &str) -> Option<Header<'_>> {
    let first = *rest.as_bytes().first()?;
    let header = match first {
        b'0'..=b'9' => stamp::header(rest),
        b'A'..=b'Z' => journal::header(rest).or_else(|| klog::header(rest)),
        b'[' => journal::bracketed_header(rest)
            .or_else(|| container::prefixed_header(rest))
            .or_else(|| ci::bracketed_header(rest)),
        b'<' => journal::syslog(rest),
        b'#' | b':' | b's' => ci::header(rest),
        b'*' | b'-' => bullet(rest),
        _ => None,
    };
    header
        .or_else(|| container::header(rest))
        .or_else(|| ci::tabbed_header(rest))
}

fn record_of(rest: &str) -> Option<Record> {
    match rest.as_bytes().first()? {
        b'{' => json::record(rest),
        b't' | b'l' => fields::record(rest),
        b'A'..=b'Z' => fields::terminal(rest),
        _ => None,
    }
}

/// A list item: `minikube logs` marks each log line so.
fn bullet(rest: &str) -> Option<Header<'_>> {
    let inner = rest.strip_prefix("* ").or(rest.strip_prefix("- "))?;
    matches!(inner.as_bytes().first()?, b'0'..=b'9' | b'A'..=b'Z')
        .then(|| header_of(inner))
        .flatten()
        .map(|header| Header {
            length: header.length + 2,
            ..header
        })
}

impl<'a> Header<'a> {
    fn of(length: usize) -> Self {
        Self {
            length,
            ..Self::default()
        }
    }

    /// A timestamp of a relay.
    fn relay(length: usize, time: &'a str) -> Self {
        Self {
            length,
            time: Some(time),
            relay: true,
            ..Self::default()
        }
    }
}

impl Message<'_> {
    /// Merges a header. Outer headers win over inner ones, but a journal's time wins over a
    /// relay's, and the innermost program is the author. Output of a container stays that.
    fn note(&mut self, header: &Header) {
        let better = self.time.is_none() || (self.relayed && header.node.is_some());
        if better && let Some(time) = header.time {
            self.time = Some(time.to_owned());
            self.relayed = header.relay;
        }
        if self.node.is_none() {
            self.node = header.node.map(str::to_owned);
        }
        if self.source != Some(Speaker::Pod) {
            self.source = header.source.or(self.source);
        }
        self.continues = self.continues.or(header.continues);
    }

    /// Takes the message out of a record and strips its headers.
    fn open(&mut self, record: &Record, most: usize) {
        let message = visible(&record.message);
        let inner = peel_at_most(&message, most);
        self.carried = record.fields.is_empty().then(|| {
            inner
                .carried
                .clone()
                .unwrap_or_else(|| message[inner.begin..].to_owned())
        });
        let text = match record.fields.as_str() {
            "" => inner.text.into_owned(),
            fields if inner.text.is_empty() => fields.to_owned(),
            fields => format!("{} {fields}", inner.text),
        };
        for header in [
            Header {
                time: record.time.as_deref(),
                node: record.node.as_deref(),
                source: record.source,
                ..Header::default()
            },
            Header {
                time: inner.time.as_deref(),
                node: inner.node.as_deref(),
                source: inner.source,
                ..Header::default()
            },
        ] {
            self.note(&header);
        }
        self.text = Cow::Owned(text);
    }
}

#[cfg(test)]
mod tests;
