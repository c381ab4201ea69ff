//! The needs that a package's manifest declares for its tests: `[package.metadata.kubenest]`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use kubenest_protocol::preparing::DEFAULT;
use serde::Deserialize;
use serde_json::Value;

use crate::condition::Condition;

/// The table's name.
const TABLE: &str = "kubenest";

/// What must be there before the tests of a package run, by the names of `kubenest prepare --list`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Needs {
    /// The needs of all tests.
    #[serde(default)]
    needs: Option<Vec<String>>,
    /// Further needs of the tests whose name, such as `file::module::test`, contains the key.
    #[serde(default)]
    tests: BTreeMap<String, Vec<String>>,
    /// The nodes to which the tests apply whose name contains the key, for a run on several nodes.
    #[serde(default)]
    nodes: BTreeMap<String, Vec<Condition>>,
    /// The tests whose name contains one of these run however short the time of a run is.
    #[serde(default)]
    always: Vec<String>,
    /// The tests whose name contains one of these need the whole machine: they run after all others,
    /// one at a time.
    #[serde(default)]
    alone: Vec<String>,
}

impl Needs {
    /// Reads the needs from a package's metadata; paths of recipe files start at `folder`, the
    /// package's own.
    ///
    /// # Errors
    /// The table has a key or a value that is unknown.
    pub fn of(metadata: &Value, folder: &Path) -> anyhow::Result<Self> {
        let table = metadata.get(TABLE).cloned();
        let table = table.unwrap_or_else(|| Value::Object(Default::default()));
        let mut needs: Self =
            serde_json::from_value(table).with_context(|| format!("[package.metadata.{TABLE}]"))?;
        let all = needs.needs.iter_mut().chain(needs.tests.values_mut());
        for need in all.flatten() {
            if need.ends_with(".yaml") || need.ends_with(".yml") {
                *need = folder.join(&*need).display().to_string();
            }
        }
        Ok(needs)
    }

    /// The needs of one test. A test without any declared need gets the default node.
    pub(crate) fn of_test(&self, target: &str, name: &str) -> Vec<String> {
        let name = format!("{target}::{name}");
        let own = self.tests.iter().filter(|(text, _)| name.contains(*text));
        let own: Vec<_> = own.map(|(_, needs)| needs).collect();
        if self.needs.is_none() && own.is_empty() {
            return vec![DEFAULT.to_owned()];
        }
        let all = self.needs.iter().chain(own).flatten();
        let all: BTreeSet<_> = all.cloned().collect();
        all.into_iter().collect()
    }

    /// Whether one test runs however short the time of a run is.
    pub(crate) fn always_runs(&self, target: &str, name: &str) -> bool {
        let name = format!("{target}::{name}");
        self.always.iter().any(|text| name.contains(text))
    }

    /// Whether one test needs the whole machine.
    pub(crate) fn runs_alone(&self, target: &str, name: &str) -> bool {
        let name = format!("{target}::{name}");
        self.alone.iter().any(|text| name.contains(text))
    }

    /// The nodes to which one test applies: any that meets one of these conditions; `None` if all
    /// do. Of several keys that the test's name contains the longest counts.
    pub(crate) fn nodes_of(&self, target: &str, name: &str) -> Option<&[Condition]> {
        let name = format!("{target}::{name}");
        let stated = self.nodes.iter().filter(|(text, _)| name.contains(*text));
        let (_, conditions) = stated.max_by_key(|(text, _)| text.len())?;
        Some(conditions)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn needs(table: Value) -> Needs {
        Needs::of(&json!({ "kubenest": table }), Path::new("/p")).unwrap()
    }

    #[test]
    fn what_is_declared_for_all_and_for_some_adds_up() {
        let needs = needs(json!({
            "needs": ["b"],
            "tests": {"affected::": ["a", "b"], "regression::": ["c"]},
        }));
        assert_eq!(
            needs.of_test("regression", "affected::is_lost"),
            ["a", "b", "c"]
        );
        assert_eq!(needs.of_test("other", "fixed::is_kept"), ["b"]);
    }

    #[test]
    fn a_test_for_which_nothing_is_declared_needs_the_default_node() {
        assert_eq!(Needs::default().of_test("a", "b"), ["default"]);
        let some = needs(json!({"tests": {"affected::": ["a"]}}));
        assert_eq!(some.of_test("a", "affected::b"), ["a"]);
        assert_eq!(some.of_test("a", "fixed::b"), ["default"]);
        let none = needs(json!({"needs": []}));
        assert!(none.of_test("a", "b").is_empty(), "that is declared");
        let other = Needs::of(&json!({"suite": {}}), Path::new("/p")).unwrap();
        assert_eq!(other, Needs::default());
        assert_eq!(Needs::of(&Value::Null, Path::new("/p")).unwrap(), other);
    }

    #[test]
    fn some_tests_always_run_and_some_run_alone() {
        let needs = needs(json!({"always": ["core"], "alone": ["affected::long"]}));
        let of = |name| (needs.always_runs("a", name), needs.runs_alone("a", name));
        assert_eq!(of("core::b"), (true, false));
        assert_eq!(of("affected::long::b"), (false, true));
        assert_eq!(of("affected::b"), (false, false));
    }

    #[test]
    fn a_recipe_file_is_named_from_the_package() {
        let needs = needs(json!({"needs": ["nodes/crio.yaml", "kind 0.27.0"]}));
        assert_eq!(
            needs.of_test("a", "b"),
            ["/p/nodes/crio.yaml", "kind 0.27.0"]
        );
    }

    #[test]
    fn a_key_that_means_nothing_is_named() {
        for (table, named) in [
            (json!({"need": ["a"]}), "`need`"),
            (
                json!({"nodes": {"a": ["crio"]}}),
                "the parts are containerd",
            ),
        ] {
            let error = Needs::of(&json!({"kubenest": table}), Path::new("/p")).unwrap_err();
            let error = format!("{error:#}");
            assert!(
                error.contains("metadata.kubenest") && error.contains(named),
                "{error}"
            );
        }
    }
}
