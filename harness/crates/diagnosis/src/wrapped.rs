//! A log shows the same cause, or none, in every format in which people pass logs on.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use super::{
    Evidence, Speaker, causes::causes, diagnose, read_stream, recognise::may_matter,
    speaker::speaker_of,
};

/// A format: its name, and how it writes a line, given the line's number.
type Form = (&'static str, fn(usize, &str) -> String);

/// Formats that wrap any line.
const WRAPPERS: [Form; 19] = [
    ("GitHub's", |at, line| {
        format!("2025-12-10T09:31:05.{at:07}Z {line}")
    }),
    ("gh run view", |at, line| {
        format!("e2e\tLoad image\t2025-12-10T09:31:05.{at:07}Z {line}")
    }),
    ("GitLab's", |at, line| {
        format!("2024-05-22T12:43:46.{at:06}Z 01E {line}")
    }),
    ("Jenkins'", |at, line| {
        format!("[2026-11-29T10:10:29.{at:03}Z] {line}")
    }),
    ("Jenkins' clock", |_, line| format!("10:10:29  {line}")),
    ("Buildkite's", |at, line| {
        format!("\u{1b}_bk;t=174532220{at:04}\u{7}{line}")
    }),
    ("TeamCity's", |_, line| {
        format!("[10:10:29] : [Step 1/2] {line}")
    }),
    ("BuildKit's", |at, line| format!("#12 0.{at:03} {line}")),
    ("docker logs -t", |at, line| {
        format!("2026-11-29T10:10:29.{at:09}Z {line}")
    }),
    ("kubectl logs --timestamps", |at, line| {
        format!("2026-11-29T10:10:29.{at:09}+01:00 {line}")
    }),
    ("compose", |_, line| {
        format!("kind-control-plane-1  | {line}")
    }),
    ("compose in colour", |_, line| {
        format!("\u{1b}[36mkind-1  | \u{1b}[0m{line}")
    }),
    ("ts", |_, line| format!("Nov 29 10:10:29 {line}")),
    ("json-file", |_, line| {
        serde_json::json!({"log": format!("{line}\n"), "stream": "stderr", "time": "2026-11-29T10:10:29Z"}).to_string()
    }),
    ("an indented journal", |_, line| {
        journal(line, |_| format!("  {line}"))
    }),
    ("CRLF", |_, line| format!("{line}\r")),
    ("colour", |_, line| format!("\u{1b}[31m{line}\u{1b}[0m")),
    ("syslog to a runner", |_, line| format!("<13>{line}")),
    ("a mark of the order", |_, line| format!("\u{feff}{line}")),
];

/// Formats of container output: they can only show causes that pods can show.
const POD_FORMATS: [Form; 4] = [
    ("CRI", |at, line| {
        format!("2026-11-29T10:10:29.{at:09}Z stderr F {line}")
    }),
    ("kubectl logs --prefix", |_, line| {
        format!("[pod/app-5d78c9869d-bx7kf/app] {line}")
    }),
    ("stern", |_, line| {
        format!("app-5d78c9869d-bx7kf app {line}")
    }),
    ("a collector", |_, line| {
        serde_json::json!({"log": line, "stream": "stderr", "kubernetes": {"pod_name": "app"}})
            .to_string()
    }),
];

/// Formats of the journal, converted from its short format; other lines stay as they are.
const JOURNALS: [Form; 10] = [
    ("short-iso", |_, line| {
        journal(line, |e| format!("2026-11-21T10:10:29+0000 {}", e.tail()))
    }),
    ("short-iso-precise", |_, line| {
        journal(line, |e| {
            format!("2026-11-21T10:10:29.123456+00:00 {}", e.tail())
        })
    }),
    ("short-precise", |_, line| {
        journal(line, |e| format!("Nov 21 10:10:29.123456 {}", e.tail()))
    }),
    ("short-full", |_, line| {
        journal(line, |e| {
            format!("Sat 2026-11-21 10:10:29 UTC {}", e.tail())
        })
    }),
    ("short-unix", |_, line| {
        journal(line, |e| format!("1763719829.123456 {}", e.tail()))
    }),
    ("short-monotonic", |_, line| {
        journal(line, |e| format!("[  829.123456] {}", e.tail()))
    }),
    ("with-unit", |_, line| {
        journal(line, |e| {
            format!(
                "Sat 2026-11-21 10:10:29 UTC {} {}.service[7]: {}",
                e.node, e.program, e.message
            )
        })
    }),
    ("json", |at, line| {
        journal(line, |e| {
            serde_json::json!({
                "__REALTIME_TIMESTAMP": format!("176371982912{at:04}"), "_HOSTNAME": e.node,
                "SYSLOG_IDENTIFIER": e.program, "MESSAGE": e.message
            })
            .to_string()
        })
    }),
    ("export", |at, line| {
        journal(line, |e| {
            format!(
                "__CURSOR=s={at}\n__REALTIME_TIMESTAMP=176371982912{at:04}\nMESSAGE={}\n_HOSTNAME={}\nSYSLOG_IDENTIFIER={}\n",
                e.message, e.node, e.program
            )
        })
    }),
    ("RFC 5424", |_, line| {
        journal(line, |e| {
            format!(
                "<30>1 2026-11-21T10:10:29.003Z {} {} 7 - - {}",
                e.node, e.program, e.message
            )
        })
    }),
];

struct Entry<'a> {
    node: &'a str,
    program: &'a str,
    message: &'a str,
}

impl Entry<'_> {
    fn tail(&self) -> String {
        format!("{} {}[7]: {}", self.node, self.program, self.message)
    }
}

/// Converts a line of journalctl's short format; returns other lines unchanged.
fn journal(line: &str, write: impl Fn(&Entry) -> String) -> String {
    let entry = || {
        let parts = line.split_once(": ")?;
        let words: Vec<_> = parts.0.split_whitespace().collect();
        let [month, _, time, node, program] = words[..] else {
            return None;
        };
        let program = program.strip_suffix(']')?.split_once('[')?.0;
        (month.len() == 3 && time.len() == 8).then_some(Entry {
            node,
            program,
            message: parts.1,
        })
    };
    entry().map_or(line.to_owned(), |entry| write(&entry))
}

/// A log of the fixtures or reports, without the line that names its origin.
struct Log {
    path: PathBuf,
    lines: Vec<String>,
}

impl Log {
    fn write_as(&self, form: Form) -> String {
        let lines = self.lines.iter().enumerate();
        lines.map(|(at, line)| form.1(at, line) + "\n").collect()
    }

    /// The first cause that the log shows in this format.
    fn first_cause(&self, bytes: &[u8]) -> Option<&'static str> {
        let source = speaker_of(Path::new(self.path.file_name().expect("must be a file")));
        let reading = read_stream("-", source, bytes).expect("must read");
        Some(diagnose(&reading.evidence).first()?.id)
    }

    fn plain(&self) -> String {
        self.write_as(("", |_, line| line.to_owned()))
    }
}

fn logs_below(folder: &Path) -> Vec<Log> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder).expect("must list") {
        let path = entry.expect("must list").path();
        if path.is_dir() {
            logs.extend(logs_below(&path));
            continue;
        }
        let text = fs::read_to_string(&path).expect("must read");
        // Journal entries without any sign are dropped to save time; they change nothing.
        let idle = |line: &&str| {
            let entry = !line.is_empty() && journal(line, |_| String::new()).is_empty();
            entry && !may_matter(&Evidence::lines(Speaker::Unknown, line)[0])
        };
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("# ") && !idle(line));
        let lines = lines.map(str::to_owned).collect();
        logs.push(Log { path, lines });
    }
    logs.sort_by(|a, b| a.path.cmp(&b.path));
    logs
}

fn logs() -> Vec<Log> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    ["fixtures", "reports"]
        .iter()
        .flat_map(|part| logs_below(&root.join(part)))
        .collect()
}

/// Whether pods can show a cause.
fn can_be_shown_by_pods(id: &str) -> bool {
    let cause = causes()
        .find(|cause| cause.id == id)
        .expect("must be known");
    cause
        .signs
        .iter()
        .any(|sign| sign.sources.contains(&Speaker::Pod))
}

/// A pseudo-random number that is the same in every run.
fn pseudo_random(seed: usize) -> usize {
    let mixed = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    usize::try_from(mixed >> 33).expect("must fit")
}

#[test]
fn a_log_shows_the_same_in_every_format() {
    let forms: Vec<Form> = WRAPPERS.into_iter().chain(JOURNALS).collect();
    let mut wrong = Vec::new();
    for (at, log) in logs().iter().enumerate() {
        let expected = log.first_cause(log.plain().as_bytes());
        let mut check = |name: &str, text: &str| {
            let found = log.first_cause(text.as_bytes());
            if found != expected {
                let log = log.path.display();
                wrong.push(format!("{log} {name}: {found:?}, not {expected:?}"));
            }
        };
        // Logs that show nothing are many, so each is tested in only two formats.
        let few = if expected.is_some() { forms.len() } else { 2 };
        for turn in 0..few {
            let form = forms[(at * few + turn) % forms.len()];
            check(form.0, &log.write_as(form));
        }
        // Two formats nested, a different pair for each log.
        for turn in 0..2 {
            let chosen = pseudo_random(at * 2 + turn);
            let (inner, outer) = (
                chosen % WRAPPERS.len(),
                chosen / WRAPPERS.len() % WRAPPERS.len(),
            );
            let (inner, outer) = (WRAPPERS[inner], WRAPPERS[outer]);
            let once = log.write_as(inner);
            let lines = once.lines().enumerate();
            let twice: String = lines.map(|(at, line)| outer.1(at, line) + "\n").collect();
            check(&format!("{} in {}", inner.0, outer.0), &twice);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn output_of_pods_shows_only_causes_that_pods_can_show() {
    for log in logs() {
        let expected = log.first_cause(log.plain().as_bytes());
        for form in POD_FORMATS {
            let found = log.first_cause(log.write_as(form).as_bytes());
            let right = match found {
                Some(id) => can_be_shown_by_pods(id),
                None => expected != Some("coredns-loop"),
            };
            assert!(
                right,
                "{} {}: {found:?}, not {expected:?}",
                log.path.display(),
                form.0
            );
        }
    }
}

#[test]
fn a_log_shows_the_same_in_every_encoding() {
    for log in logs() {
        let plain = log.plain();
        let expected = log.first_cause(plain.as_bytes());
        let units = plain.encode_utf16();
        let utf16: Vec<u8> = std::iter::once(0xfeff)
            .chain(units)
            .flat_map(u16::to_le_bytes)
            .collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(plain.as_bytes()).expect("must compress");
        let gzip = gzip.finish().expect("must compress");
        for bytes in [&utf16, &gzip] {
            assert_eq!(log.first_cause(bytes), expected, "{}", log.path.display());
        }
    }
}

/// k3s runs kubelet and runtime in one process with one journal.
#[test]
fn messages_of_k3s_count_as_those_of_kubelet_and_runtime() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fixtures");
    for id in [
        "image-collected",
        "cri-plugin-missing",
        "shim-newer-than-daemon",
        "kubelet-image-gc-thresholds",
    ] {
        for mut log in logs_below(&root.join(id)) {
            let expected = log.first_cause(log.plain().as_bytes());
            for line in &mut log.lines {
                *line = line
                    .replace(" kubelet[", " k3s[")
                    .replace(" containerd[", " k3s[");
            }
            assert_eq!(
                log.first_cause(log.plain().as_bytes()),
                expected,
                "{}",
                log.path.display()
            );
        }
    }
}
