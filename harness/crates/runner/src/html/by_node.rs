//! The table at the top of the report of a run on several nodes: each test, by node.

use std::fmt::Write;

use kubenest_protocol::Verdict;

use super::{name, row_id, text};
use crate::by_node::{ByNode, Cell, Extent};
use crate::package::{Side, side_name};
use crate::report::Report;

/// How many tests have a row at most; those that are red have one first.
const ROWS: usize = 200;

/// The table; nothing for a run without such nodes.
pub(super) fn section(report: &Report) -> String {
    let Some(matrix) = ByNode::of(report) else {
        return String::new();
    };
    let mut page = String::from(
        "<section>\n<h2>Tests by node</h2>\n<div class=\"wide\"><table class=\"matrix\">\n\
         <thead><tr><th scope=\"col\">Test</th>",
    );
    for node in &matrix.nodes {
        let _ = write!(page, "<th scope=\"col\">{}</th>", text(node));
    }
    page.push_str("</tr></thead>\n");
    let shown = &matrix.rows[..matrix.rows.len().min(ROWS)];
    for group in shown.chunk_by(|a, b| a.extent == b.extent) {
        let _ = writeln!(
            page,
            "<tbody>\n<tr><th scope=\"rowgroup\" colspan=\"{}\" class=\"suite\">{}</th></tr>",
            matrix.nodes.len() + 1,
            heading(group[0].extent)
        );
        for row in group {
            let suite = text(row.suite);
            let side = match row.side {
                "-" => String::new(),
                side => format!(" <small>{}</small>", text(side)),
            };
            let name = name(row.name);
            let _ = write!(page, "<tr><th scope=\"row\">{suite} {name}{side}</th>");
            row.cells.iter().for_each(|one| page.push_str(&cell(one)));
            page.push_str("</tr>\n");
        }
        page.push_str("</tbody>\n");
    }
    page.push_str("</table></div>\n");
    let more = matrix.rows.len() - shown.len();
    if more > 0 {
        let _ = writeln!(
            page,
            "<p class=\"legend\">{more} more tests are in the table of all tests.</p>"
        );
    }
    if matrix.rows.is_empty() {
        page.push_str("<p class=\"legend\">Each test names its own node, and ran once.</p>\n");
    }
    page + "</section>\n"
}

fn heading(extent: Extent) -> &'static str {
    match extent {
        Extent::Some => "Fails on some nodes only",
        Extent::Everywhere => "Fails wherever it ran",
        Extent::NowhereIncomplete => "Passes where it ran",
        Extent::Nowhere => "Passes on every node",
    }
}

fn cell(cell: &Cell<'_>) -> String {
    let (at, test) = match cell {
        Cell::Ended(at, test) => (*at, test),
        Cell::Elsewhere(nodes) => {
            let nodes = text(&format!("its manifest states {nodes}"));
            return format!(
                "<td><span class=\"skipped\" title=\"{nodes}\">does not apply</span></td>"
            );
        }
        Cell::Absent => return "<td></td>".to_owned(),
    };
    let (class, word) = match test.verdict {
        Verdict::Passed if test.side == side_name(Some(Side::Affected)) => {
            ("documented", "red, as documented")
        }
        Verdict::Passed => ("good", "passed"),
        Verdict::Ignored => ("skipped", "ignored"),
        Verdict::Skipped => ("skipped", "skipped"),
        _ => ("bad", cell.word()),
    };
    let (id, title) = (row_id(at), text(&test.title()));
    format!("<td><a class=\"{class}\" href=\"#{id}\" title=\"{title}\">{word}</a></td>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::by_node::tests::matrix;

    #[test]
    fn each_node_has_a_column_and_what_differs_comes_first() {
        insta::assert_snapshot!(section(&matrix()));
    }

    #[test]
    fn another_run_has_no_such_table() {
        assert_eq!(section(&crate::report::tests::report()), "");
    }
}
