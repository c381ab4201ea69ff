//! Arbitrary values are planted in every form and source; no written file may contain them.

use std::fmt::Write;

use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
use proptest::{collection::vec, prelude::*, test_runner::Config};
use serde_json::json;

use super::*;

/// A value of printable characters, some of them outside ASCII.
pub(crate) fn secret() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        8 => (b'!'..=b'~').prop_map(char::from),
        2 => Just(' '),
        1 => prop::sample::select(vec!['ü', 'ß', '語', '😀']),
    ];
    vec(letter, 10..40)
        .prop_map(|letters| letters.into_iter().collect::<String>())
        .prop_filter(
            "what is stored of it",
            // Blanks around a value are not a part of it, and some values look like a redaction
            // mark.
            |value| value.trim() == value && !value.starts_with("-----") && !value.contains("  "),
        )
}

fn percent(value: &str, all: bool) -> String {
    let plain = |byte: u8| !all && (byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    value.bytes().fold(String::new(), |mut text, byte| {
        match plain(byte) {
            true => text.push(char::from(byte)),
            false => write!(text, "%{byte:02X}").unwrap(),
        }
        text
    })
}

/// JSON as written for browsers: characters outside ASCII are escaped, too.
fn escaped(value: &str) -> String {
    json!(value)
        .to_string()
        .chars()
        .fold(String::new(), |mut text, c| {
            match c {
                '<' | '>' | '&' => write!(text, "\\u{:04x}", u32::from(c)).unwrap(),
                c if !c.is_ascii() => {
                    c.encode_utf16(&mut [0; 2])
                        .iter()
                        .for_each(|unit| write!(text, "\\u{unit:04x}").unwrap());
                }
                c => text.push(c),
            }
            text
        })
}

/// Lines that programs write about a value.
pub(crate) fn forms(value: &str) -> Vec<String> {
    let quoted = json!(value).to_string();
    let single = value.replace('\'', "''");
    let shell = value.replace('\'', r"'\''");
    let slashed: String = value.chars().fold(String::new(), |mut text, c| {
        if !c.is_alphanumeric() {
            text.push('\\');
        }
        text.push(c);
        text
    });
    let folded = value.replace(' ', "\n        ");
    let entities = value
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let hex = value
        .bytes()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    let list = value
        .bytes()
        .map(|byte| byte.to_string())
        .collect::<Vec<_>>();
    let go_bytes = value
        .bytes()
        .map(|byte| format!("0x{byte:x}"))
        .collect::<Vec<_>>();
    let argv = json!(["serve", "--key", value, "--verbose"]).to_string();
    let log = format!("connect with {quoted} failed");
    let mut all = vec![
        format!("MODE={value}"),
        format!("env:[PATH=/bin MODE={value} HOME=/]"),
        format!("  mode: {quoted}"),
        format!("  mode: '{single}'"),
        format!("  mode: {folded}\n"),
        format!("{{\"mode\":{quoted},\"other\":1}}"),
        format!("{{\"mode\":{}}}", escaped(value)),
        argv.clone(),
        json!(argv).to_string(),
        json!(json!(argv).to_string()).to_string(),
        format!("exec '{shell}' --now"),
        format!("exec {slashed} --now"),
        format!("err={}", json!(log)),
        format!("err={}", escaped(&log)),
        format!("postgres://user:{}@host/db", percent(value, false)),
        format!("https://host/?q={}&r=1", percent(value, true)),
        format!(
            "https://host/?q={}&r=1",
            percent(value, false).replace("%20", "+")
        ),
        format!("<td>{entities}</td>"),
        format!("hex {hex} HEX {}", hex.to_uppercase()),
        format!("Data:map[string][]byte{{mode: [{}]}}", list.join(" ")),
        format!("[]byte{{{}}}", go_bytes.join(", ")),
        format!("I1129 10:00:00.1 1 server.go:7] \"Started\" config=\"&{{Mode:{value} Port:1}}\""),
    ];
    all.extend(encoded(value));
    all
}

/// A value in base64, alone and within a longer text.
fn encoded(value: &str) -> Vec<String> {
    let mut all = Vec::new();
    for around in ["", "a", "ab", "abc"] {
        let text = format!("{around}{value}{around}");
        for text in [
            text.clone(),
            json!({"auth": text}).to_string(),
            escaped(&text),
        ] {
            let whole = BASE64_STANDARD.encode(&text);
            let mut wrapped = String::new();
            whole.as_bytes().chunks(76).for_each(|line| {
                writeln!(wrapped, "    {}", str::from_utf8(line).unwrap()).unwrap()
            });
            all.extend([
                format!("x: {whole}"),
                format!("x: {}", BASE64_STANDARD_NO_PAD.encode(&text)),
                format!("x={}&y", BASE64_URL_SAFE.encode(&text)),
                format!("x: |\n{wrapped}"),
            ]);
        }
    }
    all
}

/// The texts that must not appear: the value itself, and any half of it.
pub(crate) fn traces(value: &str) -> Vec<String> {
    let letters: Vec<char> = value.chars().collect();
    let halves = letters.windows(letters.len() / 2 + 1);
    let mut all: Vec<String> = halves.map(|half| half.iter().collect()).collect();
    all.push(BASE64_STANDARD_NO_PAD.encode(value));
    all
}

/// A text as it is and without backslashes: a reader sees the same letters.
pub(crate) fn spellings(text: &str) -> Vec<String> {
    let unescaped = text.replace('\\', "");
    vec![text.to_owned(), unescaped]
}

/// A value that a shell, a URL or a variable takes without quotes.
fn word() -> impl Strategy<Value = String> {
    let inner = prop::sample::select((b'!'..=b'~').map(char::from).collect::<Vec<_>>());
    ("[A-Za-z0-9]", vec(inner, 1..24), "[A-Za-z0-9]").prop_map(|(first, inner, last)| {
        let inner: String = inner.into_iter().collect();
        format!("{first}{inner}{last}")
    })
}

/// Lines in which a name marks a value as secret, each with the text that must remain behind it.
fn named(value: &str) -> Vec<(String, &'static str)> {
    let quoted = json!(value).to_string();
    let of = |text: String, end| (text, end);
    let mut all = vec![
        of(format!("DB_PASSWORD={value} x"), " x"),
        of(format!("MYSQL_PWD={value} x"), " x"),
        of(format!("env:[A=1 API_KEY={value} B=2]"), " B=2]"),
        of(format!("requirepass {value}\nx"), "\nx"),
        of(format!("--db-password={value} x"), " x"),
        of(format!("--db-password {value} x"), " x"),
        of(format!("sshpass -p {value} ssh x"), " ssh x"),
        of(format!("  password: {quoted}\n  x: 1"), "\n  x: 1"),
        of(
            format!("  password: '{}'\n  x: 1", value.replace('\'', "''")),
            "\n  x: 1",
        ),
        of(format!("  password: |\n    {value}\n  x: 1"), "\n  x: 1"),
        of(
            format!("  password: >-\n    a\n    {value}\n  x: 1"),
            "\n  x: 1",
        ),
        of(
            format!("- name: DB_PASSWORD\n  value: {quoted}\n- name: x"),
            "\n- name: x",
        ),
        of(
            format!("kind: Secret\nstringData:\n  a: {quoted}\ntype: Opaque"),
            "\ntype: Opaque",
        ),
        of(
            format!("staticPodURLHeader:\n  A:\n  - {quoted}\nport: 1"),
            "\nport: 1",
        ),
        of(
            format!("{{StaticPodURLHeader:map[A:[{value}]] Address:x}}"),
            " Address:x}",
        ),
        of(
            format!("EnvVar{{Name:DB_TOKEN,Value:{value},ValueFrom:nil,}} x"),
            ",ValueFrom:nil,} x",
        ),
        of(
            format!("https://host/?a=1&token={}&b=2", percent(value, false)),
            "&b=2",
        ),
        of(
            format!("postgres://user:{}@host/db", percent(value, false)),
            "@host/db",
        ),
        of(
            format!(
                "postgres://user:{}@host/db",
                value.replace(['"', '\'', '`', '\\'], "@")
            ),
            "@host/db",
        ),
        of(
            format!("https://{}@host/x", percent(value, false)),
            "@host/x",
        ),
        of(format!("curl -u me:{value} http://x"), " http://x"),
        of(format!("Cookie: {value}\nx"), "\nx"),
    ];
    all.extend(documents(value));
    all
}

/// Documents, as they are and as a log quotes them.
fn documents(value: &str) -> Vec<(String, &'static str)> {
    let config = json!({"staticPodURLHeader": {"Authorization": [value]}, "port": 1}).to_string();
    let argv = json!(["serve", "--db-password", value, "--now"]).to_string();
    let joined = json!(["serve", format!("--db-password={value}"), "--now"]).to_string();
    let of = |text: String, end| (text, end);
    let mut all = Vec::new();
    for document in [
        json!({"password": value, "x": 1}).to_string(),
        json!([{"name": "DB_PASSWORD", "value": value}, {"x": 1}]).to_string(),
        json!({"kind": "Secret", "stringData": {"a": value}, "x": 1}).to_string(),
        config,
        argv,
        joined,
    ] {
        let log = json!(document).to_string();
        let deep = json!(format!("got {log}")).to_string();
        all.extend([
            of(document, ""),
            of(format!("msg={log} x"), " x"),
            of(format!("msg={deep} x"), " x"),
        ]);
    }
    all
}

proptest! {
    #![proptest_config(Config { cases: 6, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_known_value_is_found_in_every_form(value in secret()) {
        let secret = json!({"kind": "Secret", "data": {"mode": BASE64_STANDARD.encode(&value)}});
        let redactor = Redactor::default().hiding(&secrets_in([&secret]));
        let stamp = "\n2026-11-21T10:00:00.1+0000 n kubelet[1]: ";
        let stamped = forms(&value).into_iter().filter(|form| form.contains('\n'));
        let stamped: Vec<String> = stamped.map(|form| form.replace('\n', stamp)).collect();
        for form in forms(&value).into_iter().chain(stamped) {
            let text = format!("before {form}\nafter it");
            let shown = redactor.redact(&text);
            prop_assert!(shown.contains("[redacted "), "{text}\n{shown}");
            prop_assert!(shown.starts_with("before ") && shown.ends_with("after it"), "{shown}");
            for trace in traces(&value) {
                for spelling in spellings(&shown) {
                    prop_assert!(!spelling.contains(&trace), "{trace} of {text}\n{shown}");
                }
            }
        }
    }

    #[test]
    fn a_value_behind_a_name_goes_to_its_end(value in word()) {
        for (form, end) in named(&value) {
            let text = format!("before\n{form}");
            let shown = Redactor::default().redact(&text);
            prop_assert!(shown.contains("[redacted "), "{text}\n{shown}");
            prop_assert!(shown.starts_with("before\n") && shown.ends_with(end), "{text}\n{shown}");
            prop_assert_eq!(&Redactor::default().redact(&shown), &shown, "it changes again");
            for trace in traces(&value).into_iter().filter(|trace| trace.len() > 3) {
                prop_assert!(!shown.contains(&trace), "{trace} of {text}\n{shown}");
            }
        }
    }
}
