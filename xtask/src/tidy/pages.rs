//! The pages that people read first are correct: README's folder map, CHANGELOG.

use std::collections::BTreeSet;

use super::{Finding, Tree};

/// The allowed headings for changes in the CHANGELOG.
const KINDS: [&str; 4] = ["### Added", "### Changed", "### Fixed", "### Removed"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = folder_map(tree);
    findings.extend(changelog(tree));
    findings.extend(misplaced_change(tree));
    findings
}

/// Compares README's folder map with the folders. The map is the lines that start with `name/` in
/// the section whose heading contains "folder".
fn folder_map(tree: &Tree) -> Vec<Finding> {
    let Some(readme) = tree.file("README.md") else {
        return vec![missing(
            "README.md",
            "write what the project is and how to run it",
        )];
    };
    let mapped = mapped_folders(&readme.text);
    let found = top_folders(tree);
    let finding = |expected: &str, folder: &String, cure: &str| Finding {
        place: "README.md".to_owned(),
        expected: format!("{expected} {folder}/"),
        actual: format!("the folder map has {}", list(&mapped)),
        cure: cure.to_owned(),
    };
    let unlisted = found.difference(&mapped).map(|folder| {
        finding(
            "a line for",
            folder,
            "add the folder to the map, under a heading with \"folder\"",
        )
    });
    let gone = mapped.difference(&found).map(|folder| {
        finding(
            "no line for",
            folder,
            "there is no such folder: remove it from the map",
        )
    });
    unlisted.chain(gone).collect()
}

fn top_folders(tree: &Tree) -> BTreeSet<String> {
    let folders = tree
        .files
        .iter()
        .filter_map(|file| file.path.split_once('/'));
    let shown = folders.filter(|(folder, _)| !folder.starts_with('.'));
    shown.map(|(folder, _)| folder.to_owned()).collect()
}

/// The folders in the map: `suites/` at the start of a line or in the first cell of a table.
fn mapped_folders(readme: &str) -> BTreeSet<String> {
    let heading = |line: &str| line.starts_with('#');
    let mut lines = readme.lines();
    let found = lines.any(|line| heading(line) && line.to_lowercase().contains("folder"));
    let section = lines.take_while(|line| found && !heading(line));
    section
        .filter_map(|line| {
            let word = line.trim_start_matches(['|', ' ', '-', '*', '`', '[']);
            let (name, _) = word.split_once('/')?;
            let is_name = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
            (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
        })
        .collect()
}

fn changelog(tree: &Tree) -> Option<Finding> {
    let Some(changelog) = tree.file("CHANGELOG.md") else {
        return Some(missing(
            "CHANGELOG.md",
            "start it with a section `## Unreleased`",
        ));
    };
    let headings = changelog
        .text
        .lines()
        .filter(|line| line.starts_with("## "));
    let first = headings.map(|line| line.trim_start_matches("## ")).next();
    let unreleased = first.is_some_and(|heading| heading.trim_matches(['[', ']']) == "Unreleased");
    (!unreleased).then(|| Finding {
        place: "CHANGELOG.md".to_owned(),
        expected: "the first section is `## Unreleased`".to_owned(),
        actual: first.map_or_else(|| "no section".to_owned(), |first| format!("{first:?}")),
        cure: "add the section; changes a suite's author notices go there".to_owned(),
    })
}

/// Finds the first change that is under none of the allowed headings.
fn misplaced_change(tree: &Tree) -> Option<Finding> {
    let changelog = tree.file("CHANGELOG.md")?;
    let mut heading = "";
    let unsorted = changelog.text.lines().find(|line| {
        if line.starts_with('#') {
            heading = line;
        }
        line.starts_with("- ") && !KINDS.contains(&heading)
    });
    unsorted.map(|change| Finding {
        place: "CHANGELOG.md".to_owned(),
        expected: format!("each change under one of {}", KINDS.join(", ")),
        actual: format!("{change:?} under {heading:?}"),
        cure: "move it to the section of its kind, at the top".to_owned(),
    })
}

fn missing(path: &str, cure: &str) -> Finding {
    Finding {
        place: path.to_owned(),
        expected: "the file".to_owned(),
        actual: "nothing".to_owned(),
        cure: cure.to_owned(),
    }
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "no folder".to_owned();
    }
    names
        .iter()
        .map(|name| format!("{name}/"))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    const README: &str = "# A\n\nrun docs/x\n\n## Folders\n\n```text\nharness/   the library\n\
        | `suites/` | tests |\n```\n\n## Next\n\nother/ thing\n";

    #[test]
    fn a_true_map_and_an_open_changelog_pass() {
        assert_eq!(
            report(
                check,
                &[
                    ("README.md", README),
                    (
                        "CHANGELOG.md",
                        "# Changes\n\n## [Unreleased]\n\n### Added\n\n- a\n\n## 0.1.0\n"
                    ),
                    ("harness/src/lib.rs", "//! A."),
                    ("suites/a/Cargo.toml", ""),
                    (".github/dependabot.yml", ""),
                ]
            ),
            ""
        );
    }

    #[test]
    fn untold_and_gone_folders_are_named() {
        insta::assert_snapshot!(report(
            check,
            &[
                ("README.md", README),
                ("CHANGELOG.md", "# Changes\n\n## 0.1.0\n"),
                ("harness/src/lib.rs", "//! A."),
                ("xtask/Cargo.toml", ""),
            ]
        ));
    }

    #[test]
    fn a_change_without_a_kind_is_named() {
        let text = "## Unreleased\n\n### Added\n\n- a\n\n### Other\n\n- b\n";
        let findings = report(misplaced_in, &[("CHANGELOG.md", text)]);
        assert!(findings.contains("under \"### Other\""), "{findings}");
    }

    fn misplaced_in(tree: &Tree) -> Vec<Finding> {
        misplaced_change(tree).into_iter().collect()
    }

    #[test]
    fn missing_pages_are_named() {
        insta::assert_snapshot!(report(check, &[]));
    }
}
