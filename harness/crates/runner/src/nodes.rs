//! The nodes of a run on several: each test that names no node of its own runs once on each of them
//! to which it applies.

use std::path::Path;

use anyhow::{Context, bail};
use kubenest_protocol::preparing::{DEFAULT, Event, Memory, Node};
use serde::{Deserialize, Serialize};

use crate::args::RunArgs;
use crate::condition::Condition;
use crate::package::Side;
use crate::plan::{Plan, Test};
use crate::process;

/// The nodes of a run, and what is known of tests' earlier runs.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    pub(crate) all: Vec<Node>,
    pub(crate) memory: Memory,
}

/// A test that does not run on a node, since its manifest states others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Inapplicable {
    pub(crate) suite: String,
    pub(crate) target: String,
    pub(crate) test: String,
    pub(crate) node: String,
    /// The nodes to which it applies.
    pub(crate) applies_to: String,
}

impl Nodes {
    /// Asks the program what the names of nodes mean, and what it remembers of tests, if a run with
    /// these options has to know.
    ///
    /// # Errors
    /// A name means no node, or the program cannot be run.
    pub(crate) fn ask(kubenest: &Path, args: &RunArgs) -> anyhow::Result<Self> {
        if args.nodes.is_empty() && args.within.is_none() {
            return Ok(Self::default());
        }
        let mut command = process::command(kubenest);
        command.args(["prepare", "--json", "--recall"]);
        let names = args.nodes.iter().map(|name| format!("--nodes={name}"));
        command.args(names);
        let answer = process::output(&mut command)?;
        let answer = serde_json::from_str(&answer);
        match answer.context("read the answer of kubenest prepare --recall")? {
            Event::Recalled { nodes, memory } => Ok(Self { all: nodes, memory }),
            Event::Refused { message, .. } => bail!("--nodes: {message}"),
            _ => bail!("kubenest prepare --recall did not answer"),
        }
    }

    /// Puts in the place of each test that names no node of its own one test for each node to which
    /// it applies, node after node. Returns where tests do not apply.
    ///
    /// # Errors
    /// A test of an affected side does not state on which nodes it must be red.
    pub(crate) fn spread(&self, plan: &mut Plan) -> anyhow::Result<Vec<Inapplicable>> {
        let mut inapplicable = Vec::new();
        if self.all.is_empty() {
            return Ok(inapplicable);
        }
        let (once, spread): (Vec<_>, Vec<_>) = std::mem::take(&mut plan.tests)
            .into_iter()
            .partition(|test| self.names_its_node(test));
        plan.tests = once;
        for test in &spread {
            require_stated_nodes(test)?;
        }
        for node in &self.all {
            for test in &spread {
                let stated = test.stated_nodes();
                let elsewhere =
                    stated.filter(|all| !all.iter().any(|one| one.is_met_by(&node.versions)));
                match elsewhere {
                    None => plan.tests.push(test.clone().on(node.clone())),
                    Some(stated) => inapplicable.push(Inapplicable::new(test, node, stated)),
                }
            }
        }
        Ok(inapplicable)
    }

    /// Whether a test runs on a node of its own, or on none: by its manifest, or by what it asked
    /// for in its last runs.
    fn names_its_node(&self, test: &Test) -> bool {
        let declared = test.declared();
        if !declared.iter().any(|need| is_default(need)) {
            return true;
        }
        let on_nodes = self.all.iter().map(|node| test.clone().on(node.clone()));
        let runs = std::iter::once(test.clone()).chain(on_nodes);
        let told = runs.filter_map(|test| {
            let last = self.memory.tests.get(&test.whole_name())?;
            let node = test.node.as_ref().map_or(DEFAULT, |node| &node.name);
            let takes_it = last.asked.iter().any(|need| is_node(need, node));
            (last.declared == test.declared()).then_some(takes_it)
        });
        let told: Vec<_> = told.collect();
        !told.is_empty() && !told.contains(&true)
    }
}

impl Inapplicable {
    fn new(test: &Test, node: &Node, stated: &[Condition]) -> Self {
        let stated = stated.iter().map(ToString::to_string);
        Self {
            suite: test.package.name.clone(),
            target: test.target.clone(),
            test: test.name.clone(),
            node: node.name.clone(),
            applies_to: stated.collect::<Vec<_>>().join(" or "),
        }
    }
}

/// The need for a node in the place of the default one.
pub(crate) fn need_on(node: &Node, need: &str) -> String {
    match need.strip_prefix(DEFAULT) {
        Some(engine) if is_default(need) => format!("{}{engine}", node.name),
        _ => need.to_owned(),
    }
}

/// Without such a statement, on which nodes an affected test must be red would be a guess.
fn require_stated_nodes(test: &Test) -> anyhow::Result<()> {
    if test.side != Some(Side::Affected) || test.stated_nodes().is_some() {
        return Ok(());
    }
    bail!(
        "on which nodes {} must be red is not stated: add it to [package.metadata.kubenest.nodes] \
         of {}, for example \"affected::\" = [\"containerd <2.1\"]",
        test.id(),
        test.package.name
    )
}

/// Whether a need is for the default node, in any engine.
fn is_default(need: &str) -> bool {
    is_node(need, DEFAULT)
}

fn is_node(need: &str, node: &str) -> bool {
    let engine = need.strip_prefix(node);
    engine.is_some_and(|engine| engine.is_empty() || engine.starts_with(" on "))
}

#[cfg(test)]
pub(crate) mod tests {
    use kubenest_protocol::preparing::LastRun;
    use serde_json::json;

    use super::*;
    use crate::needs::Needs;
    use crate::package::Package;
    use crate::plan::tests::{image_gc, test};
    use crate::plan::with_node;

    pub(crate) fn node(name: &str, versions: &[(&str, &str)]) -> Node {
        let versions = versions.iter();
        let versions = versions.map(|(part, version)| ((*part).to_owned(), (*version).to_owned()));
        Node {
            name: name.to_owned(),
            versions: versions.collect(),
        }
    }

    fn two() -> Nodes {
        let old = [("containerd", "1.7.24"), ("kubernetes", "1.32.1")];
        let crio = [("crio", "1.34.0"), ("kubernetes", "1.34.3")];
        Nodes {
            all: vec![node("old", &old), node("crio", &crio)],
            memory: Memory::default(),
        }
    }

    fn declaring(table: serde_json::Value) -> Package {
        let mut package = image_gc();
        let table = json!({ "kubenest": table });
        package.needs = Needs::of(&table, &package.dir).unwrap();
        package
    }

    fn spread(nodes: &Nodes, package: &Package, names: &[&str]) -> anyhow::Result<String> {
        let mut plan = Plan {
            tests: names.iter().map(|name| test(package, name)).collect(),
            filtered_out: 0,
        };
        let elsewhere = nodes.spread(&mut plan)?;
        let run = plan.tests.iter().map(|test| {
            let needs = test.declared().join(", ");
            format!("{}: {needs}", with_node(&test.id(), test.node()))
        });
        let not = elsewhere
            .iter()
            .map(|one| format!("not {} on {}, but {}", one.test, one.node, one.applies_to));
        Ok(run.chain(not).collect::<Vec<_>>().join("\n"))
    }

    #[test]
    fn a_test_runs_on_each_node_unless_it_names_its_own() {
        let package = declaring(json!({
            "tests": {"own": ["v1"], "asks": ["default", "kind 9", "default on embedded-29"]},
        }));
        let told = spread(&two(), &package, &["fixed::own", "fixed::asks", "plain"]).unwrap();
        insta::assert_snapshot!(told, @"
        image-gc::fixed::own: v1
        image-gc::fixed::asks on old: kind 9, old, old on embedded-29
        image-gc::plain on old: old
        image-gc::fixed::asks on crio: crio, crio on embedded-29, kind 9
        image-gc::plain on crio: crio
        ");
        let alone = spread(&Nodes::default(), &package, &["plain"]).unwrap();
        assert_eq!(alone, "image-gc::plain: default");
    }

    #[test]
    fn a_test_runs_on_the_nodes_that_its_manifest_states() {
        let package = declaring(json!({"nodes": {
            "affected::": ["containerd <2.1"],
            "affected::any": ["containerd", "cri-o"],
            "fixed::": ["cri-o", "containerd >=2.1"],
        }}));
        let names = ["affected::is_lost", "affected::any", "fixed::is_kept"];
        insta::assert_snapshot!(spread(&two(), &package, &names).unwrap(), @"
        image-gc::affected::is_lost on old: old
        image-gc::affected::any on old: old
        image-gc::affected::any on crio: crio
        image-gc::fixed::is_kept on crio: crio
        not fixed::is_kept on old, but cri-o or containerd >=2.1
        not affected::is_lost on crio, but containerd <2.1
        ");
    }

    #[test]
    fn where_a_test_must_be_red_is_never_guessed() {
        let error = spread(&two(), &image_gc(), &["affected::is_lost"]).unwrap_err();
        insta::assert_snapshot!(error, @r#"on which nodes image-gc::affected::is_lost must be red is not stated: add it to [package.metadata.kubenest.nodes] of image-gc, for example "affected::" = ["containerd <2.1"]"#);
    }

    #[test]
    fn a_test_whose_last_run_took_no_default_node_runs_once() {
        let package = image_gc();
        let mut nodes = two();
        let mut remember = |name: &str, declared: &str, asked: &[&str]| {
            let last = LastRun {
                declared: vec![declared.to_owned()],
                asked: asked.iter().map(|&need| need.to_owned()).collect(),
                timing: None,
            };
            nodes.memory.tests.insert(name.to_owned(), last);
        };
        let name = |test: &str| format!("image-gc::regression::fixed::{test}");
        remember(&name("own"), "default", &["v1"]);
        remember(&name("takes_it"), "default", &["default"]);
        remember(&name("other_manifest"), "v2", &["v1"]);
        remember(&name("own_on_nodes on old"), "old", &["v1"]);
        remember(&name("on_nodes on old"), "old", &["old", "v1"]);
        let tests = [
            "own",
            "takes_it",
            "other_manifest",
            "own_on_nodes",
            "on_nodes",
        ];
        let tests = tests.map(|test| format!("fixed::{test}"));
        let tests: Vec<_> = tests.iter().map(String::as_str).collect();
        insta::assert_snapshot!(spread(&nodes, &package, &tests).unwrap(), @"
        image-gc::fixed::own: default
        image-gc::fixed::own_on_nodes: default
        image-gc::fixed::takes_it on old: old
        image-gc::fixed::other_manifest on old: old
        image-gc::fixed::on_nodes on old: old
        image-gc::fixed::takes_it on crio: crio
        image-gc::fixed::other_manifest on crio: crio
        image-gc::fixed::on_nodes on crio: crio
        ");
    }
}
