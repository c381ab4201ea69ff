//! Private keys, which stand on many lines.

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use regex::{Captures, Regex};

use super::{compiled, mark};

/// The most lines of a private key.
const KEY_LINES: usize = 200;

static BEGIN_KEY: LazyLock<Regex> =
    LazyLock::new(|| compiled("-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"));
static END_KEY: LazyLock<Regex> = LazyLock::new(|| compiled("-----END [A-Z0-9 ]*PRIVATE KEY-----"));
/// The end of a line within a key.
static KEY_LINE: LazyLock<Regex> =
    LazyLock::new(|| compiled(r#"(?:^|[^A-Za-z0-9+/=])[A-Za-z0-9+/]{20,}={0,2}[\\nr"', ]*$"#));

/// Redacts base64 of PEM, except certificates, which are no secrets.
pub(super) fn encoded(found: &Captures) -> String {
    let whole = &found[0].as_bytes()[..found[0].len() / 4 * 4];
    match BASE64_STANDARD.decode(whole) {
        Ok(pem) if !String::from_utf8_lossy(&pem).contains("PRIVATE KEY") => found[0].to_owned(),
        _ => mark("private key"),
    }
}

/// Removes private keys, also where the first or last line is missing.
pub(super) fn without_keys(text: &str) -> String {
    if !text.contains("PRIVATE KEY-----") {
        return text.to_owned();
    }
    let lines: Vec<&str> = text.split('\n').collect();
    let mut hidden = vec![false; lines.len()];
    for (at, line) in lines.iter().enumerate() {
        if BEGIN_KEY.is_match(line) && !END_KEY.is_match(line) {
            let near = &lines[at + 1..lines.len().min(at + KEY_LINES)];
            let end = near.iter().position(|line| END_KEY.is_match(line));
            for (below, line) in near.iter().enumerate() {
                let inside = end.is_some_and(|end| below < end);
                hidden[at + 1 + below] |= inside || (end.is_none() && KEY_LINE.is_match(line));
            }
        }
        if END_KEY.is_match(line) && !BEGIN_KEY.is_match(line) {
            for above in (at.saturating_sub(KEY_LINES)..at).rev() {
                // The last line of a key may be short.
                let inside = above + 1 == at || KEY_LINE.is_match(lines[above]);
                if !inside || BEGIN_KEY.is_match(lines[above]) {
                    break;
                }
                hidden[above] = true;
            }
        }
    }
    let shown = lines.iter().zip(hidden).map(|(line, hidden)| match hidden {
        true => mark("private key"),
        false => key_within(line),
    });
    shown.collect::<Vec<_>>().join("\n")
}

/// Redacts a line with a whole key with escaped line ends, or with only the beginning or end of a
/// key.
fn key_within(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some(begin) = BEGIN_KEY.find(rest) {
        shown.push_str(&rest[..begin.start()]);
        shown.push_str(&mark("private key"));
        let behind = &rest[begin.end()..];
        rest = END_KEY.find(behind).map_or("", |end| &behind[end.end()..]);
    }
    match END_KEY.find(rest) {
        Some(end) => shown.push_str(&(mark("private key") + &rest[end.end()..])),
        None => shown.push_str(rest),
    }
    shown
}
