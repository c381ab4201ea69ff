//! A suite's manifest says what it reproduces, and the header of its tests why.

use serde_json::Value;

use super::{Finding, SuiteCrate, Tree};
use crate::workspace::parse_budget;

/// The keys of `[package.metadata.suite]` that hold one text each.
const TEXTS: [&str; 5] = ["component", "affected", "fixed", "cluster", "budget"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let suites = tree.suites.iter();
    suites
        .flat_map(|suite| {
            let mut findings = check_manifest(suite);
            findings.extend(check_headers(tree, suite));
            findings
        })
        .collect()
}

fn check_manifest(suite: &SuiteCrate) -> Vec<Finding> {
    let finding = |expected: &str, actual: String, cure: &str| Finding {
        place: format!("{}/Cargo.toml", suite.folder),
        expected: expected.to_owned(),
        actual,
        cure: cure.to_owned(),
    };
    let mut findings = Vec::new();
    if suite.folder != format!("suites/{}", suite.name) {
        let actual = format!("{} in {}", suite.name, suite.folder);
        findings.push(finding(
            "the crate is named as its folder",
            actual,
            "rename one of them",
        ));
    }
    let Some(keys) = suite.metadata.as_object() else {
        let cure = "add it; docs/writing-a-suite.md shows one";
        findings.push(finding(
            "[package.metadata.suite]",
            "no such table".to_owned(),
            cure,
        ));
        return findings;
    };
    for key in TEXTS {
        if keys
            .get(key)
            .and_then(Value::as_str)
            .is_none_or(|text| text.trim().is_empty())
        {
            let actual = display_value(keys.get(key));
            findings.push(finding(&format!("`{key}` is a text"), actual, "fill it in"));
        }
    }
    let budget = keys.get("budget").and_then(Value::as_str);
    if let Some(Err(error)) = budget.map(parse_budget) {
        findings.push(finding(
            "`budget` is a time",
            error.to_string(),
            "write it as \"6m\"",
        ));
    }
    let links = upstream(&suite.metadata);
    let has_links = links.is_some_and(|links| !links.is_empty() || !has_sides(&suite.metadata));
    let are_links = links.is_none_or(|links| {
        links.iter().all(|link| {
            link.as_str()
                .is_some_and(|link| link.starts_with("https://"))
        })
    });
    if !has_links || !are_links {
        let expected = "`upstream` lists the links to where the failure is documented";
        let actual = display_value(keys.get("upstream"));
        findings.push(finding(
            expected,
            actual,
            "list issues, changes or discussions",
        ));
    }
    for key in keys
        .keys()
        .filter(|key| !TEXTS.contains(&key.as_str()) && *key != "upstream")
    {
        findings.push(finding("only known keys", format!("`{key}`"), "remove it"));
    }
    findings
}

/// In a suite with sides, the header of the tests must have the upstream links and say when the
/// suite becomes obsolete.
fn check_headers(tree: &Tree, suite: &SuiteCrate) -> Vec<Finding> {
    let folder = format!("{}/tests/", suite.folder);
    let tests = || tree.rust().filter(|file| file.path.starts_with(&folder));
    let finding = |expected: String, actual: &str, cure: &str| Finding {
        place: folder.clone(),
        expected,
        actual: actual.to_owned(),
        cure: cure.to_owned(),
    };
    if tests().next().is_none() {
        let cure = "write tests/regression.rs; docs/writing-a-suite.md shows one";
        return vec![finding("a test file".to_owned(), "none", cure)];
    }
    if !has_sides(&suite.metadata) {
        return vec![];
    }
    let header_lines =
        tests().flat_map(|file| file.text.lines().take_while(|line| line.starts_with("//!")));
    let header = header_lines.collect::<Vec<_>>().join("\n");
    let links = upstream(&suite.metadata)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let mut owed: Vec<_> = links.collect();
    owed.push("Obsolete when");
    let missing = owed.into_iter().filter(|text| !header.contains(text));
    missing
        .map(|text| {
            let cure = "say in the header what breaks, link it, and say when the test may go";
            finding(
                format!("a `//!` header with {text:?}"),
                "it is not there",
                cure,
            )
        })
        .collect()
}

fn upstream(metadata: &Value) -> Option<&Vec<Value>> {
    metadata.get("upstream").and_then(Value::as_array)
}

fn has_sides(metadata: &Value) -> bool {
    metadata.get("affected").and_then(Value::as_str) != Some("-")
}

fn display_value(value: Option<&Value>) -> String {
    value.map_or_else(|| "no such key".to_owned(), Value::to_string)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::tree;
    use super::*;

    const LINK: &str = "https://github.com/owner/repository/issues/7";

    fn report(metadata: Value, files: &[(&str, &str)]) -> String {
        let mut tree = tree(files);
        tree.suites.push(SuiteCrate {
            name: "image-gc".to_owned(),
            folder: "suites/image-gc".to_owned(),
            metadata,
        });
        check(&tree)
            .iter()
            .map(Finding::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_whole_suite_passes() {
        let metadata = json!({
            "upstream": [LINK], "component": "containerd", "affected": "1.7.0",
            "fixed": "1.7.1", "cluster": "single-node", "budget": "6m",
        });
        let header = format!("//! Lost.\n//! <{LINK}>. Obsolete when 1.7 is gone.\nmod a {{}}");
        assert_eq!(
            report(metadata, &[("suites/image-gc/tests/a.rs", header.as_str())]),
            ""
        );
    }

    #[test]
    fn wrong_keys_and_a_bare_header_are_named() {
        let metadata = json!({
            "upstream": [], "component": "", "affected": 17, "cluster": "single-node",
            "budget": "6 minutes", "fixed": "1.7.1", "owner": "me",
        });
        let file = ("suites/image-gc/tests/a.rs", "//! Lost.\nmod a {}");
        insta::assert_snapshot!(report(metadata, &[file]));
    }

    #[test]
    fn a_crate_without_the_table_or_tests_is_named() {
        insta::assert_snapshot!(report(Value::Null, &[]));
    }
}
