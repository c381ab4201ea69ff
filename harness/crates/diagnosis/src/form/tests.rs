//! Each family of formats alone, and nested.

use super::*;

fn describe(line: &str) -> String {
    let peeled = peel(line);
    let source = peeled
        .source
        .map_or(String::new(), |source| format!("{source:?}"));
    let (node, time) = (
        peeled.node.unwrap_or_default(),
        peeled.time.unwrap_or_default(),
    );
    format!("{source}|{node}|{time}|{}", peeled.text)
}

/// Checks source, node, time and message of lines.
fn check(lines: &[(&str, &str)]) {
    for (line, expected) in lines {
        assert_eq!(describe(line), *expected, "{line}");
    }
}

#[test]
fn timestamps_of_ci_services_are_stripped() {
    check(&[
        (
            "2025-12-10T09:31:05.1254567Z Command Output: ctr: no",
            "||2025-12-10T09:31:05.1254567Z|Command Output: ctr: no",
        ),
        (
            "e2e\tLoad image\t2025-12-10T09:31:05.1254567Z ERROR: no",
            "||2025-12-10T09:31:05.1254567Z|ERROR: no",
        ),
        (
            "e2e\tUNKNOWN STEP\t\u{feff}2025-12-10T09:31:05.1254567Z ERROR: no",
            "||2025-12-10T09:31:05.1254567Z|ERROR: no",
        ),
        (
            "2025-12-10T09:31:05.1254567Z ##[error]ERROR: no",
            "||2025-12-10T09:31:05.1254567Z|ERROR: no",
        ),
        ("::error file=a.sh,line=3::ERROR: no", "|||ERROR: no"),
        (
            "2024-05-22T12:43:46.962646Z 00O ERROR: no",
            "||2024-05-22T12:43:46.962646Z|ERROR: no",
        ),
        (
            "2024-05-22T12:43:46.962646Z 01E ERROR: no",
            "||2024-05-22T12:43:46.962646Z|ERROR: no",
        ),
        (
            "2024-05-22T12:43:46.962646Z 00O+section_start:1716381826:step_script\rERROR: no",
            "||2024-05-22T12:43:46.962646Z|ERROR: no",
        ),
        ("section_end:1716381826:step_script", "|||"),
        (
            "[2026-11-29T10:10:29.123Z] ERROR: no",
            "||2026-11-29T10:10:29.123Z|ERROR: no",
        ),
        ("10:10:29  ERROR: no", "||10:10:29|ERROR: no"),
        (
            "10:10:29    Warning  Failed",
            "||10:10:29|  Warning  Failed",
        ),
        ("00:01 ERROR: no", "||00:01|ERROR: no"),
        ("[10:10:29] ERROR: no", "||10:10:29|ERROR: no"),
        ("[10:10:29]W: [Step 2/3] ERROR: no", "||10:10:29|ERROR: no"),
        ("#12 3.456 ERROR: no", "|||ERROR: no"),
        (
            "Nov 29 10:10:29 Command Output: ctr: no",
            "||Nov 29 10:10:29|Command Output: ctr: no",
        ),
        ("    kind_test.go:33: ERROR: no", "|||ERROR: no"),
    ]);
    assert_eq!(
        peel("2024-05-22T12:43:46.962646Z 00O+b").continues,
        Some(true)
    );
    assert_eq!(
        peel("2024-05-22T12:43:46.962646Z 00O").continues,
        Some(false)
    );
    assert_eq!(
        buildkite("\u{1b}_bk;t=1745322209921\u{7}ERROR: no"),
        Some(("2025-04-22T11:43:29.921Z".to_owned(), "ERROR: no"))
    );
    assert_eq!(buildkite("\u{1b}[31m_bk;t="), None);
}

#[test]
fn text_that_only_looks_like_a_timestamp_is_kept() {
    for line in [
        "2025-12-10 is the day",
        "2025-12-10T09:31:05 without a zone",
        "12:30",
        "10:10:29.5s later",
        "10:10:299 is none",
        "1700000000 seconds",
        "[INFO] plugin/reload: Running",
        "[kubelet-check] Initial timeout",
        "[WARNING SystemVerification]: deprecated",
        "Name | Value",
        "a | b",
        "Error: a: b",
        "I1101 10:10 a",
        "<unknown>",
        "section_7: x",
        "a\tb\tc",
        "level=3 is high",
        "{\"a\": 1}",
        "{not json}",
        "",
    ] {
        assert_eq!(describe(line), format!("|||{line}"));
    }
}

#[test]
fn journals_in_every_format_name_time_node_and_program() {
    let iso = "2026-11-21T10:10:29";
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
            &format!("{iso}+0000"),
            &format!("{iso}+0000 n1 kubelet[77]: \"A\""),
        ),
        (
            &format!("{iso}.5+00:00"),
            &format!("{iso}.5+00:00 n1 kubelet: \"A\""),
        ),
        (
            &format!("{iso}.123456Z"),
            &format!("{iso}.123456Z n1 kubelet[77]: \"A\""),
        ),
        (
            "2026-11-21 10:10:29",
            "Sat 2026-11-21 10:10:29 UTC n1 kubelet[77]: \"A\"",
        ),
        (
            "2026-11-21 10:10:29",
            "Sat 2026-11-21 10:10:29 CET n1 kubelet.service[77]: \"A\"",
        ),
        (
            "1763719829.123456",
            "1763719829.123456 n1 kubelet[77]: \"A\"",
        ),
        ("12.345678", "[   12.345678] n1 kubelet[77]: \"A\""),
        (
            "Nov 21 10:10:29",
            "<30>Nov 21 10:10:29 n1 kubelet[77]: \"A\"",
        ),
        (
            &format!("{iso}.003Z"),
            &format!("<30>1 {iso}.003Z n1 kubelet 77 - - \"A\""),
        ),
        (
            &format!("{iso}.003Z"),
            &format!("<30>1 {iso}.003Z n1 kubelet 77 ID [a@1 b=\"c]\"][d e=\"f\"] \u{feff}\"A\""),
        ),
    ] {
        assert_eq!(describe(line), format!("Kubelet|n1|{time}|\"A\""), "{line}");
    }
    check(&[
        (
            "Nov 21 10:10:29 n1 systemd[1]: Started kubelet.",
            "System|n1|Nov 21 10:10:29|Started kubelet.",
        ),
        (
            "Nov 21 10:10:29 n1 kernel: oom",
            "System|n1|Nov 21 10:10:29|oom",
        ),
        ("[   12.345678] oom", "System||12.345678|oom"),
        (
            "Nov 21 10:10:29 n1 loader: words",
            "System|n1|Nov 21 10:10:29|words",
        ),
    ]);
}

#[test]
fn programs_that_contain_others_are_known() {
    for (program, source) in [
        ("k3s", Speaker::Distribution),
        ("k3s-agent", Speaker::Distribution),
        ("rke2-server", Speaker::Distribution),
        ("k0s", Speaker::Distribution),
        ("microk8s.daemon-kubelite", Speaker::Distribution),
        ("microk8s.daemon-containerd", Speaker::Runtime),
        ("docker.dockerd", Speaker::Runtime),
        ("dockerd", Speaker::Runtime),
        ("cri-dockerd", Speaker::Runtime),
        ("containerd.service", Speaker::Runtime),
        ("/usr/bin/crio", Speaker::Runtime),
        ("kubelet", Speaker::Kubelet),
        ("kubeadm", Speaker::Cli),
        ("kube-apiserver", Speaker::Pod),
        ("loader", Speaker::System),
    ] {
        assert_eq!(program::source(program), source, "{program}");
    }
}

#[test]
fn output_of_a_container_belongs_to_the_pod_whatever_it_looks_like() {
    check(&[
        (
            "2026-11-21T10:10:29.1Z stderr F E1121 10:10:29.1 1 a.go:3] \"A\"",
            "Pod||2026-11-21T10:10:29.1Z|\"A\"",
        ),
        (
            "2026-11-21T10:10:29.1Z stdout F",
            "Pod||2026-11-21T10:10:29.1Z|",
        ),
        (
            "2026-11-21T10:10:29.1Z stdout P Nov 21 10:10:29 n1 kubelet[7]: A",
            "Pod|n1|2026-11-21T10:10:29.1Z|A",
        ),
        (
            "[pod/coredns-5d78c9869d-bx7kf/coredns] [FATAL] A",
            "Pod|||[FATAL] A",
        ),
        (
            "[pod/a/b] 2026-11-21T10:10:29.1Z A",
            "Pod||2026-11-21T10:10:29.1Z|A",
        ),
        (
            "coredns-5d78c9869d-bx7kf coredns [FATAL] A",
            "Pod|||[FATAL] A",
        ),
        ("etcd-kind-control-plane etcd │ A", "Pod|||A"),
        (
            "k3s-server-1  | Nov 21 10:10:29 n1 kubelet[7]: A",
            "Kubelet|n1|Nov 21 10:10:29|A",
        ),
        ("web    | A", "|||A"),
    ]);
}

#[test]
fn the_message_comes_before_its_fields() {
    check(&[
        (
            r#"time="2026-11-21T10:10:29Z" level=error msg="Run \"a\" failed" error="no \"b\"" id=7"#,
            r#"||2026-11-21T10:10:29Z|Run \"a\" failed error=no \"b\" id=7"#,
        ),
        (
            r#"time="2026-11-21T10:10:29Z" level=error msg="Run \"a\" fai"#,
            r#"||2026-11-21T10:10:29Z|msg="Run \"a\" fai"#,
        ),
        (
            "level=warn ts=2026-11-21T10:10:29Z msg=A",
            "||2026-11-21T10:10:29Z|A",
        ),
        (
            r#"time="2026-11-21 10:10:29" level=info msg="E1121 10:10:29.1 7 a.go:3] \"A\" err=\"b\"" component=kubelet stream=stderr"#,
            r#"Kubelet||2026-11-21 10:10:29|\"A\" err=\"b\" component=kubelet stream=stderr"#,
        ),
        (
            "WARN[0000] failed to load plugin                         error=\"a `b`\" id=c",
            "|||failed to load plugin error=a `b` id=c",
        ),
        (
            "INFO[2025-12-02T09:14:18.341209331Z] starting containerd   version=v2.2.0",
            "||2025-12-02T09:14:18.341209331Z|starting containerd version=v2.2.0",
        ),
        ("FATA[0003] a  b", "|||a  b"),
    ]);
}

#[test]
fn json_objects_are_read_by_their_fields() {
    check(&[
        (
            r#"{"MESSAGE":"E1121 10:10:29.1 7 a.go:3] \"A\"","_HOSTNAME":"n1","SYSLOG_IDENTIFIER":"kubelet","__REALTIME_TIMESTAMP":"1763719829123456"}"#,
            "Kubelet|n1|2025-11-21T10:10:29.123456Z|\"A\"",
        ),
        (
            r#"{"MESSAGE":[104,195,169,10],"_SYSTEMD_UNIT":"k3s.service","SYSLOG_IDENTIFIER":"sh","__CURSOR":"s"}"#,
            "Distribution|||hé\n",
        ),
        (r#"{"MESSAGE":["A","B"],"__CURSOR":"s"}"#, "System|||A"),
        (
            r#"{"log":"time=\"2026-11-21T10:10:29Z\" level=info msg=A\n","stream":"stderr","time":"2026-11-21T10:10:30Z"}"#,
            "||2026-11-21T10:10:30Z|A",
        ),
        (
            r#"{"log":"\u001b[36mkind-1  | \u001b[0mA\n","stream":"stderr"}"#,
            "|||A",
        ),
        (
            r#"{"log":"A","stream":"stdout","kubernetes":{"pod_name":"x"}}"#,
            "Pod|||A",
        ),
        (
            r#"{"level":"warn","ts":"2024-05-01T10:10:29.1Z","caller":"wal/wal.go:805","msg":"slow fdatasync","took":"1.2s","expected-duration":"1s"}"#,
            "||2024-05-01T10:10:29.1Z|slow fdatasync took=1.2s expected-duration=1s",
        ),
        (
            r#"{"ts":1700000000000.123,"caller":"images/a.go:487","msg":"Removing image","v":0,"imageID":"sha256:ab","size":10}"#,
            "||| \"Removing image\" imageID=\"sha256:ab\" size=10"
                .replace("| ", "|")
                .as_str(),
        ),
        (
            r#"{"error":"a","id":"b","level":"warning","msg":"failed to load plugin","time":"2026-11-21T10:10:29Z"}"#,
            "||2026-11-21T10:10:29Z|failed to load plugin error=a id=b",
        ),
    ]);
}

#[test]
fn headers_may_be_nested() {
    check(&[
        (
            "e2e\tshow\t2025-12-10T09:40:01.1Z Dec 10 09:20:00 n1 kubelet[7]: I1210 09:20:00.2 7 a.go:4] \"A\"",
            "Kubelet|n1|Dec 10 09:20:00|\"A\"",
        ),
        (
            r#"10:10:29  runner-1  | 2025-12-10T09:40:01.1Z Dec 10 09:20:00 n1 containerd[7]: time="2025-12-10T09:20:00Z" level=info msg=A"#,
            "Runtime|n1|Dec 10 09:20:00|A",
        ),
        (
            "  \tDec 10 09:20:00 n1 k3s[7]: A",
            "Distribution|n1|Dec 10 09:20:00|A",
        ),
        (
            "* Dec 10 09:20:00 n1 kubelet[7]: A",
            "Kubelet|n1|Dec 10 09:20:00|A",
        ),
    ]);
    let line = "  Dec 10 09:20:00 n1 k3s[7]: A";
    assert_eq!(
        peel(line).begin,
        0,
        "its indentation tells that it may be quoted"
    );
    let deep = "10:10:29  ".repeat(100) + "A";
    assert!(
        peel(&deep).text.starts_with("10:10:29"),
        "so many headers are too many"
    );
}

#[test]
fn any_text_is_read() {
    for text in [
        "time=\"",
        "a=\"\\",
        "\u{0}[",
        "é\u{301} \\",
        "<30>1 - - - - -",
        "<30>",
        "[",
        "[pod/",
        "[2",
        "##[",
        "::error",
        "2026-11-21T10:10:29Z",
        "2026-11-21T10:10:29Z ",
        "2026-11-21T10:10:29Z 0",
        "Nov 21 10:10:29",
        "10:10:29é",
        "Sat 2026-11-21 10:10:29",
        "1763719829.",
        "INFO[",
        "{\"log\":3}",
        "{}",
        "é  | a",
        "\t\t",
        "* ",
        "- 1",
        "#1 2",
    ] {
        peel(text);
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            peel(&text[..end]);
            peel(&text[end..]);
        }
    }
}
