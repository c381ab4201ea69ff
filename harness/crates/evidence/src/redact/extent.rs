//! Finds the end of a value in a text that may be YAML, JSON, a log or a command line.
//!
//! A quoted value ends at its quote, an unquoted one at white space, a structure with its last
//! bracket. Everything works on bytes and stops only at ASCII characters, so always between
//! characters.

use std::ops::Range;

/// How many depths of quoting are distinguished.
const DEPTH: usize = 8;
/// Prefix of a redaction mark. It contains blanks, and counts as one word of a value.
const MARK: &str = "[redacted ";

/// The quotes that are open at a place of a line, by the number of backslashes before them. It only
/// moves forward.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    at: usize,
    open: [bool; DEPTH],
}

impl Quotes {
    pub(super) fn advance(&mut self, text: &str, to: usize) {
        let mut backslashes = 0;
        for byte in &text.as_bytes()[self.at.min(to)..to] {
            match byte {
                b'\n' => self.open = [false; DEPTH],
                b'"' => {
                    let depth = backslashes.min(DEPTH - 1);
                    self.open[depth] = !self.open[depth];
                    // Inner quotes end with the outer one.
                    self.open[depth + 1..].fill(false);
                }
                _ => {}
            }
            backslashes = if *byte == b'\\' { backslashes + 1 } else { 0 };
        }
        self.at = to;
    }
}

/// The value that begins at a place, without its quotes; None where there is none.
pub(super) fn value(
    text: &str,
    at: usize,
    quotes: &Quotes,
    in_query: bool,
) -> Option<Range<usize>> {
    let rest = &text.as_bytes()[at..];
    let backslashes = rest.iter().take_while(|byte| **byte == b'\\').count();
    let range = match rest.get(backslashes) {
        Some(quote @ (b'"' | b'\'' | b'`')) if !closes(quotes, rest, backslashes) => {
            let begin = at + backslashes + 1;
            begin..quoted_end(text, begin, *quote, backslashes)
        }
        _ => at..word_end(text, at, quotes, in_query),
    };
    (!range.is_empty()).then_some(range)
}

/// Whether the place where a value would begin is the end of the surrounding quotes.
fn closes(quotes: &Quotes, rest: &[u8], backslashes: usize) -> bool {
    rest[backslashes] == b'"'
        && quotes.open[backslashes.min(DEPTH - 1)]
        && ends_quotes(rest.get(backslashes + 1))
}

/// Whether the byte behind a quote shows that the quote closes its text.
fn ends_quotes(next: Option<&u8>) -> bool {
    next.is_none_or(|next| next.is_ascii_whitespace() || b",;:}])\"'\\".contains(next))
}

/// The place where a quote closes that was opened behind this many backslashes, or the line's end
/// if it does not close. Lines with a deeper indent belong to the line.
fn quoted_end(text: &str, begin: usize, quote: u8, backslashes: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut run) = (begin, 0);
    while let Some(byte) = bytes.get(at) {
        let behind = &bytes[at + 1..];
        if *byte == b'\n' && !matches!(behind.first(), Some(b' ' | b'\t')) {
            break;
        }
        if quote == b'\'' && *byte == quote && run > backslashes && behind.first() == Some(&quote) {
            // In single quotes YAML has no backslash, and doubles the quote.
            at += 1;
        } else if *byte == quote && run <= backslashes {
            // An inner quote, as YAML and shells write it.
            let inner: &[&[u8]] = &[b"'", b"\\''", b"\"'\"'"];
            match inner
                .iter()
                .find(|inner| quote == b'\'' && behind.starts_with(inner))
            {
                Some(inner) => at += inner.len(),
                // A quote with a letter behind it belongs to the value.
                None if behind
                    .first()
                    .is_none_or(|next| !next.is_ascii_alphanumeric()) =>
                {
                    return at - run;
                }
                None => {}
            }
        }
        run = if *byte == b'\\' { run + 1 } else { 0 };
        at += 1;
    }
    at
}

fn word_end(text: &str, begin: usize, quotes: &Quotes, in_query: bool) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut run) = (begin, 0);
    while let Some(byte) = bytes.get(at) {
        if let Some(mark) = mark_at(text, at) {
            (at, run) = (mark, 0);
            continue;
        }
        let is_open = *byte == b'"' && quotes.open[run.min(DEPTH - 1)];
        if is_open && ends_quotes(bytes.get(at + 1)) {
            return at - run;
        }
        let ends = in_query && b"&;#\"'<>\\`".contains(byte);
        if ends || byte.is_ascii_whitespace() {
            break;
        }
        run = if *byte == b'\\' { run + 1 } else { 0 };
        at += 1;
    }
    at
}

/// The end of a mark that begins here.
fn mark_at(text: &str, at: usize) -> Option<usize> {
    let rest = text.as_bytes()[at..].strip_prefix(MARK.as_bytes())?;
    let length = rest.iter().position(|byte| *byte == b']')?;
    Some(at + MARK.len() + length + 1)
}

/// The end of the brackets that begin here, whatever stands in quotes between them; the line's end
/// if they do not close.
pub(super) fn structure_end(text: &str, begin: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut run, mut depth) = (begin, 0_usize, 0_usize);
    let (mut level, mut quoted) = (None, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' if level.is_none_or(|level| level == run) => {
                level = Some(run);
                quoted = !quoted;
            }
            b'{' | b'[' | b'(' if !quoted => depth += 1,
            b'}' | b']' | b')' if !quoted => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        run = if *byte == b'\\' { run + 1 } else { 0 };
        at += 1;
    }
    line_end(text, begin)
}

pub(super) fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end)
}

/// The columns before the text of a line; the dash of a list counts as text.
pub(super) fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '\t']).len()
}

/// The end of the lines below a key that belong to its value by YAML's indentation, starting at the
/// end of the key's own line.
pub(super) fn block_end(text: &str, key: usize, lists_too: bool) -> usize {
    let line = text[..key].rfind('\n').map_or(0, |end| end + 1);
    let own = indent(&text[line..]);
    let mut end = line_end(text, key);
    while let Some(below) = text.get(end + 1..) {
        let next = line_end(text, end + 1);
        let line = &text[end + 1..next];
        let belongs = indent(line) > own
            || (lists_too && indent(line) == own && line.trim_start().starts_with("- "));
        if below.is_empty() || !(belongs || line.trim().is_empty()) {
            break;
        }
        end = next;
    }
    end
}
