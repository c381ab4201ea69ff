//! Where a line comes from: its headers are peeled off, one within the other, until what a
//! program said is left. What that means is no matter of this layer.
//!
//! A family of forms has a file here. A header is what stands before a message (a stamp of a CI
//! service, a journal's time, node and program); a record holds the message among other fields
//! (JSON, `key=value`).

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

/// So many headers are peeled off a line.
const DEPTH: usize = 8;

/// A line without its headers.
#[derive(Debug, Default)]
pub(super) struct Peeled<'a> {
    /// When, as the header that knows best has it.
    pub(super) time: Option<String>,
    pub(super) node: Option<String>,
    /// Who says it, where a header names a program or a container.
    pub(super) source: Option<Speaker>,
    /// What was said. Its quotes may still be escaped.
    pub(super) text: Cow<'a, str>,
    /// Where the message begins in the line, with its indentation.
    pub(super) begin: usize,
    /// The message of a record that holds nothing else, with its indentation.
    pub(super) carried: Option<String>,
    /// Of a stream whose lines may be in parts: whether this one goes on where the last ended.
    pub(super) continues: Option<bool>,
    /// The time is of one who only passed the line on.
    relayed: bool,
}

/// What stands before a message.
#[derive(Debug, Default, PartialEq, Eq)]
struct Header<'a> {
    /// Its bytes.
    length: usize,
    time: Option<&'a str>,
    node: Option<&'a str>,
    source: Option<Speaker>,
    /// Of one who passes on what others say, such as a CI service.
    relay: bool,
    continues: Option<bool>,
}

/// A message among other fields.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    message: String,
    /// The other fields, as the program's text form has them behind the message.
    fields: String,
    time: Option<String>,
    node: Option<String>,
    source: Option<Speaker>,
}

/// Peels a line that has no terminal sequences.
pub(super) fn peel(line: &str) -> Peeled<'_> {
    peel_some(line, DEPTH)
}

fn peel_some(line: &str, most: usize) -> Peeled<'_> {
    let mut peeled = Peeled::default();
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

/// What a record says, without the headers of its message.
pub(super) fn open(record: &Record) -> Peeled<'static> {
    let mut peeled = Peeled::default();
    peeled.open(record, DEPTH);
    peeled
}

fn header_of(rest: &str) -> Option<Header<'_>> {
    let first = *rest.as_bytes().first()?;
    let header = match first {
        b'0'..=b'9' => stamp::header(rest),
        b'A'..=b'Z' => journal::header(rest).or_else(|| klog::header(rest)),
        b'[' => journal::bracketed(rest)
            .or_else(|| container::prefixed(rest))
            .or_else(|| ci::bracketed(rest)),
        b'<' => journal::syslog(rest),
        b'#' | b':' | b's' => ci::header(rest),
        b'*' | b'-' => bullet(rest),
        _ => None,
    };
    header
        .or_else(|| container::header(rest))
        .or_else(|| ci::by_tabs(rest))
}

fn record_of(rest: &str) -> Option<Record> {
    match rest.as_bytes().first()? {
        b'{' => json::record(rest),
        b't' | b'l' => fields::record(rest),
        b'A'..=b'Z' => fields::terminal(rest),
        _ => None,
    }
}

/// A list of log lines: `minikube logs` marks each so.
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

    /// A stamp of one who passes the line on.
    fn relay(length: usize, time: &'a str) -> Self {
        Self {
            length,
            time: Some(time),
            relay: true,
            ..Self::default()
        }
    }
}

impl Peeled<'_> {
    /// Outer headers count before inner ones; but a journal knows better than who passed it on,
    /// and an inner program is the one that speaks. A container's words stay a container's.
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

    /// Takes the message out of a record, and the headers off it.
    fn open(&mut self, record: &Record, most: usize) {
        let message = visible(&record.message);
        let inner = peel_some(&message, most);
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
        for told in [
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
            self.note(&told);
        }
        self.text = Cow::Owned(text);
    }
}

#[cfg(test)]
mod tests;
