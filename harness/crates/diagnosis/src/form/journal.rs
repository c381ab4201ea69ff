//! Headers of journals: journalctl's text formats, syslog and the kernel log.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{
    Header, program,
    scan::{count_digits, fits, iso, spaces},
};
use crate::{Speaker, clean::compile};

/// Node and program, after the time.
static NODE_AND_PROGRAM: LazyLock<Regex> = LazyLock::new(|| {
    compile(concat!(
        r"^ +(?<node>[A-Za-z0-9_][A-Za-z0-9._-]*) ",
        r"(?<program>[^ :\[\]=\x22]+)(?<pid>\[[0-9]+\])?:(?: |$)"
    ))
});
/// The header of RFC 5424.
static STRUCTURED: LazyLock<Regex> = LazyLock::new(|| {
    compile(concat!(
        r"^<[0-9]{1,3}>1 (?<time>[^ ]+) (?<node>[^ ]+) (?<program>[^ ]+) [^ ]+ [^ ]+ ",
        r#"(?:-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+)(?: \x{feff}?|$)"#
    ))
});
static PRIORITY: LazyLock<Regex> = LazyLock::new(|| compile("^<[0-9]{1,3}>"));
/// Seconds since the boot, in the kernel log and in journalctl's short-monotonic format.
static BOOT: LazyLock<Regex> = LazyLock::new(|| compile(r"^\[ *(?<time>[0-9]+\.[0-9]{6})\]"));

const DAYS: [&str; 7] = ["Mon ", "Tue ", "Wed ", "Thu ", "Fri ", "Sat ", "Sun "];

/// The header of a line that begins with the name of a month or of a day.
pub(super) fn header(rest: &str) -> Option<Header<'_>> {
    let bytes = rest.as_bytes();
    if DAYS.iter().any(|day| rest.starts_with(day)) {
        return full(rest);
    }
    if !fits(bytes, b"???????dd:dd:dd") || bytes[3] != b' ' || bytes[6] != b' ' {
        return None;
    }
    let letters = bytes[1].is_ascii_lowercase() && bytes[2].is_ascii_lowercase();
    let day = matches!(bytes[4], b' ' | b'0'..=b'3') && bytes[5].is_ascii_digit();
    if !letters || !day {
        return None;
    }
    let mut length = 15;
    if bytes.get(15) == Some(&b'.') {
        length += 1 + count_digits(&bytes[16..]);
    }
    header_after_time(rest, length, true).or_else(|| {
        // A time alone, as `ts` puts before every line.
        (bytes.get(length) == Some(&b' ')).then(|| Header::relay(length + 1, &rest[..length]))
    })
}

/// `Sun 2026-11-29 10:10:29 UTC n1 kubelet[7]: `: short-full and with-unit.
fn full(rest: &str) -> Option<Header<'_>> {
    let time = iso(&rest[4..])?;
    let end = 4 + time.length;
    let zone = rest[end..].strip_prefix(' ')?;
    let zone = zone.split(' ').next().unwrap_or_default();
    let header = header_after_time(rest, end + 1 + zone.len(), true)?;
    Some(Header {
        time: Some(&rest[4..end]),
        ..header
    })
}

/// The header of a line that begins with a bracket: seconds since the boot.
pub(super) fn bracketed_header(rest: &str) -> Option<Header<'_>> {
    let found = BOOT.captures(rest)?;
    let length = found[0].len();
    let time = found.name("time").map(|time| time.as_str());
    let header = header_after_time(rest, length, false).unwrap_or_else(|| Header {
        source: Some(Speaker::System),
        ..Header::of(length + spaces(&rest.as_bytes()[length..]).min(1))
    });
    Some(Header { time, ..header })
}

/// The header of a line that begins with syslog's priority.
pub(super) fn syslog(rest: &str) -> Option<Header<'_>> {
    if let Some(found) = STRUCTURED.captures(rest) {
        return Some(captured_header(
            &found,
            found[0].len(),
            named_value(&found, "time"),
        ));
    }
    Some(Header::of(PRIORITY.find(rest)?.len()))
}

/// The header with a time of this length, if node and program follow. A program without a process
/// id counts only if the time is `sure` to be a journal's.
pub(super) fn header_after_time(rest: &str, length: usize, sure: bool) -> Option<Header<'_>> {
    let found = NODE_AND_PROGRAM.captures(&rest[length..])?;
    // Ordinary words can look like node and program: `rpc error: `, `Command Output: `.
    let of_host = |node: &str| {
        let begins = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        node.starts_with(begins) && node.contains(|c: char| c.is_ascii_digit() || "-.".contains(c))
    };
    let plausible = program::is_known(&found["program"]) || of_host(&found["node"]);
    let named = found.name("pid").is_some() || &found["program"] == "kernel" || (sure && plausible);
    named.then(|| captured_header(&found, length + found[0].len(), Some(&rest[..length])))
}

fn captured_header<'a>(found: &Captures<'a>, length: usize, time: Option<&'a str>) -> Header<'a> {
    Header {
        length,
        time,
        node: named_value(found, "node"),
        source: named_value(found, "program").map(program::source),
        ..Header::default()
    }
}

/// Syslog writes a dash for an unknown value.
fn named_value<'a>(found: &Captures<'a>, name: &str) -> Option<&'a str> {
    let value = found.name(name)?.as_str();
    (value != "-").then_some(value)
}
