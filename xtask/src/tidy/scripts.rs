//! Shell scripts are files of their own, and their first line names the shell.
//!
//! `cargo xtask check` could not run shellcheck on them otherwise.

use proc_macro2::{TokenStream, TokenTree};

use super::{Finding, TextFile, Tree};

/// First lines of shell scripts.
const SHELLS: [&str; 3] = ["#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash"];
/// Texts that only appear in shell scripts.
const SHELL_WORDS: [&str; 6] = ["; do ", "; do\n", "\"$@\"", "\"$1\"", "${", "$("];
/// First words of lines that only appear in shell scripts.
const FIRST_WORDS: [&str; 6] = ["exec", "done", "fi", "esac", "export", "trap"];

/// The paths of the tree's shell scripts.
pub(super) fn paths(tree: &Tree) -> impl Iterator<Item = &str> {
    let scripts = tree.files.iter().filter(|file| is_script(file));
    scripts.map(|file| file.path.as_str())
}

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let without_shell = tree.files.iter().filter_map(missing_shell);
    without_shell
        .chain(tree.rust().flat_map(embedded_scripts))
        .collect()
}

fn is_script(file: &TextFile) -> bool {
    let first = file.text.lines().next().unwrap_or_default();
    SHELLS.contains(&first)
}

fn missing_shell(file: &TextFile) -> Option<Finding> {
    let unnamed = file.path.ends_with(".sh") && !is_script(file);
    unnamed.then(|| Finding {
        place: format!("{}:1", file.path),
        expected: format!("a first line that names the shell: {}", SHELLS.join(", ")),
        actual: format!("{:?}", file.text.lines().next().unwrap_or_default()),
        cure: "name the shell that runs the script; shellcheck goes by it".to_owned(),
    })
}

/// The scripts in string literals of a Rust file. A file that does not parse is left to rustc.
fn embedded_scripts(file: &TextFile) -> Vec<Finding> {
    let mut strings = Vec::new();
    if let Ok(tokens) = file.text.parse() {
        collect_strings(tokens, &mut strings);
    }
    let scripts = strings.iter().filter(|(_, text)| is_long_shell(text));
    scripts
        .map(|(line, _)| Finding {
            place: format!("{}:{line}", file.path),
            expected: "a shell script of more than one line in a file of its own".to_owned(),
            actual: "one in a string".to_owned(),
            cure: "write it to a *.sh beside this file, and take that by include_str!".to_owned(),
        })
        .collect()
}

/// Collects string literals as written, with their lines, but not doc comments.
fn collect_strings(tokens: TokenStream, strings: &mut Vec<(usize, String)>) {
    let mut before = None;
    for token in tokens {
        match &token {
            TokenTree::Group(group) if !is_doc(&group.stream()) => {
                collect_strings(group.stream(), strings);
            }
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if text.ends_with(['"', '#']) && !is_snapshot_mark(before.as_ref()) {
                    strings.push((literal.span().start().line, text));
                }
            }
            _ => {}
        }
        before = Some(token);
    }
}

/// Whether an attribute is a doc comment: `doc = "…"`.
fn is_doc(attribute: &TokenStream) -> bool {
    attribute.to_string().starts_with("doc =")
}

/// Whether a token is the `@` before an inline snapshot.
fn is_snapshot_mark(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == '@')
}

/// Whether a literal is a script of more than one line, not counting a first line with `#!`.
fn is_long_shell(literal: &str) -> bool {
    let text = literal.replace("\\n", "\n").replace("\\\"", "\"");
    let text = text.trim_matches(['r', '#', '"', '\n', ' ']);
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let named = first.starts_with("!/");
    let body = if named { rest } else { text };
    let mut lines = body.lines().map(str::trim_start);
    let shell = named
        || SHELL_WORDS.iter().any(|words| body.contains(words))
        || lines.any(|line| {
            let word = line.split([' ', ';']).next().unwrap_or_default();
            FIRST_WORDS.contains(&word)
        });
    shell && body.lines().count() > 1
}

#[cfg(test)]
mod tests {
    use super::super::tests::{report, tree};
    use super::*;

    #[test]
    fn scripts_are_known_by_their_first_line() {
        let tree = tree(&[
            ("a.sh", "#!/bin/sh\necho\n"),
            ("bin/b", "#!/bin/bash\necho\n"),
            (".ci/run", "#!/usr/bin/env bash\n"),
            ("c.py", "#!/usr/bin/env python3\n"),
            ("d.md", "no script\n#!/bin/sh\n"),
        ]);
        let found: Vec<_> = paths(&tree).collect();
        assert_eq!(found, ["a.sh", "bin/b", ".ci/run"]);
    }

    #[test]
    fn long_scripts_in_strings_and_nameless_ones_are_named() {
        insta::assert_snapshot!(report(
            check,
            &[
                ("a.sh", "echo\n"),
                ("scripts.rs", include_str!("samples/scripts.txt")),
            ]
        ));
    }

    #[test]
    fn short_commands_and_other_long_strings_pass() {
        let commands = include_str!("samples/commands.txt");
        let files = [("a.rs", commands), ("c.sh", "#!/bin/sh\n")];
        assert_eq!(report(check, &files), "");
    }
}
