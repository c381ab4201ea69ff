//! Finds what looks like a secret, by its own form or by the name before it.

use std::{borrow::Cow, sync::LazyLock};

use regex::{Captures, Regex};

use super::{
    compiled,
    extent::{Quotes, block_end, indent, line_end, structure_end, value},
    mark, pem,
};

/// Words that are no secrets although they stand in the place of one.
const PLAIN: [&str; 6] = ["true", "false", "null", "none", "nil", "<nil>"];

/// Suffixes of names of fields, variables and flags whose values are secrets.
const NAMES: &str = concat!(
    r"(?i:client-key-data|client_?secret|secret_?key|secret_?access_?key|(?-i:[A-Z0-9]+_SECRET)|",
    r"access_?key(?:_?id)?|api[-_]?key|certificate-?key|private[-_]?key|passw(?:or)?d|",
    r"pass[-_ ]?phrase|passcode|[a-z0-9][-_]pass|[a-z0-9][-_]pwd|auth_pass|rediscli_auth|",
    r"(?:encryption|signing|master|shared|account|storage|hmac|session|webhook)[-_]?key|",
    r"connection[-_]?string|x-amz-signature|token|token[-_]secret|\.?dockerconfigjson|\.dockercfg)"
);
/// The last part of what a name of [`NAMES`] may be a part of.
static SECRET_NAME: LazyLock<Regex> = LazyLock::new(|| {
    compiled(
        "(?i)passw(?:or)?d|passphrase|pass$|pwd$|token|secret|api[-_]?key|private_?key|\
         access_?key|credential",
    )
});
static FIELD: LazyLock<Regex> = LazyLock::new(|| compiled(&format!("(?:{NAMES}|^auth)$")));

static JWT: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"eyJ[A-Za-z0-9_=-]{8,}\.[A-Za-z0-9_=-]{4,}(?:\.[A-Za-z0-9_=-]*)?"));
static BOOTSTRAP: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"(?-u:\b)(?<id>[a-z0-9]{6})\.(?<secret>[a-z0-9]{16})(?-u:\b)"));
static ENCODED_PEM: LazyLock<Regex> = LazyLock::new(|| compiled("LS0tLS1CRUdJTi[A-Za-z0-9+/=]+"));
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r#"(?i)(?:(?-u:\b)bearer[ =:]+|(?-u:\b)(?:proxy-)?authorization\\*["']?\s*[:=]\s*\[?\\*["']?"#,
        r#"(?:[a-z]+ +)?|(?<line>(?-u:\b)(?:set-)?cookie\\*["']?: *(?:\[?\\*["'])?))"#
    ))
});
/// A name, what ends it, and what stands between it and its value.
static KEYED: LazyLock<Regex> = LazyLock::new(|| {
    compiled(&format!(
        r#"(?<flag>(?:^|[\s"'\[,])--?[A-Za-z0-9._-]*)?(?<name>{NAMES})\\*["']?{SEPARATOR}"#
    ))
});
const SEPARATOR: &str = r"(?<separator>[ \t]*(?:[:=]|%3[dD])[ \t]*| |[ \t]*,\s*)";
/// Names that are ordinary words unless `=` follows, or a quoted value follows the quoted name.
static WEAK: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"(?i)(?-u:\b)(?:pass|pwd|psk|secret|sig)[ \t]*=[ \t]*|(?-u:\b)auth[ \t]*=[ \t]*(?<one>\\*[\x22'])|",
        r"[\x22'](?:auth|pass|pwd|psk|secret)\\*[\x22'][ \t]*:[ \t]*(?<other>\\*[\x22'])|",
        r"(?-u:\b)(?:requirepass|masterauth|auth_pass)[ \t]+"
    ))
});
/// Secrets on the command lines of known programs.
static COMMAND: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"(?-u:\b)openssl [^\n]*?-pass(?:in|out)?[ =]+pass:|(?-u:\b)sshpass +-p *|",
        r"(?-u:\b)redis-cli(?-u:\b)[^\n]*? -a +|(?-u:\b)mysql[a-z]* (?:[^\n]*? )?-p|",
        r"(?-u:\b)curl(?-u:\b)[^\n]*? (?:-u|-U|--user|--proxy-user)[ =]+\\*[\x22']?[^\s:\x22']+:"
    ))
});
/// A variable or a header as a pair of fields, in JSON, YAML or Go's form.
static PAIR: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r#"(?i)(?-u:\b)(?:name|key)\\*["']?\s*[:=]\s*\\*["']?[\w.-]*(?:passw(?:or)?d|passphrase|pass|pwd|"#,
        r#"token|secret|api[-_]?key|private_?key|access_?key|authorization)\\*["']?\s*(?:,|\\n)?\s*"#,
        r#"\\*["']?value\\*["']?\s*[:=][ \t]*"#
    ))
});
/// A variable as the kubelet prints a container that it cannot start.
static GO_VARIABLE: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r"(?<keep>EnvVar\{Name:[^,{}]*(?i:passw(?:or)?d|passphrase|pass|pwd|token|secret|",
        r"api[-_]?key|private_?key|access_?key)[^,{}]*,Value:)(?<secret>.+?)(?<end>,ValueFrom:)"
    ))
});
/// The headers with which the kubelet asks for static pods; the kubelet logs its whole
/// configuration.
static STATIC_HEADER: LazyLock<Regex> =
    LazyLock::new(|| compiled(r#"(?i)staticPodURLHeader\\*["']?\s*[:=][ \t]*"#));
/// What Go prints behind a map in a structure.
static GO_NEXT: LazyLock<Regex> = LazyLock::new(|| compiled(r"\]\]? [A-Z][A-Za-z]+:"));
/// A Secret within a line, such as in the annotation `kubectl apply` leaves, or on lines.
static SECRET_LINE: LazyLock<Regex> =
    LazyLock::new(|| compiled(r#"\\*"kind\\*"\s*:\s*\\*"Secret\\*""#));
static SECRET_LINES: LazyLock<Regex> =
    LazyLock::new(|| compiled(r#"(?m)^\s*(?:- )?"?kind"?: ["']?Secret["']?,?\s*$"#));
static SECRET_DATA: LazyLock<Regex> =
    LazyLock::new(|| compiled(r#"\\*"(?:data|stringData)\\*"\s*:\s*\{"#));
static SECRET_BLOCK: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"(?m)^[ \t-]*(?:data|stringData):[ \t]*$"));
static URL: LazyLock<Regex> = LazyLock::new(|| compiled("(?<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"));
static HOST: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r#"^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]+)?(?:$|[/?#,;"'\\)\]}>])"#)
});
static BLOCK: LazyLock<Regex> = LazyLock::new(|| compiled(r"^[|>][-+0-9]*[ \t]*(?:\n|$)"));
/// The lines below the key are a mapping or a list, not a value.
static FIELDS: LazyLock<Regex> =
    LazyLock::new(|| compiled(r#"^\s*(?:[\w."'/-]+:(?:\s|$)|- |[{\[#]|$)"#));
static STRUCTURE: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"^(?:[{\[]|map\[|[&*]?(?:[a-z0-9]+\.)?[A-Z][A-Za-z0-9]*\{|\[\])"));
static QUOTED: LazyLock<Regex> = LazyLock::new(|| compiled(r#"^\\*["']"#));
static NUMBERS: LazyLock<Regex> =
    LazyLock::new(|| compiled(r"^(?:\[\](?:uint8|byte)[{(]|\[)(?:0x)?[0-9a-fA-F]{1,3}[\s,\]})]"));
static GO_FIELD: LazyLock<Regex> = LazyLock::new(|| compiled(r"^,[A-Za-z]+[:=]"));

/// The text without what looks like a secret.
pub(super) fn redact(text: &str) -> String {
    redact_fields(&secrets(text))
}

/// As [`redact`], except that Secrets in the form of API objects stay.
pub(super) fn redact_fields(text: &str) -> String {
    let mut text = pem::without_keys(text);
    let mut pass = |rule: &Regex, what: fn(&Captures) -> String| {
        if let Cow::Owned(new) = rule.replace_all(&text, what) {
            text = new;
        }
    };
    pass(&ENCODED_PEM, pem::encoded);
    pass(&JWT, |_| mark("token"));
    pass(&BOOTSTRAP, bootstrap);
    pass(&GO_VARIABLE, |found| {
        format!("{}{}{}", &found["keep"], mark("secret"), &found["end"])
    });
    for rule in [
        static_header,
        header,
        pair,
        redact_keyed,
        redact_weak,
        command,
        urls,
    ] {
        text = rule(&text);
    }
    text
}

/// Whether a field or variable of this name holds a secret.
pub(super) fn is_secret(name: &str) -> bool {
    SECRET_NAME.is_match(name)
}

/// Whether a field of this name holds a secret if it is text.
pub(super) fn is_secret_field(name: &str) -> bool {
    FIELD.is_match(name)
}

/// A text that is built from another one with some parts replaced.
struct Edited<'a> {
    text: &'a str,
    done: String,
    from: usize,
}

impl<'a> Edited<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            done: String::new(),
            from: 0,
        }
    }

    fn replace(&mut self, part: std::ops::Range<usize>, by: &str) {
        if part.start >= self.from {
            self.done.push_str(&self.text[self.from..part.start]);
            self.done.push_str(by);
            self.from = part.end;
        }
    }

    fn end(mut self) -> String {
        self.done.push_str(&self.text[self.from..]);
        self.done
    }
}

/// Replaces the value behind each match of a rule, unless `keep` returns true.
fn replace_behind(
    text: &str,
    rule: &Regex,
    what: &str,
    keep: impl Fn(&Captures, &str) -> bool,
) -> String {
    let mut edited = Edited::new(text);
    let (mut quotes, mut from) = (Quotes::default(), 0);
    while let Some(found) = rule.captures_at(text, from) {
        let all = found.get(0).expect("a match has a whole");
        from = all.end().max(from + 1);
        if all.start() < edited.from {
            from = from.max(edited.from);
            continue;
        }
        // A quote that the rule has matched belongs to the value.
        let at = ["one", "other"].iter().find_map(|name| found.name(name));
        let at = at.map_or(all.end(), |quote| quote.start());
        quotes.advance(text, at);
        let before = text[..all.start()].bytes().next_back();
        let in_query = matches!(before, Some(b'?' | b'&'));
        if let Some(part) = value(text, at, &quotes, in_query) {
            let word = &text[part.clone()];
            let is_mark = text[..at].ends_with('[') && word.starts_with("redacted");
            if !is_mark && !is_plain(word) && !keep(&found, &text[at..]) {
                edited.replace(part.clone(), &mark(what));
                from = part.end;
            }
        }
        if from > text.len() || !text.is_char_boundary(from) {
            break;
        }
    }
    edited.end()
}

/// Whether the word is a redaction mark already, or says that there is no value.
fn is_plain(word: &str) -> bool {
    if word.starts_with("[redacted ") && word.find(']').is_some_and(|end| end + 1 >= word.len()) {
        return true;
    }
    let shown = word.trim_start_matches('*');
    PLAIN.iter().any(|plain| {
        let rest = shown
            .get(..plain.len())
            .filter(|begin| begin.eq_ignore_ascii_case(plain));
        let rest = rest.map(|_| &shown[plain.len()..]);
        rest.is_some_and(|rest| {
            rest.trim_end_matches([',', ';', '.', '}', ']', ')', '"', '\'', '\\'])
                .is_empty()
                || GO_FIELD.is_match(rest)
        })
    })
}

/// Ordinary names have this form too, but without digits in the second part.
fn bootstrap(found: &Captures) -> String {
    if found["secret"].bytes().any(|byte| byte.is_ascii_digit()) {
        format!("{}.{}", &found["id"], mark("token"))
    } else {
        found[0].to_owned()
    }
}

/// Redacts the data of Secrets in the form of API objects.
fn secrets(text: &str) -> String {
    let whole = SECRET_LINES.is_match(text);
    if !whole && !SECRET_LINE.is_match(text) {
        return text.to_owned();
    }
    let mut edited = Edited::new(text);
    let mut blocks: Vec<_> = SECRET_DATA
        .find_iter(text)
        .map(|found| (found.start(), found.end() - 1))
        .filter(|(begin, _)| whole || SECRET_LINE.is_match(line_of(text, *begin)))
        .map(|(_, brace)| (brace..structure_end(text, brace), mark("data")))
        .collect();
    if whole {
        let yaml = SECRET_BLOCK.find_iter(text).map(|found| {
            let key = found.end() - 1;
            let end = block_end(text, key, false);
            (found.end()..end, format!(" {}", mark("data")))
        });
        blocks.extend(yaml.filter(|(block, _)| !block.is_empty()));
    }
    blocks.sort_by_key(|(block, _)| block.start);
    for (block, by) in blocks {
        edited.replace(block, &by);
    }
    edited.end()
}

fn line_of(text: &str, at: usize) -> &str {
    let begin = text[..at].rfind('\n').map_or(0, |end| end + 1);
    &text[begin..line_end(text, at)]
}

fn static_header(text: &str) -> String {
    let mut edited = Edited::new(text);
    for found in STATIC_HEADER.find_iter(text) {
        let (at, rest) = (found.end(), &text[found.end()..]);
        let line = line_end(text, at);
        let part = if rest.starts_with("map[") {
            let next = GO_NEXT.find(&text[at..line]);
            at..next.map_or(line, |next| at + next.start() + 1)
        } else if rest.starts_with('{') {
            at..structure_end(text, at)
        } else if text[at..line].trim().is_empty() {
            at..block_end(text, found.start(), false)
        } else {
            continue;
        };
        if !matches!(&text[part.clone()], "{}" | "map[]" | "") {
            edited.replace(part, &mark("headers"));
        }
    }
    edited.end()
}

fn header(text: &str) -> String {
    let text = replace_behind(text, &HEADER, "credentials", |found, rest| {
        let begin = rest.split(char::is_whitespace).next().unwrap_or_default();
        // The kubelet's configuration has a mapping of that name.
        let is_key = found[0].contains('\n') && begin.ends_with(':');
        found.name("line").is_some() || begin.len() < 4 || is_key
    });
    // A cookie is removed up to the end of its line.
    let mut edited = Edited::new(&text);
    for found in HEADER.captures_iter(&text) {
        if let Some(line) = found.name("line") {
            let end = line_end(&text, line.end());
            if text[line.end()..end].trim() != mark("cookie") {
                edited.replace(line.end()..end, &mark("cookie"));
            }
        }
    }
    edited.end()
}

fn pair(text: &str) -> String {
    replace_behind(&blocks(text, &PAIR), &PAIR, "secret", |_, rest| {
        STRUCTURE.is_match(rest)
    })
}

fn redact_keyed(text: &str) -> String {
    replace_behind(&blocks(text, &KEYED), &KEYED, "secret", |found, rest| {
        match found["separator"].trim() {
            // The kubelet names a volume in this form: `"token" : secret "a" not found`.
            ":" if found["separator"].starts_with(' ') => !QUOTED.is_match(rest),
            ":" => STRUCTURE.is_match(rest) && !NUMBERS.is_match(rest),
            // The flag and its value are items of an argument list.
            "," => found.name("flag").is_none() || !QUOTED.is_match(rest),
            // In a sentence, a short word after the name is likely to be an ordinary word.
            "" if found.name("flag").is_none() => {
                rest.bytes()
                    .take_while(|byte| !b" \t\n,;&[]{}".contains(byte))
                    .count()
                    < 4
            }
            _ => false,
        }
    })
}

/// Redacts values on the lines below their key, as in YAML.
fn blocks(text: &str, rule: &Regex) -> String {
    let mut edited = Edited::new(text);
    for found in rule
        .find_iter(text)
        .filter(|found| found.as_str().trim_end().ends_with(':'))
    {
        let (key, at) = (found.start(), found.end());
        let line = line_end(text, at);
        let below = line..block_end(text, at.saturating_sub(1), false);
        let is_block = BLOCK.is_match(&text[at..]);
        let is_value = text[at..line].trim().is_empty()
            && text
                .get(line + 1..)
                .is_some_and(|below| !FIELDS.is_match(first_line(below)));
        if (is_block || is_value) && !below.is_empty() && key >= edited.from {
            let lines = &text[line + 1..below.end];
            if lines.trim() != mark("secret") {
                let by = format!("\n{}{}", " ".repeat(indent(lines)), mark("secret"));
                edited.replace(below, &by);
            }
        }
    }
    edited.end()
}

fn first_line(text: &str) -> &str {
    text.split('\n').next().unwrap_or_default()
}

fn redact_weak(text: &str) -> String {
    replace_behind(text, &WEAK, "secret", |_, rest| {
        // `PWD` is also a working directory, so a path stays.
        rest.starts_with('/') || rest.starts_with(char::is_whitespace)
    })
}

fn command(text: &str) -> String {
    replace_behind(text, &COMMAND, "secret", |_, rest| {
        rest.starts_with(char::is_whitespace)
    })
}

/// Redacts passwords of URLs, and tokens in place of a user.
fn urls(text: &str) -> String {
    let mut edited = Edited::new(text);
    for found in URL.captures_iter(text) {
        let all = found.get(0).expect("a match has a whole");
        let run = &text[all.end()..all.end() + run_length(&text[all.end()..])];
        if let Some((keep, end)) = userinfo(&found["scheme"], run) {
            let (begin, end) = (all.end() + keep, all.end() + end);
            if !is_plain(&text[begin..end]) {
                edited.replace(begin..end, &mark("password"));
            }
        }
    }
    edited.end()
}

/// The length up to white space, a closing quote, or the next URL.
fn run_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let closes = |at: usize| match bytes[at] {
        b'"' | b'\'' | b'`' => bytes
            .get(at + 1)
            .is_none_or(|next| next.is_ascii_whitespace() || b",;:}])>".contains(next)),
        b'\\' => bytes.get(at + 1) == Some(&b'"'),
        _ => false,
    };
    let end = (0..bytes.len()).find(|at| bytes[*at].is_ascii_whitespace() || closes(*at));
    let end = end.unwrap_or(bytes.len());
    let next = URL.find(&text[..end]).map_or(end, |next| next.start());
    // A redaction mark contains blanks.
    match text[..next].rfind("[redacted") {
        Some(mark) if next == end && text[mark..next].len() == "[redacted".len() => {
            let behind = text[next..].find(']').map_or(0, |close| close + 1);
            next + behind + run_length(&text[next + behind..])
        }
        _ => next,
    }
}

/// The secret part of a URL's authority: its start, and the place of the `@`.
fn userinfo(scheme: &str, run: &str) -> Option<(usize, usize)> {
    let authority = run.find(['/', '?', '#']).unwrap_or(run.len());
    let colon = run[..authority].find(':');
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let web = matches!(scheme, "http" | "https" | "oci" | "docker");
    // A password may contain characters that usually end an authority.
    let beyond = !web || colon.is_some_and(|colon| !is_port(&run[colon + 1..authority]));
    let in_reach = |at: &usize| *at < authority || (beyond && colon.is_some());
    let mut ats = run.match_indices('@').map(|(at, _)| at).filter(in_reach);
    let at = ats.rfind(|at| HOST.is_match(&run[at + 1..]))?;
    let user = run[..at].find(':');
    match user {
        // A longer user name is a token.
        Some(user) if user < 20 => Some((user + 1, at)),
        // With ssh this is only a user name; the login is by a key.
        None if scheme.ends_with("ssh") || &run[..at] == "git" => None,
        _ => Some((0, at)),
    }
}
