//! What several lines form together.

use super::*;

/// The source of each line, then the additional evidence with its line number.
fn describe(hint: Speaker, text: &str) -> Vec<String> {
    let mut lines = Lines::new(hint);
    let mut described = Vec::new();
    for line in text.lines() {
        let Evidence { source, text, .. } = lines.next(line);
        described.push(format!("{source:?} {text}"));
    }
    let (found, _) = lines.finish();
    described.extend(found.iter().map(|(line, number)| {
        let node = line.node.as_deref().unwrap_or("-");
        format!("{number} {:?} {node} {}", line.source, line.text)
    }));
    described
}

#[test]
fn a_title_gives_the_source_of_the_lines_below_it() {
    let text = "* ==> Docker <==\n* A\n==> kubelet <==\nB\n==> coredns [1f2e] <==\nC\n\
        ==> /var/log/containerd.log <==\nD\n==> notes.txt <==\nE";
    let sources: Vec<_> = describe(Speaker::Unknown, text)
        .into_iter()
        .skip(1)
        .step_by(2)
        .collect();
    assert_eq!(
        sources,
        [
            "Runtime * A",
            "Kubelet B",
            "Pod C",
            "Runtime D",
            "Unknown E"
        ]
    );
    let dump = "==== START logs for container a of pod b/c ====\nA\n\
        ==== END logs for container a of pod b/c ====\nB";
    assert_eq!(describe(Speaker::Unknown, dump)[1], "Pod A");
    assert_eq!(describe(Speaker::Unknown, dump)[3], "Unknown B");
}

#[test]
fn a_message_split_over_lines_is_read_as_one() {
    let stamp = "2024-05-22T12:43:46.962646Z";
    let text = format!(
        "{stamp} 00O ctr: content\n{stamp} 00O+ digest\n{stamp} 00O+: not found\n{stamp} 00O next\n\
         {stamp} 00O section_start:1:x\r\u{1b}[0K\n{stamp} 00O+title"
    );
    assert_eq!(
        describe(Speaker::Unknown, &text),
        [
            "Unknown ctr: content",
            "Unknown ctr: content digest",
            "Unknown ctr: content digest: not found",
            "Unknown next",
            "Unknown ",
            "Unknown title",
        ]
    );
}

#[test]
fn entries_of_the_journal_take_several_lines() {
    let export = "__CURSOR=s=1\n__REALTIME_TIMESTAMP=1763719829123456\nMESSAGE=E1121 10:10:29.1 7 a.go:3] \"A\"\n\
        _HOSTNAME=n1\nSYSLOG_IDENTIFIER=kubelet\n\n__CURSOR=s=2\n_SYSTEMD_UNIT=containerd.service\nMESSAGE=B\n";
    let told_of = |text: &str| describe(Speaker::Unknown, text).split_off(text.lines().count());
    assert_eq!(told_of(export), ["3 Kubelet n1 \"A\"", "9 Runtime - B"]);
    let verbose = "Fri 2025-11-21 10:10:29.123456 UTC [s=1f;i=2;b=3]\n    _HOSTNAME=n1\n    MESSAGE=A\n\
        \x20   SYSLOG_IDENTIFIER=kubelet\nFri 2025-11-21 10:10:30.123456 UTC [s=1f;i=3;b=3]\n    MESSAGE=B\n    _SYSTEMD_UNIT=k3s.service";
    assert_eq!(told_of(verbose), ["3 Kubelet n1 A", "6 Distribution - B"]);
    let pretty = "{\n\t\"__CURSOR\" : \"s\",\n\t\"MESSAGE\" : \"A\",\n\t\"SYSLOG_IDENTIFIER\" : \"kubelet\"\n}\n";
    assert_eq!(told_of(pretty), ["5 Kubelet - A"]);
}

#[test]
fn events_are_found_in_documents_within_a_log() {
    let list = "{\n    \"kind\": \"List\",\n    \"items\": [\n        {\n            \"kind\": \"Event\",\n\
        \x20           \"message\": \"A\"\n        }\n    ]\n}";
    let stamped: String = list
        .lines()
        .map(|line| format!("2025-12-10T09:31:05.1Z {line}\n"))
        .collect();
    let one = r#"{"type":"ADDED","object":{"kind":"Event","message":"A"}}"#;
    for text in [list, &stamped, one] {
        let described = describe(Speaker::Unknown, text);
        assert_eq!(
            described.last().unwrap(),
            &format!("{} Event - A", text.lines().count())
        );
        assert!(
            described[..described.len() - 1]
                .iter()
                .all(|line| line.starts_with("Quote")),
            "{described:?}"
        );
    }
}

#[test]
fn lines_of_an_incomplete_document_count_one_by_one() {
    let words = "ctr: content digest \
        sha256:ddf7ff5ebd9d66ce161466c1c0262430fa04de32b0e420ee3f489e2e2112e386: not found";
    for text in [
        format!("{{\n  {words}\n}}"),
        format!("{{\n  {words}\nthe end"),
        format!("```\n{words}"),
        format!("##[group]Run make\n{words}"),
        format!("##[group]Run make\n{words}\n##[group]Run other\nmake"),
    ] {
        let described = describe(Speaker::Unknown, &text);
        let count = text.lines().count();
        assert!(
            described.len() == count + 1 && described[count].starts_with("2 Unknown"),
            "{described:?}"
        );
    }
}

#[test]
fn text_that_describe_quotes_belongs_to_the_pod() {
    let text = "Name: a\nContainers:\n  app:\n    Args: A\nConditions:\n  B\nInit Containers:\n  C";
    let described = describe(Speaker::Unknown, text);
    let pods: Vec<_> = described
        .iter()
        .filter(|line| line.starts_with("Pod"))
        .collect();
    assert_eq!(
        pods,
        [
            "Pod Containers:",
            "Pod   app:",
            "Pod     Args: A",
            "Pod Init Containers:",
            "Pod   C"
        ]
    );
}
