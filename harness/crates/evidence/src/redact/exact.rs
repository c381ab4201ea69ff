//! Finds known values in every form in which a program may write them.
//!
//! A value is found as it is, escaped (JSON, Go's %q and HTML-safe JSON, shells, YAML), quoted
//! again and again, percent-encoded, as entities, folded over lines, in base64 at any alignment,
//! in hexadecimal and as a list of bytes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    ops::Range,
    sync::{Arc, OnceLock},
};

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};
use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::compiled;

/// The most memory that a compiled rule may take.
const COMPILED: usize = 64 << 20;
/// Longest value that is looked for in each form, in bytes. A longer value is likely to be a file,
/// whose lines are values of their own.
const SHORT: usize = 256;
/// Length in characters beyond which base64 may be folded into lines.
const FOLDED: usize = 48;
/// Half the most characters of a needle, the text that must occur before a form is looked for.
const NEEDLE: usize = 12;

/// Values to be found.
#[derive(Debug, Clone, Default)]
pub(super) struct Exact {
    forms: Arc<Vec<Form>>,
    /// Matches any needle. A text without a match has none of the values, so one search is enough.
    needles: Option<Regex>,
    by_needle: BTreeMap<String, Vec<usize>>,
}

/// One form of a value.
#[derive(Debug)]
struct Form {
    /// A text with this form contains one of these. If the list is empty, the form is always looked
    /// for.
    needles: Vec<String>,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    Text(String),
    /// Compiled when a text has a needle.
    Pattern(String, OnceLock<Regex>),
}

impl Exact {
    pub(super) fn of(values: &BTreeSet<String>) -> Self {
        let forms: Vec<Form> = values.iter().flat_map(|value| forms(value)).collect();
        let mut by_needle: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (at, form) in forms.iter().enumerate() {
            for needle in &form.needles {
                by_needle.entry(needle.clone()).or_default().push(at);
            }
        }
        // Where one needle is a prefix of another, the search finds the longer; that match counts
        // for both.
        let mut before: Vec<(&String, Vec<usize>)> = Vec::new();
        let mut with_prefixes = BTreeMap::new();
        for (needle, forms) in &by_needle {
            before.retain(|(prefix, _)| needle.starts_with(*prefix));
            let all = before
                .iter()
                .flat_map(|(_, forms)| forms)
                .chain(forms)
                .copied()
                .collect();
            with_prefixes.insert(needle.clone(), all);
            before.push((needle, forms.clone()));
        }
        let mut needles: Vec<&String> = by_needle.keys().collect();
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
        let needles: Vec<String> = needles.iter().map(|needle| regex::escape(needle)).collect();
        Self {
            needles: (!needles.is_empty()).then(|| compiled(&needles.join("|"))),
            forms: Arc::new(forms),
            by_needle: with_prefixes,
        }
    }

    /// The places of all values, including overlapping ones.
    pub(super) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut likely: BTreeSet<usize> = (0..self.forms.len())
            .filter(|at| self.forms[*at].needles.is_empty())
            .collect();
        let found = self
            .needles
            .iter()
            .flat_map(|needles| overlapping(needles, text));
        let found: BTreeSet<&str> = found.map(|needle| &text[needle]).collect();
        likely.extend(found.iter().flat_map(|needle| &self.by_needle[*needle]));
        let forms = likely.iter().map(|at| &self.forms[*at]);
        forms.flat_map(|form| form.rule.find(text)).collect()
    }
}

impl Form {
    fn new(needles: impl IntoIterator<Item = String>, pattern: String) -> Self {
        let needles = needles.into_iter().filter(|needle| needle.len() > 2);
        Self {
            needles: needles.collect(),
            rule: Rule::Pattern(pattern, OnceLock::new()),
        }
    }

    fn long(text: String) -> Self {
        Self {
            needles: vec![first(&text)],
            rule: Rule::Text(text),
        }
    }
}

impl Rule {
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        match self {
            Self::Text(value) => {
                let found = text.match_indices(value.as_str());
                found.map(|(at, value)| at..at + value.len()).collect()
            }
            Self::Pattern(pattern, rule) => {
                let compile = || {
                    RegexBuilder::new(pattern)
                        .size_limit(COMPILED)
                        .dfa_size_limit(COMPILED)
                        .build()
                        .expect("a form of a value must compile")
                };
                overlapping(rule.get_or_init(compile), text).collect()
            }
        }
    }
}

fn overlapping<'a>(rule: &'a Regex, text: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let found = rule.find_at(text, from)?;
        let first = found.as_str().chars().next()?;
        from = found.start() + first.len_utf8();
        Some(found.range())
    })
}

/// All forms of a value.
fn forms(value: &str) -> Vec<Form> {
    let quoted = quoted(value);
    if value.len() > SHORT {
        let texts = quoted
            .iter()
            .cloned()
            .chain(quoted.iter().flat_map(|text| aligned_base64(text)));
        let url_safe = texts
            .clone()
            .map(|own| own.replace('+', "-").replace('/', "_"));
        let all: BTreeSet<String> = texts.chain(url_safe).collect();
        return all.into_iter().map(Form::long).collect();
    }
    let encoded = BASE64_STANDARD_NO_PAD.encode(value);
    let texts: BTreeSet<&String> = quoted.iter().chain([&encoded]).collect();
    let plain = Form::new(
        longest_word(value),
        value.chars().map(loose_pattern).collect(),
    );
    let mut all = vec![plain];
    all.extend(texts.iter().flat_map(|text| base64_forms(text)));
    all.extend(byte_forms(value));
    all
}

/// A value as it is, and as JSON, HTML-safe JSON and ASCII-only JSON quote it.
fn quoted(value: &str) -> [String; 4] {
    let json = Value::from(value).to_string();
    let json = json[1..json.len() - 1].to_owned();
    let escape = |text: &str, is_special: fn(char) -> bool| {
        let mut escaped = String::new();
        for c in text.chars() {
            match is_special(c) {
                true => utf16(&mut escaped, "\\", c),
                false => escaped.push(c),
            }
        }
        escaped
    };
    let html_safe = escape(&json, |c| matches!(c, '<' | '>' | '&'));
    let ascii = escape(&html_safe, |c| !c.is_ascii());
    [value.to_owned(), json, html_safe, ascii]
}

/// Adds a character as JSON escapes it.
fn utf16(text: &mut String, backslash: &str, c: char) {
    for unit in c.encode_utf16(&mut [0; 2]) {
        write!(text, "{backslash}u{unit:04x}").expect("a String takes all");
    }
}

fn first(text: &str) -> String {
    text.chars().take(2 * NEEDLE).collect()
}

/// The longest part that every quoting leaves as it is.
fn longest_word(value: &str) -> Option<String> {
    let words = value.split(|c: char| !c.is_ascii_alphanumeric());
    words.max_by_key(|word| word.len()).map(first)
}

/// A pattern of all ways to write a character.
fn loose_pattern(c: char) -> String {
    if c.is_ascii_alphanumeric() {
        return c.to_string();
    }
    if c.is_ascii_whitespace() {
        // In a folded text, white space may be a line end and an indent. If each line has a stamp,
        // as in a log, it may also be up to five words.
        return concat!(
            r"(?:\\*\s|\+|\n(?:\S+[ \t]+){0,5}|(?i:%20|%09|%0a|%0d|\\+u00(?:20|09|0a|0d)|\\+x(?:20|09|0a|0d))|",
            r"\\+[ntr]|\\+0(?:40|11|12|15)|&#(?:32|9|10|13|x20|x9|x[Aa]|x[Dd]);)+"
        )
        .to_owned();
    }
    let mut utf8 = [0; 4];
    let utf8 = c.encode_utf8(&mut utf8).as_bytes();
    let percent: String = utf8
        .iter()
        .map(|byte| format!("(?i:%{byte:02x})"))
        .collect();
    let own = regex::escape(c.encode_utf8(&mut [0; 4]));
    let code = u32::from(c);
    let mut units = String::new();
    utf16(&mut units, r"\\+", c);
    let hex: String = utf8.iter().map(|byte| format!(r"\\+x{byte:02x}")).collect();
    let octal: String = utf8.iter().map(|byte| format!(r"\\+{byte:03o}")).collect();
    let special = match c {
        '\\' => r"\\+|",
        '\'' => r#"''|'\\+''|'"'"'|&(?:amp;)*apos;|"#,
        '"' => r#"""|&(?:amp;)*quot;|"#,
        '&' => r"&(?:amp;)+|",
        '<' => r"&(?:amp;)*lt;|",
        '>' => r"&(?:amp;)*gt;|",
        '%' => "%%|",
        '$' => r"\$\$|",
        '\u{7}' => r"\\+a|",
        '\u{8}' => r"\\+b|",
        '\u{b}' => r"\\+v|",
        '\u{c}' => r"\\+f|",
        _ => "",
    };
    format!(
        "(?:{special}\\\\*{own}|{percent}|(?i:{units}|{hex}|\\\\+u\\{{{code:x}\\}}|\
         \\\\+U{code:08x}|&(?:amp;)*#x0*{code:x};)|{octal}|&(?:amp;)*#0*{code};)"
    )
}

/// The base64 of a text at each of the three alignments: only the characters that depend on nothing
/// else.
fn aligned_base64(text: &str) -> impl Iterator<Item = String> + Clone {
    (0..3_usize).filter_map(move |before| {
        let padded = [&vec![0; before], text.as_bytes()].concat();
        let letters = BASE64_STANDARD_NO_PAD.encode(&padded);
        let (begin, end) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        letters.get(begin..end).map(str::to_owned)
    })
}

/// As [`aligned_base64`], with the characters that depend on the text only in part, in any alphabet.
fn base64_forms(text: &str) -> impl Iterator<Item = Form> {
    const PART: &str = "[A-Za-z0-9+/_-]?";
    let length = text.len();
    aligned_base64(text).enumerate().map(move |(before, own)| {
        let fold = if own.len() > FOLDED {
            r"(?:\\+n|\s|\n(?:\S+[ \t]+){0,5})*"
        } else {
            ""
        };
        let mut pattern = if before > 0 { PART } else { "" }.to_owned();
        for letter in own.chars() {
            match letter {
                '+' => pattern.push_str(r"(?:[+-]|(?i:%2b|\\+u002b))"),
                '/' => pattern.push_str(r"(?:\\*[/_]|(?i:%2f|\\+u002f))"),
                letter => pattern.push(letter),
            }
            pattern.push_str(fold);
        }
        if !(before + length).is_multiple_of(3) {
            pattern.push_str(PART);
            pattern.push_str("(?i:=|%3d|\\\\+u003d){0,2}");
        }
        Form::new(needles_in_base64(&own), pattern)
    })
}

/// The needles of a base64 form. A fold may break one needle, but never two that are so close
/// together.
fn needles_in_base64(own: &str) -> Vec<String> {
    if own.len() <= FOLDED {
        return longest_word(own).into_iter().collect();
    }
    let near = &own[..FOLDED];
    let words = near.split(['+', '/']).filter(|word| word.len() > 3);
    let parts = words
        .flat_map(|word| word.as_bytes().chunks(6))
        .filter(|part| part.len() > 3);
    let parts = parts.map(|part| String::from_utf8_lossy(part).into_owned());
    parts.take(4).collect()
}

/// The forms of a value's bytes: in hexadecimal, all percent-encoded, or as a list.
fn byte_forms(value: &str) -> Vec<Form> {
    let join = |pattern: fn(u8) -> String, between: &str| {
        let all: Vec<String> = value.bytes().map(pattern).collect();
        all.join(between)
    };
    let begin = |pattern: fn(u8) -> String, between: &str| {
        let all: Vec<String> = value.bytes().take(4).map(pattern).collect();
        all.join(between)
    };
    let (lower, upper) = (lower_hex as fn(u8) -> String, upper_hex as fn(u8) -> String);
    let hex = ["", " ", ":"].map(|between| [begin(lower, between), begin(upper, between)]);
    let percent = [lower, upper].map(|pattern| format!("%{}", begin(pattern, "%")));
    let go = [", ", ","].map(|between| begin(|byte| format!("0x{byte:x}"), between));
    let list = [" ", ", ", ","].map(|between| begin(|byte| byte.to_string(), between));
    vec![
        Form::new(
            hex.concat(),
            join(|byte| format!("(?i:{byte:02x})"), r"[\s:]?"),
        ),
        Form::new(percent, join(|byte| format!("(?i:%{byte:02x})"), "")),
        Form::new(go, join(|byte| format!("0[xX](?i:{byte:x})"), r"[\s,]+")),
        Form::new(
            list,
            format!(r"\b{}\b", join(|byte| byte.to_string(), r"[\s,]+")),
        ),
    ]
}

fn lower_hex(byte: u8) -> String {
    format!("{byte:02x}")
}

fn upper_hex(byte: u8) -> String {
    format!("{byte:02X}")
}
