//! The plan of a run: which tests of the requested packages run, and the side of each.

use std::fmt;
use std::path::PathBuf;

use kubenest_protocol::Demand;
use kubenest_protocol::preparing::Node;
use serde::{Deserialize, Serialize};

use crate::compile::TestProgram;
use crate::condition::Condition;
use crate::nodes;
use crate::package::{Package, Side};
use crate::process;

/// The tests that the command line asks for.
#[derive(Debug, Clone)]
pub struct Selection {
    /// The packages whose tests may run.
    pub packages: Vec<Package>,
    /// The choices among their tests: a test runs if one of them matches it.
    pub chosen: Vec<Chosen>,
    /// The side that a test must be on.
    pub side: Option<Side>,
}

/// A choice of tests by their names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// The package of the tests; `None` for any package.
    pub package: Option<String>,
    /// A text that the name of a test must contain; `None` for any name.
    pub text: Option<String>,
}

/// One test, which runs in a process of its own.
#[derive(Debug, Clone)]
pub struct Test {
    /// The package of the test.
    pub package: Package,
    pub(crate) target: String,
    /// The main source file of its program.
    pub(crate) source: PathBuf,
    pub(crate) program: PathBuf,
    /// Its name with its modules.
    pub name: String,
    pub(crate) side: Option<Side>,
    /// The node that it runs on in the place of the default one, in a run on several.
    pub(crate) node: Option<Node>,
}

impl Test {
    /// `package::name`, as people write it.
    pub fn id(&self) -> String {
        format!("{}::{}", self.package.name, self.name)
    }

    /// The name of the node that it runs on in the place of the default one.
    pub fn node(&self) -> Option<&str> {
        self.node.as_ref().map(|node| node.name.as_str())
    }

    /// The test on this node.
    pub(crate) fn on(self, node: Node) -> Self {
        let node = Some(node);
        Self { node, ..self }
    }

    /// The whole name, which is unique across runs: two files may have a test of the same name.
    pub(crate) fn whole_name(&self) -> String {
        let name = format!("{}::{}::{}", self.package.name, self.target, self.name);
        with_node(&name, self.node())
    }

    /// The needs that the manifest declares for the test.
    pub(crate) fn declared(&self) -> Vec<String> {
        let mut needs = self.package.needs.of_test(&self.target, &self.name);
        if let Some(node) = &self.node {
            needs = needs
                .iter()
                .map(|need| nodes::need_on(node, need))
                .collect();
            needs.sort();
        }
        needs
    }

    /// What the test asked for; its node has the place of the default one.
    pub(crate) fn asked(&self, demands: &[Demand]) -> Vec<String> {
        let asked = demands.iter().map(|demand| match &self.node {
            Some(node) => nodes::need_on(node, &demand.need),
            None => demand.need.clone(),
        });
        asked.collect()
    }

    /// The nodes to which its manifest says that it applies; `None` for all.
    pub(crate) fn stated_nodes(&self) -> Option<&[Condition]> {
        self.package.needs.nodes_of(&self.target, &self.name)
    }

    /// Whether its manifest says that it runs however short the time is.
    pub(crate) fn always_runs(&self) -> bool {
        self.package.needs.always_runs(&self.target, &self.name)
    }

    /// Whether its manifest says that it needs the whole machine.
    pub(crate) fn runs_alone(&self) -> bool {
        self.package.needs.runs_alone(&self.target, &self.name)
    }

    /// Whether the test mostly waits, so that one more may run beside it: it is in a module `long`.
    pub(crate) fn is_long(&self) -> bool {
        modules(&self.name).any(|module| module == "long")
    }
}

/// A test's name, and the node that it runs on in the place of the default one.
pub(crate) fn with_node(name: &str, node: Option<&str>) -> String {
    match node {
        Some(node) => format!("{name} on {node}"),
        None => name.to_owned(),
    }
}

/// The tests to run, and how many the selection leaves out.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) tests: Vec<Test>,
    pub(crate) filtered_out: usize,
}

impl Selection {
    /// Selects all tests of these packages.
    pub fn everything(packages: Vec<Package>) -> Self {
        Self {
            packages,
            chosen: vec![Chosen {
                package: None,
                text: None,
            }],
            side: None,
        }
    }

    fn wants(&self, test: &Test) -> bool {
        let side = self.side.is_none() || test.side == self.side;
        side && self.chosen.iter().any(|chosen| chosen.wants(test))
    }

    /// The choices with a text that no test's name contains.
    pub(crate) fn unmatched_choices(&self, tests: &[Test]) -> Vec<Chosen> {
        let named = self.chosen.iter().filter(|chosen| chosen.text.is_some());
        let idle = named.filter(|chosen| !tests.iter().any(|test| chosen.wants(test)));
        idle.cloned().collect()
    }

    /// The sides of which this run must have a test; none when only some tests of a package were
    /// asked for.
    pub(crate) fn owed_sides(&self) -> Vec<(String, Side)> {
        let whole = |package: &&Package| {
            let mut chosen = self.chosen.iter();
            chosen.any(|chosen| chosen.text.is_none() && chosen.is_of(&package.name))
        };
        let mut owed: Vec<_> = self
            .packages
            .iter()
            .filter(whole)
            .flat_map(|package| {
                package
                    .sides
                    .iter()
                    .map(|side| (package.name.clone(), *side))
            })
            .filter(|(_, side)| self.side.is_none_or(|wanted| wanted == *side))
            .collect();
        owed.sort();
        owed.dedup();
        owed
    }
}

impl Chosen {
    fn is_of(&self, package: &str) -> bool {
        self.package.as_deref().is_none_or(|own| own == package)
    }

    fn wants(&self, test: &Test) -> bool {
        self.names(&test.package.name, &test.target, &test.name)
    }

    /// Whether the choice matches the test of this package, target and name.
    pub(crate) fn names(&self, package: &str, target: &str, name: &str) -> bool {
        let Some(text) = &self.text else {
            return self.is_of(package);
        };
        let below = format!("{target}::{name}");
        // Without a package of its own, the choice may name the package in its text.
        let whole = || self.package.is_none() && format!("{package}::{name}").contains(text);
        self.is_of(package) && (below.contains(text) || whole())
    }
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.package.as_deref(), self.text.as_deref()];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join("::"))
    }
}

/// Asks every program for its tests and keeps the selected ones: package by package, the affected
/// side first.
pub(crate) fn plan(programs: &[TestProgram], selection: &Selection) -> anyhow::Result<Plan> {
    let mut plan = Plan::default();
    for program in programs {
        let mut command = process::command(&program.path);
        command
            .args(["--list", "--format", "terse"])
            .current_dir(&program.package.dir);
        for name in test_names(&process::output(&mut command)?) {
            let test = Test {
                package: program.package.clone(),
                source: program.source.clone(),
                target: program.target.clone(),
                program: program.path.clone(),
                side: side_of(name),
                name: name.to_owned(),
                node: None,
            };
            if selection.wants(&test) {
                plan.tests.push(test);
            } else {
                plan.filtered_out += 1;
            }
        }
    }
    // The sort is stable: within a side the tests stay in the order of files and names.
    plan.tests
        .sort_by_key(|test| (test.package.name.clone(), test.side.is_none(), test.side));
    Ok(plan)
}

/// The test names in libtest's terse list, whose lines are `name: test`.
fn test_names(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_suffix(": test"))
}

/// The side of a test, which its outermost module is named after.
fn side_of(name: &str) -> Option<Side> {
    modules(name).find_map(|module| match module {
        "affected" => Some(Side::Affected),
        "fixed" => Some(Side::Fixed),
        _ => None,
    })
}

/// The modules that contain a test, the outermost first.
fn modules(name: &str) -> impl Iterator<Item = &str> {
    let modules = name.rsplit_once("::").map(|(modules, _)| modules);
    modules.into_iter().flat_map(|modules| modules.split("::"))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::needs::Needs;

    pub(crate) fn package(name: &str, sides: &[Side]) -> Package {
        Package {
            name: name.to_owned(),
            dir: PathBuf::from("suites").join(name),
            sides: sides.to_vec(),
            limit: Duration::from_secs(360),
            needs: Needs::default(),
        }
    }

    /// A package of which tests are made that run on two versions.
    pub(crate) fn image_gc() -> Package {
        package("image-gc", &[Side::Affected, Side::Fixed])
    }

    pub(crate) fn test(package: &Package, name: &str) -> Test {
        Test {
            package: package.clone(),
            target: "regression".to_owned(),
            source: package.dir.join("tests/regression.rs"),
            program: PathBuf::from("regression"),
            name: name.to_owned(),
            side: side_of(name),
            node: None,
        }
    }

    fn select(chosen: &[(Option<&str>, Option<&str>)], side: Option<Side>) -> Selection {
        let chosen = chosen.iter().map(|(package, text)| Chosen {
            package: package.map(str::to_owned),
            text: text.map(str::to_owned),
        });
        Selection {
            packages: vec![image_gc(), package("selfcheck", &[])],
            chosen: chosen.collect(),
            side,
        }
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
        let package = image_gc();
        assert!(test(&package, "affected::long::is_lost").is_long());
        assert!(!test(&package, "affected::long").is_long());
        assert!(!test(&package, "affected::longer::is_lost").is_long());
    }

    #[test]
    fn benchmarks_and_counts_are_not_tests() {
        let list = "affected::a: test\nspeed: benchmark\n\n2 tests, 1 benchmark\n";
        assert_eq!(test_names(list).collect::<Vec<_>>(), ["affected::a"]);
    }

    #[test]
    fn a_text_and_a_side_narrow_the_choice() {
        let selection = select(&[(Some("image-gc"), Some("lost"))], Some(Side::Fixed));
        assert!(selection.wants(&test(&image_gc(), "fixed::is_not_lost")));
        assert!(!selection.wants(&test(&image_gc(), "affected::is_lost")));
        assert!(!selection.wants(&test(&image_gc(), "fixed::is_kept")));
        assert!(selection.owed_sides().is_empty());
    }

    #[test]
    fn a_text_without_a_package_is_looked_for_in_all_of_a_name() {
        let boots = test(&package("selfcheck", &[]), "boots");
        for text in ["selfcheck::boo", "regression::boots", "boot"] {
            assert!(select(&[(None, Some(text))], None).wants(&boots), "{text}");
        }
        assert!(!select(&[(None, Some("image-gc"))], None).wants(&boots));
        let named = select(&[(Some("selfcheck"), Some("check"))], None);
        assert!(!named.wants(&boots), "the package was named apart");
    }

    #[test]
    fn a_text_that_no_test_has_is_named() {
        let asked = [
            (Some("image-gc"), Some("lost")),
            (Some("image-gc"), Some("lots")),
            (None, Some("lsot")),
        ];
        let selection = select(&asked, None);
        let tests = [test(&image_gc(), "affected::is_lost")];
        let unmatched = |tests| -> Vec<String> {
            let unmatched = selection.unmatched_choices(tests);
            unmatched.iter().map(Chosen::to_string).collect()
        };
        assert_eq!(unmatched(&tests), ["image-gc::lots", "lsot"]);
        let all = ["image-gc::lost", "image-gc::lots", "lsot"];
        assert_eq!(unmatched(&[]), all);
    }

    #[test]
    fn a_whole_package_owes_its_sides() {
        let both = [Side::Affected, Side::Fixed].map(|side| ("image-gc".to_owned(), side));
        for chosen in [(Some("image-gc"), None), (None, None)] {
            assert_eq!(select(&[chosen], None).owed_sides(), both);
        }
        assert_eq!(
            select(&[(None, None)], Some(Side::Fixed)).owed_sides(),
            both[1..]
        );
        assert_eq!(select(&[(Some("selfcheck"), None)], None).owed_sides(), []);
        let open = package("open-one", &[Side::Affected]);
        let owed = Selection::everything(vec![open]).owed_sides();
        assert_eq!(owed, [("open-one".to_owned(), Side::Affected)]);
    }
}
