//! The lanes of the pieces that were made for tests: as many as were made side by side.

use std::fmt::Write;

use super::span::{Span, TRACK, begin_lane};
use super::{duration, text};
use crate::making::{Making, Preparation};
use crate::test_report::TestReport;

/// How many lanes are drawn at most.
const LANES: usize = 12;
/// A bar has its name above it from this percentage of the width on.
const NAME_PERCENT: f64 = 4.0;

/// The lanes of what was made before the tests, and of what tests had to make themselves.
pub(super) fn lanes(preparing: &[&Preparation], tests: &[&TestReport], span: &Span) -> String {
    let pieces = preparing.iter().flat_map(|one| &one.pieces);
    let by_tests = tests.iter().flat_map(|test| &test.unprepared);
    let mut pieces: Vec<_> = pieces.chain(by_tests).collect();
    pieces.sort_by_key(|piece| piece.started);
    let mut page = String::new();
    if !preparing.is_empty() {
        page.push_str(&begin_lane("preparing", "preparing", span));
        for one in preparing {
            let bar = Making {
                name: "preparing".to_owned(),
                started: one.started,
                seconds: one.seconds,
                failed: None,
            };
            page.push_str(&draw(&bar, span));
        }
        page.push_str("</svg>\n");
    }
    for (number, row) in rows(&pieces, span).iter().take(LANES).enumerate() {
        let name = match (preparing.is_empty(), number) {
            (true, 0) => "preparing",
            _ => "",
        };
        let told = format!("what was made, lane {number}");
        page.push_str(&begin_lane(name, &told, span));
        row.iter()
            .for_each(|piece| page.push_str(&draw(piece, span)));
        page.push_str("</svg>\n");
    }
    page
}

/// The pieces in the order in which they began, in as few rows as have room for them.
fn rows<'a>(pieces: &[&'a Making], span: &Span) -> Vec<Vec<&'a Making>> {
    let mut rows: Vec<Vec<&Making>> = Vec::new();
    for piece in pieces {
        let has_room = |row: &Vec<&Making>| {
            let end = |last: &&Making| span.at(last.started) + last.seconds;
            row.last()
                .is_none_or(|last| end(last) <= span.at(piece.started))
        };
        match rows.iter_mut().find(|row| has_room(row)) {
            Some(row) => row.push(piece),
            None => rows.push(vec![piece]),
        }
    }
    rows
}

fn draw(piece: &Making, span: &Span) -> String {
    let start = span.at(piece.started);
    let (x, width) = (span.percent(start), span.percent(piece.seconds));
    let (from, took) = (duration(start), duration(piece.seconds));
    let mut told = format!("{}: from {from}, {took}", piece.name);
    if let Some(failed) = &piece.failed {
        let _ = write!(told, ", not made: {failed}");
    }
    let told = text(&told);
    let class = if piece.failed.is_some() { "bad" } else { "" };
    let mut bar = format!(
        "<svg class=\"{class}\" x=\"{x:.2}%\" width=\"{:.2}%\"><title>{told}</title>",
        width.max(0.15),
    );
    if width >= NAME_PERCENT {
        let name = text(&piece.name);
        let _ = write!(bar, "<svg width=\"93%\"><text y=\"11\">{name}</text></svg>");
    }
    let _ = write!(bar, "<rect class=\"preparing\" {TRACK} width=\"100%\"/>");
    bar + "</svg>"
}
