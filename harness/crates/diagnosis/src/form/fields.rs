//! Records of `key=value`: logfmt, and the terminal format of the same programs.

use std::sync::LazyLock;

use regex::Regex;

use super::{Record, program};
use crate::clean::compile;

/// A field: key, and value with or without quotes.
static FIELD: LazyLock<Regex> =
    LazyLock::new(|| compile(r#"^ *([^ ="]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "][^ ]*|))(?: |$)"#));
/// A level and a time, or seconds since the start.
static TERMINAL: LazyLock<Regex> = LazyLock::new(|| {
    compile(r"^(?:TRAC|DEBU|INFO|WARN|ERRO|FATA|PANI)\[(?<time>[^\] ]+)\] ?(?<message>.*)$")
});
/// The gap after a message, and the first key.
static FIRST: LazyLock<Regex> = LazyLock::new(|| compile(r#" {2,}[^ ="]+=[^ ]"#));

/// `time="…" level=error msg="…" key=value`.
pub(super) fn record(rest: &str) -> Option<Record> {
    let begins = ["time=", "ts=", "t=", "level=", "lvl="];
    let begins = begins.iter().any(|key| rest.starts_with(key));
    (begins && (rest.starts_with("time=") || rest.contains(" msg="))).then(|| fields(rest))
}

/// `WARN[0000] message          key=value`.
pub(super) fn terminal(rest: &str) -> Option<Record> {
    if rest.as_bytes().get(4) != Some(&b'[') {
        return None;
    }
    let found = TERMINAL.captures(rest)?;
    let message = found.name("message")?.as_str();
    let at = FIRST.find(message).map_or(message.len(), |gap| gap.start());
    let others = fields(message[at..].trim_start());
    let time = &found["time"];
    Some(Record {
        message: message[..at].trim_end().to_owned(),
        // Seconds since the program's start are not a time of day.
        time: time.contains('T').then(|| time.to_owned()),
        ..others
    })
}

fn fields(text: &str) -> Record {
    let (mut record, mut others) = (Record::default(), Vec::new());
    let mut rest = text;
    while let Some(found) = FIELD.captures(rest) {
        rest = &rest[found[0].len()..];
        let value = found.get(2).or(found.get(3));
        let value = value.map_or("", |value| value.as_str());
        match &found[1] {
            "time" | "ts" | "t" => record.time = record.time.or_else(|| Some(value.to_owned())),
            "level" | "lvl" => {}
            "msg" => value.clone_into(&mut record.message),
            key => {
                // k0s names the component whose output it relays.
                if key == "component" && program::is_known(value) {
                    record.source = Some(program::source(value));
                }
                others.push(format!("{key}={value}"));
            }
        }
    }
    // A line that was cut off in the middle of a value.
    if !rest.trim().is_empty() {
        others.push(rest.trim().to_owned());
    }
    record.fields = others.join(" ");
    record
}
