//! The results of a run on several nodes as a table: a row for each test, a column for each node.

use std::collections::BTreeMap;

use kubenest_protocol::Verdict;

use crate::failure::{below_side, word};
use crate::report::Report;
use crate::test_report::TestReport;

/// The table of a run.
pub(crate) struct ByNode<'a> {
    /// The nodes' names.
    pub(crate) nodes: Vec<&'a str>,
    /// The tests; first those that are red on some nodes only.
    pub(crate) rows: Vec<Row<'a>>,
}

/// One test, on all nodes.
pub(crate) struct Row<'a> {
    pub(crate) suite: &'a str,
    pub(crate) side: &'a str,
    /// Its name without its side.
    pub(crate) name: &'a str,
    pub(crate) extent: Extent,
    /// A cell for each node.
    pub(crate) cells: Vec<Cell<'a>>,
}

/// How a test ended on one node.
#[derive(Clone, Copy)]
pub(crate) enum Cell<'a> {
    /// It ran; with its place in the report.
    Ended(usize, &'a TestReport),
    /// Its manifest states other nodes, namely these.
    Elsewhere(&'a str),
    /// It did not run: it was left out, or the run ended before.
    Absent,
}

/// On how many of its nodes a test is red. The order of the variants is that of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Extent {
    /// On some, and on others it passed: what the nodes differ in makes the difference.
    Some,
    /// Wherever it ran.
    Everywhere,
    /// Nowhere, but it did not run on each node.
    NowhereIncomplete,
    /// Nowhere, and it ran on all.
    Nowhere,
}

/// Suite, target and name of a test.
type Key<'a> = (&'a str, &'a str, &'a str);

impl<'a> ByNode<'a> {
    /// The table of a run on several nodes; `None` for other runs.
    pub(crate) fn of(report: &'a Report) -> Option<Self> {
        let nodes: Vec<_> = report.nodes.iter().map(|node| node.name.as_str()).collect();
        let column = |name: &str| nodes.iter().position(|node| *node == name);
        let mut cells: BTreeMap<Key<'_>, Vec<Cell<'_>>> = BTreeMap::new();
        let mut put = |key, node: &str, cell| {
            let row = cells
                .entry(key)
                .or_insert_with(|| vec![Cell::Absent; nodes.len()]);
            if let Some(at) = column(node) {
                row[at] = cell;
            }
        };
        for one in &report.inapplicable {
            let key = (one.suite.as_str(), one.target.as_str(), one.test.as_str());
            put(key, &one.node, Cell::Elsewhere(&one.applies_to));
        }
        for (at, test) in report.tests.iter().enumerate() {
            let key = (
                test.suite.as_str(),
                test.target.as_str(),
                test.test.as_str(),
            );
            if let Some(node) = &test.node {
                put(key, node, Cell::Ended(at, test));
            }
        }
        if nodes.is_empty() {
            return None;
        }
        let rows = cells.into_iter().map(|((suite, _, test), cells)| {
            let ended = cells.iter().find_map(|cell| cell.test());
            let side = ended.map_or("-", |test| test.side.as_str());
            Row {
                suite,
                side,
                name: below_side(test, side),
                extent: Extent::of(&cells),
                cells,
            }
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort_by_key(|row| row.extent);
        Some(Self { nodes, rows })
    }

    /// The table for a terminal: first the nodes, each with a line that leads to its column. Tests
    /// that passed on every node are counted only.
    pub(crate) fn text(&self) -> String {
        let mut lines = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            lines.push(format!("{}{node}", "|        ".repeat(at)));
        }
        lines.push("|        ".repeat(self.nodes.len()));
        let told = self.rows.iter().filter(|row| row.extent != Extent::Nowhere);
        for row in told {
            let words = row.cells.iter().map(|cell| format!("{:<9}", cell.word()));
            let Row {
                suite, side, name, ..
            } = row;
            let note = match row.extent {
                Extent::Some => "  <- not on all nodes",
                _ => "",
            };
            let words: String = words.collect();
            lines.push(format!("{words}{suite}  {side}  {name}{note}"));
        }
        let passed = self
            .rows
            .iter()
            .filter(|row| row.extent == Extent::Nowhere)
            .count();
        let all: String = self
            .nodes
            .iter()
            .map(|_| format!("{:<9}", "PASS"))
            .collect();
        match passed {
            0 if self.rows.is_empty() => {
                lines.push("each test names its own node, and ran once".to_owned())
            }
            0 => {}
            1 => lines.push(format!("{all}1 test")),
            passed => lines.push(format!("{all}{passed} tests")),
        }
        let lines = lines.iter().map(|line| line.trim_end());
        lines.collect::<Vec<_>>().join("\n")
    }
}

impl<'a> Cell<'a> {
    pub(crate) fn test(&self) -> Option<&'a TestReport> {
        match self {
            Self::Ended(_, test) => Some(test),
            Self::Elsewhere(_) | Self::Absent => None,
        }
    }

    /// The cell as one word.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Ended(_, test) => word(test.verdict),
            Self::Elsewhere(_) => "-",
            Self::Absent => "",
        }
    }
}

impl Extent {
    fn of(cells: &[Cell<'_>]) -> Self {
        let ended: Vec<_> = cells.iter().filter_map(Cell::test).collect();
        let red = ended.iter().filter(|test| test.verdict.is_red()).count();
        let passed = ended
            .iter()
            .filter(|test| test.verdict == Verdict::Passed)
            .count();
        match (red, passed) {
            (1.., 1..) => Self::Some,
            (1.., 0) => Self::Everywhere,
            (0, passed) if passed == cells.len() => Self::Nowhere,
            (0, _) => Self::NowhereIncomplete,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::nodes::{Inapplicable, tests::node};
    use crate::report::tests::report;

    /// A run on three nodes.
    pub(crate) fn matrix() -> Report {
        let mut report = report();
        let names = [
            "v1.32.1-containerd-2.0.2",
            "v1.34.3-containerd-2.3.4",
            "v1.34.3-cri-o-1.34.0",
        ];
        report.nodes = names.map(|name| node(name, &[])).into();
        let sample = report.tests.remove(0);
        let ends = [
            ("affected::is_lost", "P--"),
            ("fixed::boots", "SSS"),
            ("fixed::is_kept", "PPF"),
            ("fixed::is_pinned", "PP "),
            ("fixed::is_there", "PPP"),
            ("fixed::is_told", "PPP"),
        ];
        report.tests.clear();
        for (test, ends) in ends {
            for (end, name) in ends.chars().zip(names) {
                let verdict = match end {
                    'P' => Verdict::Passed,
                    'F' => Verdict::Failed,
                    'S' => Verdict::Setup,
                    '-' => {
                        report.inapplicable.push(Inapplicable {
                            suite: "image-gc".to_owned(),
                            target: "regression".to_owned(),
                            test: test.to_owned(),
                            node: name.to_owned(),
                            applies_to: "containerd <2.1".to_owned(),
                        });
                        continue;
                    }
                    _ => continue,
                };
                report.tests.push(TestReport {
                    test: test.to_owned(),
                    side: test.split("::").next().unwrap_or_default().to_owned(),
                    node: Some(name.to_owned()),
                    verdict,
                    ..sample.clone()
                });
            }
        }
        // A test that names its own node is in no row.
        report.tests.push(sample);
        report
    }

    #[test]
    fn what_is_red_on_some_nodes_only_comes_first() {
        insta::assert_snapshot!(ByNode::of(&matrix()).unwrap().text());
    }

    #[test]
    fn only_a_run_on_several_nodes_has_the_table() {
        let mut report = report();
        assert!(ByNode::of(&report).is_none());
        report.nodes = vec![node("one", &[])];
        let text = ByNode::of(&report).unwrap().text();
        insta::assert_snapshot!(text, @"
        one
        |
        each test names its own node, and ran once
        ");
    }
}
