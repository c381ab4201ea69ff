//! Makes text from outside safe to match and to print, and recognises quotes of a container.

use std::{borrow::Cow, fmt::Write, sync::LazyLock};

use regex::{Captures, Regex};

/// Terminal control sequences: CSI, those with a text (OSC, APC and others), and short ones.
static ESCAPES: LazyLock<Regex> = LazyLock::new(|| {
    compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]_PX^][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
});
/// Colour sequences in escaped form.
static QUOTED_COLOURS: LazyLock<Regex> =
    LazyLock::new(|| compile(r"\\+(?:u001b|x1b|033|e)\[[0-9;]*[A-Za-z]"));

/// Characters that need cleaning; most lines have none.
static UNUSUAL: LazyLock<Regex> = LazyLock::new(|| compile("[^ -~]"));
static QUOTING: LazyLock<Regex> = LazyLock::new(|| compile(r#"\\+("?)"#));

/// Lines that quote a container's output or its specification.
static QUOTES_A_CONTAINER: LazyLock<Regex> = LazyLock::new(|| {
    compile(concat!(
        r#"^"(?:Probe failed|Probe succeeded|Probe errored|Exec lifecycle hook)|"#,
        r#"^"Event occurred".* reason="(?:Unhealthy|FailedP[a-z]+Hook)"|"#,
        r#"^"Unhandled Error" err="(?:init )?container &Container\{|"#,
        r#"unable to start container process: exec: ""#,
    ))
});

pub(super) fn compile(pattern: &str) -> Regex {
    Regex::new(pattern).expect("must compile")
}

/// A line as a terminal shows it: without control sequences, and only the text after the last
/// carriage return.
pub(super) fn visible(line: &str) -> Cow<'_, str> {
    if !line.bytes().any(|byte| matches!(byte, 0x1b | b'\r')) {
        return Cow::Borrowed(line);
    }
    let plain = ESCAPES.replace_all(line, "");
    let shown = plain.trim_end();
    // Keep the whole line with GitLab's section mark, which the carriage return would hide.
    let marked = shown.contains("section_start:") || shown.contains("section_end:");
    let last = shown.rsplit('\r').next().unwrap_or_default();
    Cow::Owned(if marked { shown } else { last }.to_owned())
}

/// Drops terminal sequences and escapes other control characters, such as `\x1b` and `\u{202e}`.
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

/// Undoes the escaping of quotes at any depth: `\\\"a\\\"` becomes `"a"`. Other escapes stay, with
/// one backslash: `\x00` is safer to print than the character itself.
pub(super) fn unquote(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let plain = QUOTED_COLOURS.replace_all(text, "");
    let plain = QUOTING.replace_all(&plain, |run: &Captures| {
        match &run[1] {
            "" => r"\",
            quote => quote,
        }
        .to_owned()
    });
    Cow::Owned(plain.into_owned())
}

/// At most `most` characters of a text; an ellipsis marks a cut.
pub(super) fn shorten(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Whether a message quotes what a container said, or what its author wrote.
pub(super) fn quotes_a_container(text: &str) -> bool {
    QUOTES_A_CONTAINER.is_match(text)
}

/// Characters that change the displayed order of text.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_terminal_control_is_left() {
        let hostile = "\x1b[31mred\x1b[0m \x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1bc \
                       \u{9b}2J\x07\x08\r\u{202e}txt\x1b";
        let plain = clean(hostile);
        assert_eq!(plain, r"red ab \x9b2J\x07\x08 \u{202e}txt\x1b");
        assert!(!plain.contains(char::is_control));
    }

    #[test]
    fn quotes_are_unescaped_at_any_depth() {
        assert_eq!(
            unquote(r#"a \"b\" \\\"c\\\" \x00 \\x00"#),
            r#"a "b" "c" \x00 \x00"#
        );
        assert_eq!(unquote("plain"), "plain");
        assert_eq!(unquote(r"ends \"), r"ends \");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shorten("äöü", 2), "äö…");
        assert_eq!(shorten("äöü", 3), "äöü");
    }
}
