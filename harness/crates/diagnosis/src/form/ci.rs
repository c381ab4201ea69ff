//! Headers of CI services, except bare times: GitHub Actions, GitLab, Jenkins, Buildkite, TeamCity
//! and BuildKit.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;

use super::{Header, scan::iso};
use crate::clean::compile;

/// Buildkite's timestamp: milliseconds in an invisible terminal sequence.
static BUILDKITE: LazyLock<Regex> =
    LazyLock::new(|| compile(r"^\x1b?_bk;t=(?<time>[0-9]{10,16})(?:\x07|\x1b\\)?"));
/// GitLab's section mark; the section's title may follow in the same line.
static SECTION: LazyLock<Regex> = LazyLock::new(|| {
    compile(r"^section_(?:start|end):[0-9]+:[A-Za-z0-9_.-]+(?:\[[^\]]*\])?[\r ]*")
});
/// A time in brackets, as in Jenkins and TeamCity.
static BRACKETS: LazyLock<Regex> = LazyLock::new(|| {
    compile(r"^\[(?<time>[0-9T :.,/Z+-]{8,35})\](?: ?[A-Za-z]?:[ \t]*(?:\[[^\]]*\])?)? ?")
});
/// A step of BuildKit's plain progress.
static STEP: LazyLock<Regex> = LazyLock::new(|| compile(r"^#[0-9]+ [0-9]+\.[0-9]+ "));
/// Commands to GitHub's runner with a message.
static COMMAND: LazyLock<Regex> = LazyLock::new(|| {
    compile(
        r"^(?:##\[(?:error|warning|notice|debug)\]|::(?:error|warning|notice|debug)(?: [^:]*)?::)",
    )
});
/// Maximum bytes of the names of job and step.
const NAMES: usize = 400;

/// The time of Buildkite's timestamp and the rest of the line; the line must be unmodified.
pub(crate) fn buildkite(line: &str) -> Option<(String, &str)> {
    if !line.starts_with(['\u{1b}', '_']) {
        return None;
    }
    let found = BUILDKITE.captures(line)?;
    let time = Timestamp::from_millisecond(found["time"].parse().ok()?).ok()?;
    Some((time.to_string(), &line[found[0].len()..]))
}

/// The header of a line that begins with `#`, `:` or `s`.
pub(super) fn header(rest: &str) -> Option<Header<'_>> {
    let found = match rest.as_bytes()[0] {
        b's' if rest.starts_with("section_") => SECTION.find(rest)?,
        b's' => return None,
        _ => COMMAND.find(rest).or_else(|| STEP.find(rest))?,
    };
    Some(Header::of(found.len()))
}

/// The header of a line that begins with a time in brackets.
pub(super) fn bracketed_header(rest: &str) -> Option<Header<'_>> {
    let found = BRACKETS.captures(rest)?;
    let time = found.name("time")?.as_str();
    let clock = |time: &str| time.len() <= 12 && time.matches(':').count() == 2;
    (clock(time) || iso(time).is_some()).then(|| Header::relay(found[0].len(), time))
}

/// `job<tab>step<tab>` before a timestamp, as in `gh run view --log`.
pub(super) fn tabbed_header(rest: &str) -> Option<Header<'_>> {
    let bytes = rest.as_bytes();
    let bytes = &bytes[..bytes.len().min(NAMES)];
    let job = bytes.iter().position(|byte| *byte == b'\t')?;
    let step = bytes[job + 1..].iter().position(|byte| *byte == b'\t')?;
    let mut length = job + step + 2;
    if rest[length..].starts_with('\u{feff}') {
        length += '\u{feff}'.len_utf8();
    }
    iso(&rest[length..])?.zulu.then(|| Header::of(length))
}
