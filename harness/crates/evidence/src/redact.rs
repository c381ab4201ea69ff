//! Removes from evidence what must not be kept: tokens, keys, passwords, and what the user names.
//!
//! Pure: text in, text out. All evidence that is written passes through here. Known secrets are
//! removed first, in whatever form they are written, then everything that looks like a secret.

mod exact;
mod extent;
mod pem;
mod rules;

use std::{collections::BTreeSet, mem, ops::Range, sync::LazyLock};

use base64::{Engine, prelude::BASE64_STANDARD};
use regex::Regex;
use serde_json::Value;

use self::exact::Exact;
use kubenest_base::{Error, Result};

/// Values of Secrets below this length are too likely to be ordinary words.
const VALUE_BYTES: usize = 8;
/// Values of Secrets above this length are no passwords; keys and tokens in them are found by their
/// form.
const VALUE_MAX: usize = 16 << 10;

/// A line of a file in a Secret: a name and its value.
static SETTING: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r#"^\s*["']?(?<name>[\w.-]+)["']?\s*[:=]\s*["']?(?<value>.*?)["',]*$"#)
});

/// The secrets that are removed from texts.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    own: Vec<Regex>,
    /// The values of the Secrets that were seen.
    values: Exact,
}

impl Redactor {
    /// A redactor with the user's own patterns: one on each line, or separated by `;`.
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
            values: Exact::default(),
        })
    }

    /// Also removes these values, wherever they stand and in whatever form.
    #[must_use]
    pub fn hiding(mut self, values: &BTreeSet<String>) -> Self {
        self.values = Exact::of(values);
        self
    }

    /// The text without its secrets.
    pub fn redact(&self, text: &str) -> String {
        rules::redact(&self.known(text))
    }

    /// The text of a document that [`redact_document`](Self::redact_document) has redacted. There
    /// only Secrets have lost their data; in plain text nobody could tell a Secret's data from a
    /// ConfigMap's.
    pub(super) fn redact_written(&self, document: &str) -> String {
        rules::redact_fields(&self.known(document))
    }

    /// The text without known secrets. This is done first: a rule for the form of secrets may
    /// remove a part of a value, and then nothing would find the rest.
    fn known(&self, text: &str) -> String {
        let own = self.own.iter().flat_map(|rule| rule.find_iter(text));
        let own = own.map(|found| (found.range(), "by rule"));
        let values = self
            .values
            .find(text)
            .into_iter()
            .map(|range| (range, "secret"));
        let mut found: Vec<(Range<usize>, &str)> = own.chain(values).collect();
        found.retain(|(range, _)| !range.is_empty());
        found.sort_by_key(|(range, _)| (range.start, range.end));
        let mut shown = String::with_capacity(text.len());
        let mut from = 0;
        for (range, what) in found {
            if range.start >= from {
                shown.push_str(&text[from..range.start]);
                shown.push_str(&mark(what));
            }
            // Overlapping matches are parts of one secret.
            from = from.max(range.end);
        }
        shown + &text[from..]
    }

    /// Removes from an API document the data of Secrets, secret variables, and secrets in its
    /// texts.
    pub fn redact_document(&self, document: &mut Value) {
        match document {
            Value::Object(fields) => self.redact_fields(fields),
            Value::Array(items) => {
                let mut hidden = false;
                for item in items {
                    let Some(word) = item.as_str() else {
                        hidden = false;
                        self.redact_document(item);
                        continue;
                    };
                    // The value of a flag is an argument of its own.
                    let flag = word.starts_with('-') && !word.contains(['=', ' ']);
                    let flag = flag && rules::is_secret(word);
                    match mem::replace(&mut hidden, flag) && !word.starts_with("--") {
                        true => *item = mark("secret").into(),
                        false => *item = self.redact(word).into(),
                    }
                }
            }
            Value::String(text) => *text = self.redact(text),
            _ => {}
        }
    }

    fn redact_fields(&self, fields: &mut serde_json::Map<String, Value>) {
        let secret = fields.get("kind").is_some_and(|kind| kind == "Secret");
        let named = fields.get("name").and_then(Value::as_str);
        let hidden = named.is_some_and(rules::is_secret);
        let known = |key: &String| self.known(key) != *key;
        if fields.keys().any(known) {
            let renamed = mem::take(fields).into_iter();
            fields.extend(renamed.map(|(key, value)| (self.known(&key), value)));
        }
        for (key, value) in fields.iter_mut() {
            match key.as_str() {
                "data" | "stringData" if secret => blank(value),
                "staticPodURLHeader" if !value.is_null() => blank(value),
                "value" if hidden && value.is_string() => *value = mark("secret").into(),
                "kubectl.kubernetes.io/last-applied-configuration" => {
                    *value = self
                        .redact_applied(value.as_str().unwrap_or_default())
                        .into();
                }
                key if rules::is_secret_field(key) && value.is_string() => {
                    *value = mark("secret").into();
                }
                _ => self.redact_document(value),
            }
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

/// The values that the Secrets in API documents hold: as stored, decoded, line by line, and the
/// values that those lines set.
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

fn objects(document: &Value) -> impl Iterator<Item = &Value> {
    let items = document["items"].as_array().map_or(&[][..], Vec::as_slice);
    std::iter::once(document).chain(items)
}

fn of_secret(object: &Value, values: &mut BTreeSet<String>) {
    let fields = ["data", "stringData"].map(|key| (key, object[key].as_object()));
    for (field, entries) in fields {
        for (key, value) in entries.into_iter().flatten() {
            if let Some(value) = value.as_str()
                && key != "ca.crt"
                && key != "namespace"
            {
                of_value(value, field == "data", values);
            }
        }
    }
}

fn of_value(value: &str, encoded: bool, values: &mut BTreeSet<String>) {
    let mut plain = |word: &str| {
        let word = word.trim();
        if (VALUE_BYTES..VALUE_MAX).contains(&word.len()) && !word.starts_with("-----") {
            values.insert(word.to_owned());
        }
    };
    plain(value);
    let decoded = encoded.then(|| BASE64_STANDARD.decode(value).unwrap_or_default());
    let text = decoded.as_deref().map(String::from_utf8_lossy);
    let text = text.as_deref().unwrap_or(value);
    plain(text);
    text.lines().for_each(&mut plain);
    for line in text.lines().filter_map(|line| SETTING.captures(line)) {
        if rules::is_secret(&line["name"]) || rules::is_secret_field(&line["name"]) {
            plain(&line["value"]);
        }
    }
    if let Ok(document) = serde_json::from_str::<Value>(text) {
        add_inner_secrets(&document, &mut plain);
    }
}

/// Adds the parts of a document in a Secret that are secrets themselves, such as passwords in a
/// registry's credentials.
fn add_inner_secrets(document: &Value, plain: &mut impl FnMut(&str)) {
    match document {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if rules::is_secret(key) || rules::is_secret_field(key) => {
                        plain(text);
                        let decoded = BASE64_STANDARD.decode(text).unwrap_or_default();
                        if let Some((_, password)) =
                            String::from_utf8_lossy(&decoded).split_once(':')
                        {
                            plain(password);
                        }
                    }
                    _ => add_inner_secrets(value, plain),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| add_inner_secrets(item, plain)),
        _ => {}
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
pub(super) mod planted;
#[cfg(test)]
mod tests;
