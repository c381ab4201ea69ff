//! Quoted errors that did not happen here, and the same errors where they did.

use crate::{Evidence, Speaker, diagnose};

const KIND: &str = "failed to detect containerd snapshotter";
/// Signs that may be anywhere in a line: one of a node and one of a command.
const WATCH: &str = "inotify_add_watch /a/b: no space left on device";
const DIGEST: &str = "ctr: content digest \
    sha256:ddf7ff5ebd9d66ce161466c1c0262430fa04de32b0e420ee3f489e2e2112e386: not found";

fn count_causes(text: &str) -> usize {
    diagnose(&Evidence::lines(Speaker::Unknown, text)).len()
}

#[test]
fn histories_diffs_scripts_and_pages_only_quote() {
    let hash = "b2c3d4e5f60718293a4b5c6d7e8f901234567890";
    for words in [KIND, WATCH, DIGEST] {
        for text in [
            format!("b2c3d4e fix: {words}"),
            format!("* b2c3d4e (HEAD -> main, tag: v1) kind: {words}"),
            format!("1234567 a: {words}"),
            format!(
                "commit {hash} (HEAD -> main)\nAuthor: A <a@example.com>\nDate:   Mon\n\n    a: {words}\n    {words}"
            ),
            format!("| * commit {hash}\n| | Author: A\n| |\n| |     {words}"),
            format!(
                "From {hash} Mon Sep 17 00:00:00 2001\nSubject: [PATCH] a\n\n{words}\n---\n a.go | 2 +-\n"
            ),
            format!(
                "diff --git a/a.go b/a.go\n--- a/a.go\n+++ b/a.go\n@@ -1 +1 @@\n-{words}\n+{words}\n {words}"
            ),
            format!("HEAD is now at b2c3d4e a: {words}"),
            format!("[main b2c3d4e] a: {words}"),
            format!("fix(images): {words}"),
            format!("- fix: {words}"),
            format!("a: {words} (#3853)"),
            format!("title: {words}"),
            format!("+ echo {words}"),
            format!("$ echo ERROR: {words}"),
            format!("root@n1:/# echo ERROR: {words}"),
            format!("[command]echo ERROR: {words}"),
            format!("##[group]Run make\ncat <<END\nERROR: {words}\nEND\n##[endgroup]\n"),
            format!("kind/load.go:12:    return errors.New(\"{words}\")"),
            format!("docs/issues.md-34-ERROR: {words}"),
            format!("\treturn errors.New(\"{words}\")"),
            format!("if strings.Contains(out, \"{words}\") {{"),
            format!("If it says `{words}`, upgrade."),
            format!("> ERROR: {words}"),
            format!("The error \"{words}\" is told in the FAQ"),
            format!("```\nERROR: {words}\n```"),
            format!("| ERROR: {words} | upgrade |"),
            format!("✓ says ERROR: {words} (5 ms)"),
        ] {
            assert_eq!(count_causes(&text), 0, "{text}");
            let stamped: String = text
                .lines()
                .map(|line| format!("2025-12-10T09:31:05.1Z {line}\n"))
                .collect();
            assert_eq!(count_causes(&stamped), 0, "{stamped}");
        }
    }
    assert_eq!(
        count_causes(&format!("Pods may end with {WATCH}, so raise the limits.")),
        0
    );
}

#[test]
fn an_error_of_a_program_is_no_quote() {
    for text in [
        format!("ERROR: {KIND}"),
        format!("error: building: \"{DIGEST}\""),
        format!("    main_test.go:33: ERROR: {KIND}"),
        format!("make: *** [load] Error 1: {DIGEST}"),
        format!("E1121 10:10:29.1 7 a.go:3] \"Failed\" err=\"{DIGEST}\""),
        format!("panic: {DIGEST}"),
        format!("standard_init_linux.go:228: {DIGEST}"),
        format!("commit b2c3d4e5f60718293a4b5c6d7e8f901234567890\n\n    title\n\nERROR: {KIND}"),
        format!("diff --git a/a b/a\n@@ -1 +1 @@\n-a\n+b\nERROR: {KIND}"),
        format!("##[group]Run make\nmake\n##[endgroup]\nERROR: {KIND}"),
        format!("```\nmake\n```\nERROR: {KIND}"),
    ] {
        assert_eq!(count_causes(&text), 1, "{text}");
    }
}

#[test]
fn quotes_in_logs_of_node_programs_count() {
    let line = format!("Nov 21 10:10:29 n1 kubelet[7]: The watcher says \"{WATCH}\"");
    assert_eq!(count_causes(&line), 1);
    assert_eq!(count_causes(&format!("The watcher says \"{WATCH}\"")), 0);
}
