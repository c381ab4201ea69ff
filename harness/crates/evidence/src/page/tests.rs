//! The page of a small failure, and of hostile text.

use kubenest_protocol::Index;
use serde_json::Value;

use super::*;
use kubenest_diagnosis::{Evidence, Speaker, diagnose};

const HOSTILE: &str = "</script><script>x()</script><!-- <b>\u{1b}[31mred\u{1b}[0m\u{202e} {style}";

fn entry(at_us: i64, source: Lane, node: &str, level: Level, text: &str) -> Entry {
    Entry {
        at_us,
        source,
        node: node.to_owned(),
        level,
        text: text.to_owned(),
    }
}

fn page() -> Page {
    let start = 1_795_262_400_000_000;
    let failed =
        r#"time="2026-11-21T12:00:02Z" level=error msg="RunPodSandbox failed" error="a b""#;
    let line = Line {
        place: "nodes/n1/containerd.log:7".into(),
        node: "n1".into(),
        text: "RunPodSandbox failed error=a b".into(),
        matched: "RunPodSandbox failed".into(),
        at_us: None,
    };
    Page {
        title: "image-gc::fixed::is_kept".into(),
        reason: "test failed".into(),
        message: "pinned image was collected\nat 49s".into(),
        expected: Some("image present".into()),
        versions: BTreeMap::from([("containerd".into(), "1.7.1".into())]),
        made: Timestamp::from_microsecond(start + 60_000_000).unwrap(),
        diagnosis: vec![PageCause {
            id: "sandbox".into(),
            title: "no sandbox".into(),
            cause: "it failed".into(),
            cure: "repair it".into(),
            links: vec![],
            count: 3,
            lines: vec![line],
        }],
        entries: vec![
            entry(
                start + 2_000_000,
                Lane::Containerd,
                "n2",
                Level::Error,
                failed,
            ),
            entry(
                start + 2_000_001,
                Lane::Containerd,
                "n1",
                Level::Error,
                failed,
            ),
            entry(start, Lane::Step, "", Level::Info, "boot"),
        ],
        files: vec![FileLink {
            path: "nodes/n1/containerd.log".into(),
            what: "journal".into(),
            bytes: 7,
            cut: true,
        }],
        missing: vec![Missing {
            name: "kernel log".into(),
            node: "n2".into(),
            error: "timed out".into(),
        }],
        ..Page::default()
    }
}

/// What the page's script will read.
fn data_of(html: &str) -> Value {
    let (_, rest) = html.split_once(r#"id="data">"#).unwrap();
    let (json, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_page_tells_all_in_order() {
    let data = data_of(&render(&page()));
    insta::assert_snapshot!(serde_json::to_string_pretty(&data).unwrap());
}

#[test]
fn programs_get_all_but_the_timeline() {
    let index: Value = serde_json::from_str(&index(&page())).unwrap();
    assert_eq!(index["schema"], 1);
    assert_eq!(index["diagnosis"][0]["title"], "no sandbox");
    assert!(index.get("entries").is_none() && index.get("timeline").is_none());
}

#[test]
fn whoever_runs_the_tests_can_read_the_index() {
    let read: Index = serde_json::from_str(&index(&page())).unwrap();
    assert_eq!(read.diagnosis[0].title, "no sandbox");
    let counts = (read.files.len(), read.missing.len());
    assert_eq!(counts, (page().files.len(), page().missing.len()));
}

#[test]
fn what_is_hostile_stays_text() {
    let mut hostile = page();
    hostile.message = HOSTILE.into();
    hostile.versions = BTreeMap::from([(HOSTILE.into(), HOSTILE.into())]);
    hostile.entries[0].text = format!("{HOSTILE}\n{HOSTILE}\n");
    hostile.entries[0].node = HOSTILE.into();
    let html = render(&hostile);
    assert_eq!(html.matches("</script>").count(), 2, "the page's own two");
    assert!(!html.contains("<!--") && !html.contains('\u{1b}') && !html.contains('\u{202e}'));
    let data = data_of(&html);
    let plain = r"</script><script>x()</script><!-- <b>red\u{202e} {style}";
    assert_eq!(data["message"], plain);
    assert_eq!(data["versions"][plain], plain);
    assert_eq!(data["timeline"]["text"][1], format!("{plain}\n{plain}"));
}

#[test]
fn the_page_may_run_its_own_script_and_load_nothing() {
    let html = render(&page());
    let between = |before: &str, after: &str| {
        let (_, rest) = html.rsplit_once(before).unwrap();
        rest.split_once(after).unwrap().0
    };
    let policy = between(r#"http-equiv="Content-Security-Policy" content=""#, "\"");
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let script = hash(between("<script>", "</script>"));
    let style = hash(between("<style>", "</style>"));
    assert!(
        policy.contains(&format!("script-src '{script}'")),
        "{policy}"
    );
    assert!(policy.contains(&format!("style-src '{style}'")), "{policy}");
    assert!(!html.contains("src=\"") && !html.contains("url(") && !html.contains("@import"));
}

#[test]
fn a_diagnosis_leads_to_the_entry_its_line_is_from() {
    // The diagnosis drops headers and quoting, and puts the message first.
    let journal = [
        r#"Nov 21 12:00:09 n1 containerd[9]: time="2026-11-21T12:00:09Z" level=info msg="starting""#,
        r#"Nov 21 12:00:10 n1 containerd[9]: time="2026-11-21T12:00:10Z" level=error error="failed to create containerd task: failed to start shim: start failed: unsupported shim version (3): not implemented" msg="RunPodSandbox for \"a\" failed, error""#,
    ];
    let found = diagnose(&Evidence::lines(Speaker::Unknown, &journal.join("\n")));
    let all = journal.iter().zip(0..);
    let page = Page {
        diagnosis: found.iter().map(PageCause::from).collect(),
        entries: all
            .map(|(line, at)| entry(at, Lane::Containerd, "n1", Level::Error, line))
            .collect(),
        ..Page::default()
    };
    let data = data_of(&render(&page));
    assert_eq!(data["diagnosis"][0]["id"], "shim-newer-than-daemon");
    assert_eq!(data["diagnosis"][0]["lines"][0]["entry"], 1, "{data:#}");
}

#[test]
fn of_equal_lines_the_nearest_in_time_counts() {
    let mut page = page();
    let text = page.entries[0].text.clone();
    page.entries = (0..5)
        .map(|at| entry(at * 10, Lane::Containerd, "n1", Level::Error, &text))
        .collect();
    let entry_of =
        |page: &Page| data_of(&render(page))["diagnosis"][0]["lines"][0]["entry"].clone();
    assert_eq!(entry_of(&page), 0);
    page.diagnosis[0].lines[0].at_us = Some(29);
    assert_eq!(entry_of(&page), 3);
    page.diagnosis[0].lines[0].node = "n9".into();
    assert_eq!(entry_of(&page), Value::Null);
}

#[test]
fn a_page_of_nothing_is_a_page() {
    let data = data_of(&render(&Page::default()));
    assert_eq!(data["timeline"]["text"], serde_json::json!([]));
}
