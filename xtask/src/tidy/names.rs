//! Names tell the behaviour, not an issue number; no text names the host of a package registry.

use super::{Finding, TextFile, Tree, code_lines};

/// Words that, before a number, refer to an issue tracker.
const TRACKERS: [&str; 4] = ["issue", "bug", "gh", "pr"];

/// Hosts of package registries and their mirrors, in two parts so that this file passes.
const HOSTS: [(&str, &str); 6] = [
    ("crates", "io"),
    ("proxy", "golang"),
    ("sum", "golang"),
    ("deb", "debian"),
    ("security", "debian"),
    ("snapshot", "debian"),
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.files.iter();
    files
        .flat_map(|file| {
            let mut findings = check_numbers(file);
            findings.extend(check_hosts(file));
            findings
        })
        .collect()
}

fn check_numbers(file: &TextFile) -> Vec<Finding> {
    let finding = |place: String, name: &str| Finding {
        place,
        expected: "a name that tells the behaviour".to_owned(),
        actual: format!("{name:?} tells a number"),
        cure: "name what breaks; link the issue in the header".to_owned(),
    };
    let mut findings = Vec::new();
    if tells_a_number(&file.path) {
        findings.push(finding(file.path.clone(), &file.path));
    }
    if file.path.ends_with(".rs") {
        for (line, words) in code_lines(&file.text) {
            if let Some(name) = defined_name(words).filter(|name| tells_a_number(name)) {
                findings.push(finding(format!("{}:{line}", file.path), name));
            }
        }
    }
    findings
}

/// The name that a line defines with `fn` or `mod`.
fn defined_name(line: &str) -> Option<&str> {
    let mut words = line
        .split_whitespace()
        .skip_while(|word| !matches!(*word, "fn" | "mod"));
    let name = words.nth(1)?;
    name.split(['(', '<', ';', '{']).next()
}

/// Whether a name has a tracker's word and then a number: "issue-7496", "gh_12", "bug3".
fn tells_a_number(name: &str) -> bool {
    let name = name.to_lowercase();
    TRACKERS.iter().any(|tracker| {
        name.match_indices(tracker).any(|(at, _)| {
            let starts_word = !name[..at].ends_with(|c: char| c.is_alphanumeric());
            let rest = &name[at + tracker.len()..];
            let rest = rest.strip_prefix(['-', '_']).unwrap_or(rest);
            starts_word && rest.starts_with(|c: char| c.is_ascii_digit())
        })
    })
}

fn check_hosts(file: &TextFile) -> Vec<Finding> {
    // Cargo writes its lock file, with host names.
    if file.path.ends_with("Cargo.lock") {
        return vec![];
    }
    let mut findings = Vec::new();
    for (at, line) in file.text.lines().enumerate() {
        for (name, domain) in HOSTS {
            let host = format!("{name}.{domain}");
            if line.contains(&host) {
                findings.push(Finding {
                    place: format!("{}:{}", file.path, at + 1),
                    expected: "no host name of a package registry or mirror".to_owned(),
                    actual: format!("{host:?}"),
                    cure: "let the registry's own client decide where it goes".to_owned(),
                });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn a_number_is_no_name() {
        for name in [
            "suites/issue-7496/src/lib.rs",
            "gh_12",
            "fixes_bug3",
            "tests/pr-9.rs",
        ] {
            assert!(tells_a_number(name), "{name} must be refused");
        }
        for name in [
            "containerd-1.7.24",
            "issue_links",
            "sprint_4",
            "high_4",
            "debug2",
        ] {
            assert!(!tells_a_number(name), "{name} must pass");
        }
    }

    #[test]
    fn numbered_names_are_named() {
        let text = format!("//! A.\nasync fn issue_{}() {{}}\n", 7496);
        insta::assert_snapshot!(report(
            check,
            &[
                ("a.rs", text.as_str()),
                ("suites/gh-12/notes.md", "see issue 12"),
            ]
        ));
    }

    #[test]
    fn registry_hosts_are_named_wherever_they_stand() {
        let (name, domain) = HOSTS[0];
        let text = format!("# a\n# from {name}.{domain}\n");
        let findings = report(
            check,
            &[("a.yaml", text.as_str()), ("Cargo.lock", text.as_str())],
        );
        assert!(findings.starts_with("tidy: a.yaml:2\n"), "{findings}");
        assert!(!findings.contains("Cargo.lock"), "{findings}");
    }
}
