//! Which tests run: the suites asked for, their tests, and the side each one stands on.

use std::fmt;
use std::path::PathBuf;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use crate::compile::TestProgram;
use crate::process;
use crate::workspace::{Manifest, Suite};

/// The version a test runs on: the one with the failure, or the one without.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// With the failure.
    Affected,
    /// Without it.
    Fixed,
}

/// What was asked for on the command line.
#[derive(Debug, Clone)]
pub struct Selection {
    pub(crate) chosen: Vec<Chosen>,
    pub(crate) side: Option<Side>,
}

/// A suite and, if given, the text its tests' names must contain.
#[derive(Debug, Clone)]
pub(crate) struct Chosen {
    pub(crate) suite: Suite,
    pub(crate) text: Option<String>,
}

/// One test: a process of its own.
#[derive(Debug, Clone)]
pub(crate) struct Test {
    pub(crate) suite: Suite,
    pub(crate) target: String,
    pub(crate) program: PathBuf,
    pub(crate) name: String,
    pub(crate) side: Option<Side>,
}

impl Test {
    /// Whether it waits for most of its time, and so runs beside the others: by the module.
    pub(crate) fn is_long(&self) -> bool {
        modules(&self.name).any(|module| module == "long")
    }
}

/// The tests to run, and what that leaves out.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) tests: Vec<Test>,
    pub(crate) filtered_out: usize,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Affected => "affected",
            Self::Fixed => "fixed",
        })
    }
}

/// The side as people and files name it; "-" for none.
pub(crate) fn side_name(side: Option<Side>) -> String {
    side.map_or_else(|| "-".to_owned(), |side| side.to_string())
}

impl Selection {
    /// Reads `SUITE` and `SUITE::TEXT`; nothing named means every suite with two sides.
    ///
    /// # Errors
    /// There is no such suite; the error names those there are.
    pub fn new(suites: &[Suite], named: &[String], side: Option<Side>) -> anyhow::Result<Self> {
        let mut chosen = Vec::new();
        for word in named {
            let (name, text) = match word.split_once("::") {
                Some((name, text)) => (name, Some(text.to_owned())),
                None => (word.as_str(), None),
            };
            let Some(suite) = suites.iter().find(|suite| suite.name == name) else {
                let names: Vec<_> = suites.iter().map(|suite| suite.name.as_str()).collect();
                bail!(
                    "there is no suite {name:?}; the suites are {}",
                    names.join(", ")
                );
            };
            chosen.push(Chosen {
                suite: suite.clone(),
                text,
            });
        }
        if named.is_empty() {
            let with_sides = suites.iter().filter(|suite| suite.manifest.has_sides());
            chosen.extend(
                with_sides
                    .cloned()
                    .map(|suite| Chosen { suite, text: None }),
            );
        }
        Ok(Self { chosen, side })
    }

    /// All tests of these suites, also of those without sides.
    pub fn everything(suites: &[Suite]) -> Self {
        let chosen = suites
            .iter()
            .cloned()
            .map(|suite| Chosen { suite, text: None });
        Self {
            chosen: chosen.collect(),
            side: None,
        }
    }

    /// The suites to build, each once.
    pub(crate) fn suites(&self) -> Vec<Suite> {
        let mut suites: Vec<Suite> = self.chosen.iter().map(|c| c.suite.clone()).collect();
        suites.sort_by(|a, b| a.name.cmp(&b.name));
        suites.dedup_by(|a, b| a.name == b.name);
        suites
    }

    fn wants(&self, test: &Test) -> bool {
        let side = self.side.is_none() || test.side == self.side;
        side && self.chosen.iter().any(|chosen| chosen.wants(test))
    }

    /// What was asked for by a text that no test's name has, as `suite::text`.
    pub(crate) fn unmatched(&self, tests: &[Test]) -> Vec<String> {
        let idle = |chosen: &&Chosen| !tests.iter().any(|test| chosen.wants(test));
        let named = self.chosen.iter().filter(idle).filter_map(|chosen| {
            let text = chosen.text.as_ref()?;
            Some(format!("{}::{text}", chosen.suite.name))
        });
        named.collect()
    }

    /// The sides a suite owes this run, or none when only some of its tests were asked for.
    pub(crate) fn owed(&self) -> Vec<(String, Side)> {
        let whole = self.chosen.iter().filter(|chosen| chosen.text.is_none());
        let mut owed: Vec<_> = whole
            .flat_map(|chosen| {
                let sides = sides(&chosen.suite.manifest).into_iter();
                sides.map(|side| (chosen.suite.name.clone(), side))
            })
            .filter(|(_, side)| self.side.is_none_or(|wanted| wanted == *side))
            .collect();
        owed.sort();
        owed.dedup();
        owed
    }
}

impl Chosen {
    fn wants(&self, test: &Test) -> bool {
        let text = self.text.as_ref();
        let named = || format!("{}::{}", test.target, test.name);
        self.suite.name == test.suite.name && text.is_none_or(|text| named().contains(text))
    }
}

/// Asks every program for its tests and keeps the ones selected: suite by suite,
/// the affected side first.
pub(crate) fn plan(programs: &[TestProgram], selection: &Selection) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    for program in programs {
        let mut command = process::command(&program.path);
        command
            .args(["--list", "--format", "terse"])
            .current_dir(&program.suite.dir);
        for name in test_names(&process::output(&mut command)?) {
            let test = Test {
                suite: program.suite.clone(),
                target: program.target.clone(),
                program: program.path.clone(),
                side: side_of(name),
                name: name.to_owned(),
            };
            if selection.wants(&test) {
                plan.tests.push(test);
            } else {
                plan.filtered_out += 1;
            }
        }
    }
    // Stable: within a side the tests stay in the order of files and names.
    plan.tests
        .sort_by_key(|test| (test.suite.name.clone(), test.side.is_none(), test.side));
    Ok(plan)
}

/// The sides a suite has: an "open" failure is fixed nowhere yet.
fn sides(manifest: &Manifest) -> Vec<Side> {
    match (manifest.has_sides(), manifest.fixed.as_str()) {
        (false, _) => vec![],
        (true, "open") => vec![Side::Affected],
        (true, _) => vec![Side::Affected, Side::Fixed],
    }
}

/// The lines `name: test` of libtest's terse list.
fn test_names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_suffix(": test"))
}

/// A test stands on the side its module is named after.
fn side_of(name: &str) -> Option<Side> {
    modules(name).find_map(|module| match module {
        "affected" => Some(Side::Affected),
        "fixed" => Some(Side::Fixed),
        _ => None,
    })
}

/// The modules that a test is in, the outermost first.
fn modules(name: &str) -> impl Iterator<Item = &str> {
    let modules = name.rsplit_once("::").map(|(modules, _)| modules);
    modules.into_iter().flat_map(|modules| modules.split("::"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn suite(name: &str, affected: &str, fixed: &str) -> Suite {
        Suite {
            name: name.to_owned(),
            dir: PathBuf::from("suites").join(name),
            manifest: Manifest {
                upstream: vec!["https://github.com/owner/repository/issues/7".to_owned()],
                component: "containerd".to_owned(),
                affected: affected.to_owned(),
                fixed: fixed.to_owned(),
                cluster: "single-node".to_owned(),
                budget: "6m".to_owned(),
            },
        }
    }

    pub(crate) fn test(suite: &Suite, name: &str) -> Test {
        Test {
            suite: suite.clone(),
            target: "regression".to_owned(),
            program: PathBuf::from("regression"),
            name: name.to_owned(),
            side: side_of(name),
        }
    }

    fn two() -> Vec<Suite> {
        vec![
            suite("image-gc", "1.7.0", "1.7.1"),
            suite("selfcheck", "-", "-"),
        ]
    }

    #[test]
    fn the_module_path_tells_the_side() {
        assert_eq!(side_of("affected::is_lost"), Some(Side::Affected));
        assert_eq!(side_of("deep::fixed::is_kept::case_1"), Some(Side::Fixed));
        assert_eq!(side_of("affected"), None, "a test's own name is no module");
        assert_eq!(side_of("not_fixed::at_all"), None);
    }

    #[test]
    fn the_module_path_tells_what_runs_beside_the_others() {
        let suite = suite("image-gc", "1.7.0", "1.7.1");
        assert!(test(&suite, "affected::long::is_lost").is_long());
        assert!(!test(&suite, "affected::long").is_long());
        assert!(!test(&suite, "affected::longer::is_lost").is_long());
    }

    #[test]
    fn benchmarks_and_counts_are_not_tests() {
        let list = "affected::a: test\nspeed: benchmark\n\n2 tests, 1 benchmark\n";
        assert_eq!(test_names(list).collect::<Vec<_>>(), ["affected::a"]);
    }

    #[test]
    fn without_a_name_the_suites_with_sides_run() {
        let selection = Selection::new(&two(), &[], None).unwrap();
        assert_eq!(selection.suites().len(), 1);
        assert!(selection.wants(&test(&two()[0], "affected::a")));
        assert!(!selection.wants(&test(&two()[1], "boots")));
    }

    #[test]
    fn a_text_and_a_side_narrow_the_choice() {
        let named = ["image-gc::lost".to_owned()];
        let selection = Selection::new(&two(), &named, Some(Side::Fixed)).unwrap();
        assert!(selection.wants(&test(&two()[0], "fixed::is_not_lost")));
        assert!(!selection.wants(&test(&two()[0], "affected::is_lost")));
        assert!(!selection.wants(&test(&two()[0], "fixed::is_kept")));
        assert!(selection.owed().is_empty());
    }

    #[test]
    fn a_text_that_no_test_has_is_named() {
        let named = ["image-gc::lost", "image-gc::lots"].map(str::to_owned);
        let selection = Selection::new(&two(), &named, None).unwrap();
        let tests = [test(&two()[0], "affected::is_lost")];
        assert_eq!(selection.unmatched(&tests), ["image-gc::lots"]);
        assert_eq!(selection.unmatched(&[]), named);
    }

    #[test]
    fn a_whole_suite_owes_both_sides() {
        let selection = Selection::new(&two(), &[], None).unwrap();
        let name = || "image-gc".to_owned();
        assert_eq!(
            selection.owed(),
            [(name(), Side::Affected), (name(), Side::Fixed)]
        );
        let open = Selection::everything(&[suite("open-one", "2.0.0", "open")]);
        assert_eq!(open.owed(), [("open-one".to_owned(), Side::Affected)]);
        assert!(
            Selection::everything(&[suite("selfcheck", "-", "-")])
                .owed()
                .is_empty()
        );
    }

    #[test]
    fn an_unknown_suite_names_the_known_ones() {
        let error = Selection::new(&two(), &["imgae-gc".to_owned()], None).unwrap_err();
        insta::assert_snapshot!(
            error,
            @r#"there is no suite "imgae-gc"; the suites are image-gc, selfcheck"#
        );
    }
}
