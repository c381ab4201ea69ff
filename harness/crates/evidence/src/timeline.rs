//! Lines of logs, events and steps on one time axis.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use super::{
    notes::Step,
    page::{Entry, Lane, Level},
    part::place,
};
use kubenest_diagnosis as diagnosis;
use kubenest_diagnosis::Evidence;

/// How many entries a page can show quickly; if there are more, the last ones are kept.
const MOST: usize = 50_000;

static KLOG: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?:^|[\] ])([IWEF])[0-9]{4} [0-9:.]{8,15} ").expect("must compile")
});
static LOGFMT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"\blevel="?([a-z]+)"#).expect("must compile"));

/// Parses the time of any log of a node, in microseconds since 1970.
pub(super) fn at_us(time: &str) -> Option<i64> {
    time.parse::<Timestamp>()
        .ok()
        .map(Timestamp::as_microsecond)
}

/// The time at the beginning of a line.
pub(super) fn stamp(line: &str) -> Option<i64> {
    at_us(line.split(' ').next()?)
}

/// Adds the lines of a log; a line without a time belongs to the one before it.
pub(super) fn add_log(source: Lane, node: &str, text: &str, into: &mut Vec<Entry>) {
    let words = match source {
        Lane::Containerd => diagnosis::Speaker::Runtime,
        Lane::Kubelet => diagnosis::Speaker::Kubelet,
        Lane::Pod => diagnosis::Speaker::Pod,
        _ => diagnosis::Speaker::System,
    };
    let begin = into.len();
    for (line, evidence) in text.lines().zip(Evidence::lines(words, text)) {
        match stamp(line) {
            Some(at_us) => into.push(Entry {
                at_us,
                source,
                node: node.to_owned(),
                level: level(line),
                text: evidence.text,
            }),
            None if line.trim().is_empty() => {}
            None => {
                if let Some(last) = into[begin..].last_mut() {
                    last.text.push('\n');
                    last.text.push_str(line.trim_end());
                }
            }
        }
    }
}

/// The level that a line states.
fn level(line: &str) -> Level {
    let said = KLOG.captures(line).or_else(|| LOGFMT.captures(line));
    match said.as_ref().map(|found| &found[1]) {
        Some("E" | "F" | "error" | "fatal" | "panic") => Level::Error,
        Some("W" | "warning" | "warn") => Level::Warning,
        Some(_) => Level::Info,
        None if line.contains("Failed") || line.contains("/FAILURE") => Level::Error,
        None if line.contains("Killed") || line.contains("rror") => Level::Warning,
        None => Level::Info,
    }
}

/// Adds a list of Kubernetes events of the cluster at this path, which is empty for the bundle's own.
pub(super) fn add_events(list: &Value, layer: &str, into: &mut Vec<Entry>) {
    for event in list["items"].as_array().into_iter().flatten() {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str);
        let times = [
            "/lastTimestamp",
            "/series/lastObservedTime",
            "/eventTime",
            "/metadata/creationTimestamp",
        ];
        let Some(at_us) = times.into_iter().find_map(|at| at_us(text(at)?)) else {
            continue;
        };
        let object = [
            "/involvedObject/kind",
            "/involvedObject/namespace",
            "/involvedObject/name",
        ];
        let object: Vec<&str> = object.into_iter().filter_map(text).collect();
        let level = match text("/type") {
            Some("Normal") | None => Level::Info,
            Some(_) => Level::Warning,
        };
        let times = event["count"].as_u64().filter(|count| *count > 1);
        let times = times
            .map(|count| format!(" ({count} times)"))
            .unwrap_or_default();
        into.push(Entry {
            at_us,
            source: Lane::Event,
            node: place(layer, text("/source/host").unwrap_or_default()),
            level,
            text: format!(
                "{} {}: {}{times}",
                object.join("/"),
                text("/reason").unwrap_or_default(),
                text("/message").unwrap_or_default()
            ),
        });
    }
}

/// Adds the steps of boot and test.
pub(super) fn add_steps(steps: &[Step], into: &mut Vec<Entry>) {
    into.extend(steps.iter().map(|step| Entry {
        at_us: step.at_us,
        source: if step.boot { Lane::Boot } else { Lane::Step },
        node: String::new(),
        level: if step.failed {
            Level::Error
        } else {
            Level::Info
        },
        text: step.text.clone(),
    }));
}

/// The entries in order of time, from `since` on, at most as many as can be shown.
pub(super) fn sorted_since(mut entries: Vec<Entry>, since: Option<i64>) -> Vec<Entry> {
    let since = since.unwrap_or(i64::MIN);
    // The steps of a boot stay, because the boot belongs to every test of its cluster.
    entries.retain(|entry| entry.at_us >= since || entry.source == Lane::Boot);
    entries.sort_by_key(|entry| entry.at_us);
    entries.split_off(entries.len().saturating_sub(MOST))
}

/// A log from its first line whose time is not before `since`.
pub(super) fn cut_before(text: &str, since: i64) -> String {
    let before = |line: &&str| stamp(line).is_none_or(|at| at < since);
    text.split_inclusive('\n').skip_while(before).collect()
}

/// Joins the lines of a pod's log that the runtime split for their length: a secret must not be cut
/// in two before it is looked for.
pub(super) fn rejoin(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    // The stream of a line that continues in the next line of that stream.
    let mut open: Option<&str> = None;
    for line in text.lines() {
        let mut fields = line.splitn(4, ' ');
        let (_, stream, tag, words) = (fields.next(), fields.next(), fields.next(), fields.next());
        let part = stream.filter(|stream| matches!(*stream, "stdout" | "stderr"));
        match (part, open) {
            (Some(stream), Some(before)) if stream == before => {
                joined.push_str(words.unwrap_or_default());
            }
            _ => {
                if !joined.is_empty() {
                    joined.push('\n');
                }
                joined.push_str(&line.replacen(" P ", " F ", usize::from(tag == Some("P"))));
            }
        }
        open = part.filter(|_| tag == Some("P"));
    }
    if !joined.is_empty() {
        joined.push('\n');
    }
    joined
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_of_every_log_are_read() {
        let at = Some(1_795_255_829_123_456);
        for time in [
            "2026-11-21T10:10:29.123456+0000",
            "2026-11-21T10:10:29,123456+00:00",
            "2026-11-21T10:10:29.123456789Z",
            "2026-11-21T12:10:29.123456+0200",
        ] {
            assert_eq!(at_us(time), at, "{time}");
        }
        assert_eq!(at_us("Nov 21"), None);
    }

    #[test]
    fn a_journal_becomes_entries_with_levels_and_what_is_below_a_line_stays_there() {
        let text = "2026-11-21T10:10:29.1+0000 n kubelet[7]: E1121 10:10:29.123456 7 a.go:1] \"No\" err=\"x\"\n\
            \x20   goroutine 1\n\
            2026-11-21T10:10:30.1+0000 n containerd[7]: time=\"2026-11-21T10:10:30Z\" level=warning msg=hm\n\
            2026-11-21T10:10:31.1+0000 n systemd[1]: kubelet.service: Failed with result 'exit-code'.\n\
            2026-11-21T10:10:32.1+0000 n systemd[1]: Started.\n";
        let mut entries = Vec::new();
        add_log(Lane::Kubelet, "n", text, &mut entries);
        let told: Vec<_> = entries.iter().map(|e| (e.level, e.text.as_str())).collect();
        assert_eq!(
            told,
            [
                (Level::Error, "\"No\" err=\"x\"\n    goroutine 1"),
                (Level::Warning, "hm"),
                (
                    Level::Error,
                    "kubelet.service: Failed with result 'exit-code'."
                ),
                (Level::Info, "Started."),
            ]
        );
    }

    #[test]
    fn events_say_what_befell_whom() {
        let list = json!({"items": [{"type": "Warning", "reason": "Failed", "message": "no image",
            "count": 3, "involvedObject": {"kind": "Pod", "namespace": "a", "name": "b"},
            "lastTimestamp": "2026-11-21T10:10:29Z"}, {"message": "no time"}]});
        let mut entries = Vec::new();
        add_events(&list, "", &mut entries);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].text, "Pod/a/b Failed: no image (3 times)");
        assert_eq!(entries[0].level, Level::Warning);
    }

    #[test]
    fn a_log_is_cut_to_a_tests_time() {
        let before = "x\n2026-11-21T10:10:29Z a\n b\n";
        // The clock may have been set back meanwhile.
        let within = "2026-11-21T10:10:31Z c\n d\n2026-11-21T10:10:20Z e\n";
        let begin = at_us("2026-11-21T10:10:30Z").unwrap();
        assert_eq!(cut_before(&[before, within].concat(), begin), within);
    }

    #[test]
    fn a_line_that_the_runtime_took_apart_is_whole_again() {
        let text = "t1 stdout P eyJhbG\nt2 stdout P ciOi\nt3 stdout F JSUz P x\nt4 stderr F b\n";
        assert_eq!(
            rejoin(text),
            "t1 stdout F eyJhbGciOiJSUz P x\nt4 stderr F b\n"
        );
        assert_eq!(rejoin("a\nb"), "a\nb\n");
    }
}
