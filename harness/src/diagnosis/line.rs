//! One line of a log: what its headers say of time, node and program, and its message.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{
    Evidence, Source,
    clean::{clean, compiled, unquoted},
    events,
};

/// Time stamps: journalctl's short, short-precise, short-iso; CRI, CI and other programs' ISO.
const SHORT: &str = r"[A-Z][a-z]{2} [ 0-3][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?";
const ISO: &str = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})";

/// A container's output as the kubelet keeps it.
static CONTAINER: LazyLock<Regex> =
    LazyLock::new(|| compiled(&format!("^(?<time>{ISO}) (?:stdout|stderr) [FP] ")));
static JOURNAL: LazyLock<Regex> = LazyLock::new(|| {
    compiled(&format!(
        r"^(?<time>{SHORT}|{ISO}) (?<node>[^ :]+) (?<program>[^ :\[\]]+)(?:\[[0-9]+\])?: "
    ))
});
static STAMP: LazyLock<Regex> = LazyLock::new(|| compiled(&format!("^(?<time>{ISO}) ")));
static KLOG: LazyLock<Regex> = LazyLock::new(|| {
    compiled(r"^[IWEF](?<time>[0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]+) +[0-9]+ [^ \]]+\] ")
});
/// A field of logfmt: its key, and its value in quotes or without.
static FIELD: LazyLock<Regex> =
    LazyLock::new(|| compiled(r#"^ *([^ ="]+)=(?:"((?:[^"\\]|\\.)*)"|([^ "][^ ]*|))(?: |$)"#));
/// Lines that quote what a container said, or what its author wrote.
static QUOTES: LazyLock<Regex> = LazyLock::new(|| {
    compiled(concat!(
        r#"^"(?:Probe failed|Probe succeeded|Probe errored|Exec lifecycle hook)|"#,
        r#"^"Event occurred".* reason="(?:Unhealthy|FailedP[a-z]+Hook)"|"#,
        r#"^"Unhandled Error" err="(?:init )?container &Container\{|"#,
        r#"unable to start container process: exec: ""#,
    ))
});

/// The lines of a text, one after the other.
pub(super) struct Lines {
    /// Whose they are, unless they say otherwise.
    hint: Source,
    /// Within the part of `kubectl describe` that quotes what a pod's author wrote.
    quoting: bool,
}

impl Lines {
    pub(super) fn new(hint: Source) -> Self {
        Self {
            hint,
            quoting: false,
        }
    }

    pub(super) fn next(&mut self, line: &str) -> Evidence {
        let indented = line.starts_with(' ');
        self.quoting = if indented {
            self.quoting
        } else {
            line.trim_end().ends_with("Containers:")
        };
        let mut evidence = parse(line, self.hint);
        if self.quoting {
            evidence.source = Source::Pod;
        }
        evidence
    }
}

/// Reads a line. It is `hint`'s, unless its header says whose it is.
fn parse(line: &str, hint: Source) -> Evidence {
    let plain = clean(line.trim_end());
    let mut rest = plain.trim_end();
    let mut evidence = Evidence {
        source: hint,
        node: None,
        time: None,
        place: None,
        text: String::new(),
    };
    if let Some(found) = CONTAINER.captures(rest) {
        evidence.source = Source::Pod;
        rest = behind(&found, rest, &mut evidence);
    } else if let Some(found) = JOURNAL.captures(rest) {
        evidence.source = of_program(&found["program"]);
        rest = behind(&found, rest, &mut evidence);
    } else if let Some(found) = STAMP.captures(rest) {
        rest = behind(&found, rest, &mut evidence);
    }
    if matches!(evidence.source, Source::Event | Source::Unknown)
        && let Some((reason, message)) = events::row(rest)
    {
        evidence.source = events::source(reason);
        rest = message;
    }
    if let Some(found) = KLOG.captures(rest) {
        rest = behind(&found, rest, &mut evidence);
    }
    if rest.starts_with("time=") {
        logfmt(rest, &mut evidence);
    } else {
        evidence.text = unquoted(rest).into_owned();
    }
    if quotes_a_container(&evidence.text) {
        evidence.source = Source::Pod;
    }
    evidence
}

pub(super) fn quotes_a_container(text: &str) -> bool {
    QUOTES.is_match(text)
}

/// What follows a header, whose time and node are noted; the outermost counts.
fn behind<'a>(header: &Captures<'a>, line: &'a str, evidence: &mut Evidence) -> &'a str {
    let named = |name| Some(header.name(name)?.as_str().to_owned());
    evidence.time = evidence.time.take().or_else(|| named("time"));
    evidence.node = evidence.node.take().or_else(|| named("node"));
    &line[header[0].len()..]
}

fn of_program(program: &str) -> Source {
    match program {
        "containerd" | "crio" => Source::Runtime,
        "kubelet" => Source::Kubelet,
        _ => Source::System,
    }
}

/// The message first, then the other fields.
fn logfmt(line: &str, evidence: &mut Evidence) {
    let mut rest = line;
    let mut words = Vec::new();
    while let Some(found) = FIELD.captures(rest) {
        rest = &rest[found[0].len()..];
        let value = found
            .get(2)
            .or(found.get(3))
            .map_or("", |value| value.as_str());
        match &found[1] {
            "time" => {
                evidence.time.get_or_insert_with(|| value.to_owned());
            }
            "level" => {}
            "msg" => words.insert(0, unquoted(value).into_owned()),
            key => words.push(format!("{key}={}", unquoted(value))),
        }
    }
    // A line that was cut off in the middle of a value.
    if !rest.trim().is_empty() {
        words.push(unquoted(rest.trim()).into_owned());
    }
    evidence.text = words.join(" ");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> String {
        let Evidence {
            source,
            node,
            time,
            text,
            ..
        } = parse(line, Source::Unknown);
        let (node, time) = (node.unwrap_or_default(), time.unwrap_or_default());
        format!("{source:?}|{node}|{time}|{text}")
    }

    #[test]
    fn journals_of_every_form_name_time_node_and_program() {
        for (time, line) in [
            (
                "Nov  1 10:10:29",
                "Nov  1 10:10:29 n1 kubelet[77]: E1101 10:10:29.1 77 a.go:3] \"A\"",
            ),
            (
                "Nov 21 10:10:29.123456",
                "Nov 21 10:10:29.123456 n1 kubelet[77]: \"A\"",
            ),
            (
                "2026-11-21T10:10:29+0000",
                "2026-11-21T10:10:29+0000 n1 kubelet[77]: \"A\"",
            ),
            (
                "2026-11-21T10:10:29.5+00:00",
                "2026-11-21T10:10:29.5+00:00 n1 kubelet: \"A\"",
            ),
        ] {
            assert_eq!(told(line), format!("Kubelet|n1|{time}|\"A\""));
        }
        assert_eq!(
            told("Nov 21 10:10:29 n1 systemd[1]: Started kubelet."),
            "System|n1|Nov 21 10:10:29|Started kubelet."
        );
    }

    #[test]
    fn logfmt_is_unquoted_and_led_by_its_message() {
        let line = r#"Nov 21 10:10:29 n1 containerd[9]: time="2026-11-21T10:10:29Z" level=error msg="Run \"a\" failed" error="mkdir \"\": no" id=7"#;
        assert_eq!(
            told(line),
            r#"Runtime|n1|Nov 21 10:10:29|Run "a" failed error=mkdir "": no id=7"#
        );
        let cut = r#"time="2026-11-21T10:10:29Z" level=error msg="Run \"a\" fai"#;
        assert_eq!(
            told(cut),
            r#"Unknown||2026-11-21T10:10:29Z|msg="Run "a" fai"#
        );
    }

    #[test]
    fn a_containers_output_is_the_pods_even_if_it_looks_like_a_log() {
        let line = "2026-11-21T10:10:29.1Z stderr F E1121 10:10:29.1 1 a.go:3] \"A\"";
        assert_eq!(told(line), "Pod||2026-11-21T10:10:29.1Z|\"A\"");
        let probe = r#"Nov 21 10:10:29 n1 kubelet[7]: I1121 10:10:29.1 7 prober.go:107] "Probe failed" output="x""#;
        assert!(told(probe).starts_with("Pod|n1|"));
    }

    #[test]
    fn stamps_of_ci_are_no_journal() {
        assert_eq!(
            told("2025-01-23T10:11:12.1234567Z ERROR: failed: a: b"),
            "Unknown||2025-01-23T10:11:12.1234567Z|ERROR: failed: a: b"
        );
    }

    #[test]
    fn any_bytes_are_read() {
        for line in [
            "",
            "time=",
            "time=\"",
            "a=\"\\",
            "\u{0}\u{1b}[",
            "é\u{301} \\",
            "time=a b=\"\"",
        ] {
            parse(line, Source::Runtime);
        }
    }
}
