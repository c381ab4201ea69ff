//! Text from outside made safe to match and to print, and whether it only quotes.

use std::{borrow::Cow, fmt::Write, sync::LazyLock};

use regex::{Captures, Regex};

/// Sequences that steer a terminal: CSI, those that carry a text (OSC, APC and others), and the
/// short ones.
static ESCAPES: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]_PX^][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
});
/// Colours in a text that was quoted.
static QUOTED_COLOURS: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"\\+(?:u001b|x1b|033|e)\[[0-9;]*[A-Za-z]"));

/// Most lines have none of it.
static UNUSUAL: LazyLock<Regex> = LazyLock::new(|| compiled("[^ -~]"));
static QUOTING: LazyLock<Regex> = LazyLock::new(|| compiled(r#"\\+("?)"#));

/// Lines that quote what a container said, or what its author wrote.
static QUOTES_A_CONTAINER: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r#"^"(?:Probe failed|Probe succeeded|Probe errored|Exec lifecycle hook)|"#,
        r#"^"Event occurred".* reason="(?:Unhealthy|FailedP[a-z]+Hook)"|"#,
        r#"^"Unhandled Error" err="(?:init )?container &Container\{|"#,
        r#"unable to start container process: exec: ""#,
    ))
});

pub(super) fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("must compile")
}

/// What a terminal shows of a line: without sequences, and what was written last where the cursor
/// went back to the begin.
pub(super) fn visible(line: &str) -> Cow<'_, str> {
    if !line.bytes().any(|byte| matches!(byte, 0x1b | b'\r')) {
        return Cow::Borrowed(line);
    }
    let plain = ESCAPES.replace_all(line, "");
    let shown = plain.trim_end();
    // A section of GitLab's is led by its mark, which the return hides.
    let marked = shown.contains("section_start:") || shown.contains("section_end:");
    let last = shown.rsplit('\r').next().unwrap_or_default();
    Cow::Owned(if marked { shown } else { last }.to_owned())
}

/// Drops terminal sequences and shows what else could steer a terminal as `\x1b`, `\u{202e}`.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !UNUSUAL.is_match(text) {
        return Cow::Borrowed(text);
    }
    let plain = ESCAPES.replace_all(text, "");
    let mut shown = String::with_capacity(plain.len());
    for c in plain.chars() {
        match c {
            '\t' | '\r' | '\n' => shown.push(' '),
            _ if c.is_control() => {
                write!(shown, "\\x{:02x}", u32::from(c)).expect("a String takes all");
            }
            _ if is_bidi(c) => shown.extend(c.escape_unicode()),
            _ => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Undoes the quoting of log formats, however deep: `\\\"a\\\"` is `"a"`. Other escapes stay,
/// with one backslash: `\x00` is safer to look at than what it stands for.
pub(super) fn unquoted(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let plain = QUOTED_COLOURS.replace_all(text, "");
    let told = QUOTING.replace_all(&plain, |run: &Captures| {
        match &run[1] {
            "" => r"\",
            quote => quote,
        }
        .to_owned()
    });
    Cow::Owned(told.into_owned())
}

/// At most `most` characters of a text; what is cut off is marked.
pub(super) fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Whether a message quotes what a container said, or what its author wrote.
pub(super) fn quotes_a_container(text: &str) -> bool {
    QUOTES_A_CONTAINER.is_match(text)
}

/// Characters that reorder what a reader sees.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_is_left() {
        let hostile = "\x1b[31mred\x1b[0m \x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1bc \
                       \u{9b}2J\x07\x08\r\u{202e}txt\x1b";
        let plain = clean(hostile);
        assert_eq!(plain, r"red ab \x9b2J\x07\x08 \u{202e}txt\x1b");
        assert!(!plain.contains(char::is_control));
    }

    #[test]
    fn quotes_of_any_depth_are_quotes() {
        assert_eq!(
            unquoted(r#"a \"b\" \\\"c\\\" \x00 \\x00"#),
            r#"a "b" "c" \x00 \x00"#
        );
        assert_eq!(unquoted("plain"), "plain");
        assert_eq!(unquoted(r"ends \"), r"ends \");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("äöü", 3), "äöü");
    }
}
