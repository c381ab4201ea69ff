//! The matrix at the top of a report: each behaviour, by the versions on which it was tested.
//!
//! A test of an affected side passes when the failure that it documents shows. The matrix calls
//! that "red, as documented" and not passed, since it speaks about the version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use kubenest_protocol::Verdict;

use super::{name, row_id, text};
use crate::failure::{below_side, word};
use crate::package::{Side, side_name};
use crate::test_report::TestReport;

/// How many versions of a suite have a column at most.
const COLUMNS: usize = 12;
/// How many behaviours of a suite have a row at most.
const ROWS: usize = 40;

/// The versions that a test ran on, such as containerd = 2.0.2.
type Versions = BTreeMap<String, String>;
/// A test and its place in the report.
type IndexedTest<'a> = (usize, &'a TestReport);

/// A matrix for each suite that compares versions: it has sides, or it ran on several versions.
pub(super) fn section(all: &[TestReport]) -> String {
    let mut matrices = String::new();
    let mut any_sides = false;
    // What ran on the nodes of the command line has a table of its own.
    let own = all
        .iter()
        .enumerate()
        .filter(|(_, test)| test.node.is_none());
    let placed: Vec<IndexedTest<'_>> = own.collect();
    for suite in placed.chunk_by(|(_, a), (_, b)| a.suite == b.suite) {
        let sides = suite.iter().any(|(_, test)| has_side(test));
        let columns = columns(suite);
        if sides
            || columns
                .iter()
                .filter(|versions| !versions.is_empty())
                .count()
                > 1
        {
            matrices.push_str(&matrix(suite, &columns));
            any_sides |= sides;
        }
    }
    if matrices.is_empty() {
        return matrices;
    }
    let legend = match any_sides {
        true => {
            "<p class=\"legend\"><b class=\"documented\">red, as documented</b>: the version has \
             the failure, and the test met it. <b class=\"good\">green</b>: the version does not \
             have it.</p>\n"
        }
        false => "",
    };
    format!("<section>\n<h2>Behaviour by version</h2>\n{matrices}{legend}</section>\n")
}

fn has_side(test: &TestReport) -> bool {
    test.side != side_name(None)
}

/// The versions that a suite ran on, older ones first; tests that name no version come last.
fn columns<'a>(suite: &[IndexedTest<'a>]) -> Vec<&'a Versions> {
    let columns: BTreeSet<_> = suite.iter().map(|(_, test)| &test.versions).collect();
    let mut columns: Vec<_> = columns.into_iter().collect();
    columns.sort_by_cached_key(|versions| (versions.is_empty(), age(versions)));
    columns
}

/// The key by which versions are sorted, so that 1.10 comes after 1.9.
fn age(versions: &Versions) -> Vec<(&str, Vec<u64>)> {
    let numbers = |version: &str| {
        let numbers = version.split(|letter: char| !letter.is_ascii_digit());
        numbers.filter_map(|number| number.parse().ok()).collect()
    };
    let parts = versions.iter();
    parts
        .map(|(part, version)| (part.as_str(), numbers(version)))
        .collect()
}

fn matrix(suite: &[IndexedTest<'_>], columns: &[&Versions]) -> String {
    let shown = visible_columns(columns, suite);
    let same = common_versions(columns);
    let mut rows = rows(suite);
    let more = rows.len().saturating_sub(ROWS);
    if more > 0 {
        rows.sort_by_key(|row| !row.tests.iter().any(|(_, test)| test.verdict.is_red()));
        rows.truncate(ROWS);
    }
    let mut page = format!(
        "<div class=\"wide\"><table class=\"matrix\">\n<caption>{}",
        text(&suite[0].1.suite)
    );
    if !same.is_empty() {
        let same: Vec<_> = same.iter().map(|(a, b)| format!("{a} {b}")).collect();
        let _ = write!(page, " <span>{}</span>", text(&same.join(", ")));
    }
    page.push_str("</caption>\n<thead><tr><th scope=\"col\">Behaviour</th>");
    for versions in &shown {
        let _ = write!(page, "<th scope=\"col\">{}</th>", heading(versions, &same));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in &rows {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", name(row.behaviour));
        for versions in &shown {
            let here = row.tests.iter();
            let here = here.filter(|(_, test)| test.versions == **versions);
            let _ = write!(page, "<td>{}</td>", cell(here.copied()));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
    for (count, what) in [
        (more, "behaviours"),
        (columns.len() - shown.len(), "sets of versions"),
    ] {
        if count > 0 {
            let _ = writeln!(
                page,
                "<p class=\"legend\">{count} more {what} are in the table of all tests.</p>"
            );
        }
    }
    page
}

/// The columns for which there is room; columns with a red cell take precedence.
fn visible_columns<'a>(columns: &[&'a Versions], suite: &[IndexedTest<'_>]) -> Vec<&'a Versions> {
    let red = suite.iter().filter(|(_, test)| test.verdict.is_red());
    let red: BTreeSet<_> = red.map(|(_, test)| &test.versions).collect();
    let (mut first, others): (Vec<_>, Vec<_>) = columns.iter().partition(|of| red.contains(**of));
    first.extend(others);
    first.truncate(COLUMNS);
    let first: BTreeSet<&Versions> = first.into_iter().collect();
    let mut shown = columns.to_vec();
    shown.retain(|versions| first.contains(versions));
    shown
}

/// The versions that all columns share, if there are several columns.
fn common_versions(columns: &[&Versions]) -> Versions {
    let mut told = columns.iter().filter(|versions| !versions.is_empty());
    let (Some(first), Some(_)) = (told.next(), told.clone().next()) else {
        return Versions::new();
    };
    let mut same = (*first).clone();
    same.retain(|part, version| told.clone().all(|other| other.get(part) == Some(version)));
    same
}

fn heading(versions: &Versions, same: &Versions) -> String {
    if versions.is_empty() {
        return "no version told".to_owned();
    }
    let own = versions
        .iter()
        .filter(|(part, _)| !same.contains_key(*part));
    let own: Vec<_> = own
        .map(|(part, version)| text(&format!("{part} {version}")))
        .collect();
    own.join("<br>")
}

/// The tests of one behaviour, on all versions.
struct Row<'a> {
    behaviour: &'a str,
    tests: Vec<IndexedTest<'a>>,
}

/// The behaviours, in the order in which the tests first name them.
fn rows<'a>(suite: &[IndexedTest<'a>]) -> Vec<Row<'a>> {
    let mut rows: Vec<Row<'a>> = Vec::new();
    let mut known = BTreeMap::new();
    for (at, test) in suite {
        let behaviour = behaviour(test);
        let row = *known.entry((&test.target, behaviour)).or_insert(rows.len());
        if row == rows.len() {
            rows.push(Row {
                behaviour,
                tests: vec![],
            });
        }
        rows[row].tests.push((*at, test));
    }
    rows
}

/// A test's name without its side and without rstest's `case_1_containerd_2_0`, which names the
/// version.
fn behaviour(test: &TestReport) -> &str {
    let below = below_side(&test.test, &test.side);
    match below.rsplit_once("::") {
        Some((behaviour, case)) if is_case(case) => behaviour,
        _ => below,
    }
}

fn is_case(part: &str) -> bool {
    let number = part.strip_prefix("case_").unwrap_or_default();
    number.starts_with(|letter: char| letter.is_ascii_digit())
}

/// The cell of a behaviour on these versions. The worst state comes first, and tests with the same
/// state are counted.
fn cell<'a>(tests: impl Iterator<Item = IndexedTest<'a>>) -> String {
    let mut by_state: BTreeMap<State<'a>, Vec<IndexedTest<'a>>> = BTreeMap::new();
    for (at, test) in tests {
        by_state
            .entry(State::of(test))
            .or_default()
            .push((at, test));
    }
    let links = by_state.into_iter().map(|(state, tests)| {
        let (at, first) = tests[0];
        let count = match tests.len() {
            1 => String::new(),
            count => format!(" ×{count}"),
        };
        let side = match state.side {
            "" => String::new(),
            side => format!(" <small>{}</small>", text(side)),
        };
        format!(
            "<a class=\"{}\" href=\"#{}\" title=\"{}\">{}{count}{side}</a>",
            state.class,
            row_id(at),
            text(&first.id()),
            state.words,
        )
    });
    links.collect()
}

/// What a test says about the versions it ran on. The order of the variants puts the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State<'a> {
    rank: u8,
    class: &'static str,
    words: &'static str,
    /// The side on which the test did not end as it should.
    side: &'a str,
}

impl<'a> State<'a> {
    fn of(test: &'a TestReport) -> Self {
        let is_affected = test.side == side_name(Some(Side::Affected));
        let side = if has_side(test) { &test.side } else { "" };
        let (rank, class, words, side) = match test.verdict {
            Verdict::Passed if is_affected => (2, "documented", "red, as documented", ""),
            Verdict::Passed if has_side(test) => (2, "good", "green", ""),
            Verdict::Passed => (2, "good", "passed", ""),
            Verdict::Skipped => (1, "skipped", "skipped", side),
            Verdict::Ignored => (1, "skipped", "ignored", side),
            red => (0, "bad", word(red), side),
        };
        Self {
            rank,
            class,
            words,
            side,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_report::tests::results;

    fn test(name: &str, verdict: Verdict, versions: &[(&str, &str)]) -> TestReport {
        let side = name.split("::").next().unwrap_or_default();
        let side = if ["affected", "fixed"].contains(&side) {
            side
        } else {
            "-"
        };
        let versions = versions.iter();
        TestReport {
            test: name.to_owned(),
            side: side.to_owned(),
            verdict,
            versions: versions
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
            ..results().remove(0)
        }
    }

    fn on(name: &str, verdict: Verdict, containerd: &str) -> TestReport {
        let versions = [("containerd", containerd), ("kubernetes", "1.32.1")];
        test(name, verdict, &versions)
    }

    #[test]
    fn a_version_with_the_failure_is_red_as_documented_and_never_pass() {
        let page = section(&[
            on(
                "affected::images_load::case_1_old",
                Verdict::Passed,
                "1.7.1",
            ),
            on(
                "affected::images_load::case_2_new",
                Verdict::Passed,
                "2.0.2",
            ),
            on(
                "affected::images_load::case_3_new",
                Verdict::Passed,
                "2.0.2",
            ),
            on("affected::pods_start", Verdict::Failed, "1.7.1"),
            test("affected::it_is_refused", Verdict::Passed, &[]),
            on("fixed::images_load", Verdict::Passed, "2.1.0"),
            on("fixed::pods_start", Verdict::Skipped, "2.1.0"),
            on("fixed::pods_start", Verdict::Setup, "2.1.0"),
        ]);
        assert!(!page.contains("PASS"), "{page}");
        insta::assert_snapshot!(page);
    }

    #[test]
    fn a_project_without_sides_has_a_matrix_only_of_several_versions() {
        let tests = ["case_1_k8s_1_9", "case_2_k8s_1_10"].map(|case| {
            let version = case[11..].replace('_', ".");
            let name = format!("it_scales::{case}");
            test(&name, Verdict::Passed, &[("kubernetes", &version)])
        });
        assert_eq!(section(&tests[..1]), "");
        let page = section(&[tests[1].clone(), tests[0].clone()]);
        insta::assert_snapshot!(page);
    }

    #[test]
    fn what_is_red_is_shown_of_more_than_there_is_room_for() {
        let mut tests: Vec<_> = (0..5000)
            .map(|at| {
                on(
                    &format!("affected::b{at}"),
                    Verdict::Passed,
                    &format!("1.{at}"),
                )
            })
            .collect();
        tests[4999] = on("affected::last", Verdict::Failed, "2.0.2");
        let page = section(&tests);
        assert_eq!(page.matches("<th scope=\"row\">").count(), ROWS);
        assert_eq!(page.matches("<th scope=\"col\">").count(), 1 + COLUMNS);
        assert!(page.contains("href=\"#row-4999\""), "{page}");
        assert!(page.contains("4960 more behaviours"), "{page}");
        assert!(page.len() < 50_000, "{} bytes", page.len());
    }
}
