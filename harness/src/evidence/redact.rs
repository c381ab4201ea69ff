//! What must not be kept of a failure: tokens, keys, passwords, and what a user names.
//!
//! Pure: text in, text out. All that is written of a failure has gone through here.

use std::{borrow::Cow, collections::BTreeSet, sync::LazyLock};

use base64::{Engine, prelude::BASE64_STANDARD};
use regex::{Captures, Regex};
use serde_json::Value;

use crate::{Error, Result};

/// Lines that a private key may have.
const KEY_LINES: usize = 200;
/// Values of Secrets below this length are too likely to be ordinary words.
const VALUE_BYTES: usize = 8;
/// Values of Secrets above this are no passwords; what is typical in them goes by its form.
const VALUE_MAX: usize = 16 << 10;

/// Bytes of values that one rule takes out: a larger one would not compile.
const RULE: usize = 64 << 10;

/// Words that are no secrets, though they stand where one could.
const PLAIN: [&str; 4] = ["true", "false", "null", "none"];

static JWT: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"eyJ[A-Za-z0-9_=-]{8,}\.[A-Za-z0-9_=-]{4,}(?:\.[A-Za-z0-9_=-]*)?"));
static BOOTSTRAP: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"\b(?<id>[a-z0-9]{6})\.(?<secret>[a-z0-9]{16})\b"));
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r#"(?i)(?<keep>\bbearer[ =:]+|"#,
        r#"\bauthorization\\*["']?\s*[:=]\s*\[?\\*["']?(?:[a-z]+ +)?)"#,
        r#"(?<secret>[^\s"'\\,;\]]{4,})"#
    ))
});
/// A key of YAML, JSON, TOML, a variable or a flag, with its value.
static KEYED: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"(?i)(?<keep>(?:client-key-data|client_?secret|secret_?key|secret_?access_?key|",
        r"(?-i:[A-Z0-9]+_SECRET)|access_?key|api[-_]?key|certificate-?key|private_?key|passw(?:or)?d|passphrase|",
        r"(?:identity|registry|access|refresh|id|auth|bootstrap|session|bearer)?[-_]?token|",
        r"\.?dockerconfigjson|\.dockercfg)",
        r#"\\*["']?(?:\s*[:=]\s*|[ =]))(?<quote>\\*["'])?(?<secret>[^\s"'\\{}\[\],;&]{4,})"#
    ))
});
/// `auth` is an ordinary word, unless it is a quoted key.
static AUTH: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r#"(?<keep>(?:\\*["']auth\\*["']\s*:|\bauth\s*=)\s*\\*["'])(?<secret>[^\s"'\\]{4,})"#)
});
static URL: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r#"(?<keep>[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"']*:)(?<secret>[^\s/@"']+)@"#)
});
static ENCODED_PEM: LazyLock<Regex> = LazyLock::new(|| compiled("LS0tLS1CRUdJTi[A-Za-z0-9+/=]+"));
static BEGIN_KEY: LazyLock<Regex> =
    LazyLock::new(|| compiled("-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----"));
static END_KEY: LazyLock<Regex> = LazyLock::new(|| compiled("-----END [A-Z0-9 ]*PRIVATE KEY-----"));
/// The end of a line within a key.
static KEY_LINE: LazyLock<Regex> =
    LazyLock::new(|| compiled(r#"(?:^|[^A-Za-z0-9+/=])[A-Za-z0-9+/]{20,}={0,2}[\\nr"', ]*$"#));
/// A Secret within a line, such as in the annotation `kubectl apply` leaves.
static SECRET_LINE: LazyLock<Regex> =
    LazyLock::new(|| compiled(r#"\\*"kind\\*"\s*:\s*\\*"Secret\\*""#));
static SECRET_DATA: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r#"(?<keep>\\*"(?:data|stringData)\\*"\s*:\s*)\{(?<secret>[^{}]*)\}"#)
});
/// Names of variables and fields whose values are secrets.
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    compiled("(?i)passw(?:or)?d|passphrase|token|secret|api[-_]?key|private_?key|access_?key")
});

/// A variable as the kubelet writes a container that it cannot start.
static GO_VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"(?<keep>EnvVar\{Name:[^,{}]*(?i:passw(?:or)?d|passphrase|token|secret|api[-_]?key|",
        r"private_?key|access_?key)[^,{}]*,Value:)(?<secret>.+?)(?<end>,ValueFrom:)"
    ))
});

/// What is taken out.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    own: Vec<Regex>,
    /// What the Secrets that were seen hold.
    values: Vec<Regex>,
}

impl Redactor {
    /// With patterns of the user's own: one a line, or with `;` between them.
    ///
    /// # Errors
    /// A pattern is no regular expression.
    pub fn new(own: Option<&str>) -> Result<Self> {
        let patterns = own.unwrap_or_default().split(['\n', ';']).map(str::trim);
        let own = patterns
            .filter(|pattern| !pattern.is_empty())
            .map(|pattern| {
                Regex::new(pattern).map_err(|cause| {
                    Error::input(format!(
                        "'{pattern}' of KUBENEST_REDACT is no regular expression"
                    ))
                    .because(cause)
                    .cure("separate patterns by new lines or ';', and write '\\x3b' for a ';'")
                })
            });
        Ok(Self {
            own: own.collect::<Result<_>>()?,
            values: Vec::new(),
        })
    }

    /// Takes these values out, wherever they stand.
    #[must_use]
    pub fn hiding(mut self, values: &BTreeSet<String>) -> Self {
        let mut values: Vec<_> = values.iter().map(|value| regex::escape(value)).collect();
        // Of two that begin alike the longer has to go.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        let mut rules: Vec<String> = Vec::new();
        for value in values {
            match rules
                .last_mut()
                .filter(|rule| rule.len() + value.len() < RULE)
            {
                Some(rule) => *rule = format!("{rule}|{value}"),
                None => rules.push(value),
            }
        }
        self.values = rules.iter().map(|rule| compiled(rule)).collect();
        self
    }

    /// The text without its secrets.
    pub fn redact(&self, text: &str) -> String {
        let mut text = keys(text);
        if SECRET_LINE.is_match(&text) {
            text = text
                .split('\n')
                .map(secret_line)
                .collect::<Vec<_>>()
                .join("\n");
        }
        let mut pass = |rule: &Regex, what: fn(&Captures) -> String| {
            if let Cow::Owned(new) = rule.replace_all(&text, what) {
                text = new;
            }
        };
        pass(&ENCODED_PEM, encoded);
        pass(&JWT, |_| mark("token"));
        pass(&BOOTSTRAP, bootstrap);
        pass(&HEADER, |found| keyed(found, "credentials"));
        pass(&GO_VARIABLE, |found| {
            format!("{}{}{}", &found["keep"], mark("secret"), &found["end"])
        });
        pass(&KEYED, |found| keyed(found, "secret"));
        pass(&AUTH, |found| keyed(found, "credentials"));
        pass(&URL, |found| {
            format!("{}{}@", &found["keep"], mark("password"))
        });
        self.values
            .iter()
            .for_each(|rule| pass(rule, |_| mark("secret")));
        self.own
            .iter()
            .for_each(|rule| pass(rule, |_| mark("by rule")));
        text
    }

    /// A document of the API without what its Secrets hold and its variables say.
    pub fn redact_document(&self, document: &mut Value) {
        match document {
            Value::Object(fields) => {
                let secret = fields.get("kind").is_some_and(|kind| kind == "Secret");
                let named = fields.get("name").and_then(Value::as_str);
                let hidden = named.is_some_and(|name| SECRET_NAME.is_match(name));
                for (key, value) in fields.iter_mut() {
                    match key.as_str() {
                        "data" | "stringData" if secret => blank(value),
                        "value" if hidden && value.is_string() => *value = mark("secret").into(),
                        "kubectl.kubernetes.io/last-applied-configuration" => {
                            *value = self
                                .redact_applied(value.as_str().unwrap_or_default())
                                .into();
                        }
                        _ => self.redact_document(value),
                    }
                }
            }
            Value::Array(items) => {
                let mut hidden = false;
                for item in items {
                    match item.as_str() {
                        Some(word) => {
                            // The value of a flag is an argument of its own.
                            let flag = word.starts_with('-') && !word.contains(['=', ' ']);
                            let flag = flag && SECRET_NAME.is_match(word);
                            if std::mem::replace(&mut hidden, flag) && !word.starts_with('-') {
                                *item = mark("secret").into();
                            }
                        }
                        None => self.redact_document(item),
                    }
                }
            }
            _ => {}
        }
    }

    /// The annotation that `kubectl apply` leaves: the object itself, as text.
    fn redact_applied(&self, text: &str) -> String {
        match serde_json::from_str::<Value>(text) {
            Ok(mut inner) => {
                self.redact_document(&mut inner);
                inner.to_string()
            }
            Err(_) => self.redact(text),
        }
    }
}

/// What the Secrets in documents of the API hold: as it is kept, as it is meant, by its lines,
/// and these in quotes.
pub fn secrets_in<'a>(documents: impl IntoIterator<Item = &'a Value>) -> BTreeSet<String> {
    let mut values = BTreeSet::new();
    for document in documents {
        for object in objects(document).filter(|object| object["kind"] == "Secret") {
            of_secret(object, &mut values);
        }
    }
    values
}

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("must compile")
}

fn mark(what: &str) -> String {
    format!("[redacted {what}]")
}

fn keyed(found: &Captures, what: &str) -> String {
    let secret = &found["secret"];
    let plain = PLAIN.iter().any(|word| secret.eq_ignore_ascii_case(word));
    if plain || secret.trim_start_matches('[').starts_with("redacted") {
        return found[0].to_owned();
    }
    let quote = found.name("quote").map_or("", |quote| quote.as_str());
    format!("{}{quote}{}", &found["keep"], mark(what))
}

/// Bare names have this form too, but no digits in that place.
fn bootstrap(found: &Captures) -> String {
    if found["secret"].bytes().any(|byte| byte.is_ascii_digit()) {
        format!("{}.{}", &found["id"], mark("token"))
    } else {
        found[0].to_owned()
    }
}

/// Certificates are no secrets.
fn encoded(found: &Captures) -> String {
    let whole = &found[0].as_bytes()[..found[0].len() / 4 * 4];
    match BASE64_STANDARD.decode(whole) {
        Ok(pem) if !String::from_utf8_lossy(&pem).contains("PRIVATE KEY") => found[0].to_owned(),
        _ => mark("private key"),
    }
}

fn secret_line(line: &str) -> Cow<'_, str> {
    if !SECRET_LINE.is_match(line) {
        return line.into();
    }
    let data = format!("${{keep}}{}", mark("data"));
    SECRET_DATA.replace_all(line, data.as_str())
}

/// Takes out private keys, which stand on many lines, with or without their first and last.
fn keys(text: &str) -> String {
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

/// A line with a whole key, its line ends written out, or with the begin or end of one.
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

fn objects(document: &Value) -> impl Iterator<Item = &Value> {
    let items = document["items"].as_array().map_or(&[][..], Vec::as_slice);
    std::iter::once(document).chain(items)
}

fn of_secret(object: &Value, values: &mut BTreeSet<String>) {
    let fields = ["data", "stringData"].map(|key| object[key].as_object());
    for (key, value) in fields.into_iter().flatten().flatten() {
        let Some(value) = value
            .as_str()
            .filter(|_| key != "ca.crt" && key != "namespace")
        else {
            continue;
        };
        let decoded = BASE64_STANDARD.decode(value).unwrap_or_default();
        let decoded = String::from_utf8_lossy(&decoded);
        let lines = decoded.lines().map(str::trim);
        let plain = |word: &&str| {
            (VALUE_BYTES..VALUE_MAX).contains(&word.len()) && !word.starts_with("-----")
        };
        for word in [value].into_iter().chain(lines).filter(plain) {
            // As it stands in JSON and in the quotes of a log.
            let quoted = Value::from(word).to_string();
            values.insert(quoted[1..quoted.len() - 1].to_owned());
            values.insert(word.to_owned());
        }
    }
}

fn blank(value: &mut Value) {
    match value {
        Value::Object(fields) => fields
            .iter_mut()
            .for_each(|(_, value)| *value = mark("data").into()),
        other => *other = mark("data").into(),
    }
}

#[cfg(test)]
mod tests;
