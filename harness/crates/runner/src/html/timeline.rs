//! The time line of a run: a lane for each slot with the tests that ran in it, one after the other,
//! and the phases of each test.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::span::{Span, TRACK, axis, begin_lane};
use super::{PHASES, duration, legend, preparing, row_id, text};
use crate::failure::{below_side, word};
use crate::making::Preparation;
use crate::report::Report;
use crate::test_report::TestReport;

/// How many lanes are drawn at most.
const LANES: usize = 64;
/// A bar has the name of its test above it from this percentage of the width on.
const NAME_PERCENT: f64 = 4.0;
/// A bar shows the phases of its test from this percentage of the width on.
const PARTS_PERCENT: f64 = 0.4;

/// What is drawn for one machine.
#[derive(Default)]
struct Machine<'a> {
    slots: BTreeMap<usize, Vec<Bar<'a>>>,
    tests: Vec<&'a TestReport>,
    preparing: Vec<&'a Preparation>,
}

/// A chart for each machine that ran tests, since their clocks and days may differ.
pub(super) fn section(report: &Report) -> String {
    let mut machines: BTreeMap<&Path, Machine<'_>> = BTreeMap::new();
    for (at, test) in report.tests.iter().enumerate() {
        let machine = machines.entry(folder(test)).or_default();
        machine.tests.push(test);
        for (slot, bar) in bars(at, test) {
            machine.slots.entry(slot).or_default().push(bar);
        }
    }
    for preparing in &report.preparing {
        if let Some(machine) = machines.get_mut(preparing.folder.as_path()) {
            machine.preparing.push(preparing);
        }
    }
    if machines.is_empty() {
        return String::new();
    }
    let mut page = String::from("<section>\n<h2>Time line</h2>\n");
    let several = machines.len() > 1;
    let slots: usize = machines.values().map(|machine| machine.slots.len()).sum();
    let more = slots.saturating_sub(LANES);
    let mut left = LANES;
    for (folder, mut machine) in machines {
        if left == 0 {
            break;
        }
        let mut span = Span::of(machine.tests.iter().copied());
        let stints = machine.slots.values().flatten();
        stints.for_each(|bar| span.widen(bar.started, bar.seconds));
        if several {
            let folder = match folder.as_os_str().is_empty() {
                true => report.run.clone(),
                false => folder.display().to_string(),
            };
            let _ = writeln!(page, "<h3>{}</h3>", text(&folder));
        } else {
            span.widen(report.started, report.seconds);
        }
        for preparing in &machine.preparing {
            span.widen(preparing.started, preparing.seconds);
        }
        page.push_str("<div class=\"timeline\">\n");
        page.push_str(&preparing::lanes(&machine.preparing, &machine.tests, &span));
        for (slot, bars) in machine.slots.iter_mut().take(left) {
            bars.sort_by_key(|bar| bar.started);
            page.push_str(&lane(*slot, bars, &span));
        }
        left = left.saturating_sub(machine.slots.len());
        page.push_str(&axis(&span));
        page.push_str("</div>\n");
    }
    if more > 0 {
        let _ = writeln!(
            page,
            "<p class=\"legend\">{more} more slots are not drawn.</p>"
        );
    }
    let legend = legend();
    page + "<p class=\"legend\">"
        + &legend
        + " <span class=\"key whole\"></span>the rest of a test\
        </p>\n</section>\n"
}

/// The folder of the run that the test belongs to; empty for the report's own run. A log is at
/// `logs/<package>/<file>` in that folder.
fn folder(test: &TestReport) -> &Path {
    let log = Path::new(&test.log);
    log.ancestors().nth(3).unwrap_or(Path::new(""))
}

/// A time during which a test had a slot.
#[derive(Clone, Copy)]
struct Bar<'a> {
    /// The test's place in the report.
    at: usize,
    test: &'a TestReport,
    started: DateTime<Utc>,
    seconds: f64,
    /// Whether the test ended in this slot.
    is_last: bool,
}

/// The times of a test, each with the slot that the test had.
fn bars(at: usize, test: &TestReport) -> Vec<(usize, Bar<'_>)> {
    let whole = Bar {
        at,
        test,
        started: test.started,
        seconds: test.seconds,
        is_last: true,
    };
    if test.stints.is_empty() {
        return vec![(test.slot, whole)];
    }
    let last = test.stints.len() - 1;
    let stints = test.stints.iter().enumerate().map(|(number, stint)| {
        let bar = Bar {
            started: stint.started,
            seconds: stint.seconds,
            is_last: number == last,
            ..whole
        };
        (stint.slot, bar)
    });
    stints.collect()
}

fn lane(slot: usize, bars: &[Bar<'_>], span: &Span) -> String {
    let tests = bars.iter().filter(|bar| bar.is_last).count();
    let count = match tests {
        1 => "1 test".to_owned(),
        count => format!("{count} tests"),
    };
    let told = format!("slot {slot}: {count} in {}", duration(span.seconds()));
    let mut lane = begin_lane(&format!("slot {slot}"), &told, span);
    for bar in bars {
        lane.push_str(&draw(bar, span));
    }
    lane + "</svg>\n"
}

/// One test: its name if there is room, and below it a bar with the phases that are known.
fn draw(bar: &Bar<'_>, span: &Span) -> String {
    let test = bar.test;
    let start = span.at(bar.started);
    let (x, width) = (span.percent(start), span.percent(bar.seconds));
    let word = word(test.verdict);
    let from = duration(start);
    let mut told = format!(
        "{word} {}: from {from}, {}",
        test.title(),
        duration(bar.seconds)
    );
    let phases = test.phase_list();
    if !bar.is_last {
        told.push_str(", then its slot was another test's");
    } else if !phases.is_empty() {
        let _ = write!(told, " ({phases})");
    }
    let told = text(&told);
    let class = if test.verdict.is_red() { "bad" } else { "" };
    let mut drawn = format!(
        "<a href=\"#{}\" aria-label=\"{told}\"><svg class=\"{class}\" x=\"{x:.2}%\" \
         width=\"{:.2}%\"><title>{told}</title>",
        row_id(bar.at),
        // A narrower bar could not be seen or pointed at.
        width.max(0.15),
    );
    if width >= NAME_PERCENT {
        let mark = if test.verdict.is_red() {
            format!("{word} ")
        } else {
            String::new()
        };
        let name = text(below_side(&test.test, &test.side));
        let _ = write!(
            drawn,
            "<svg width=\"93%\"><text y=\"11\">{mark}{name}</text></svg>"
        );
    }
    let _ = write!(drawn, "<rect class=\"whole\" {TRACK} width=\"100%\"/>");
    if width >= PARTS_PERCENT && bar.is_last {
        drawn.push_str(&parts(test, bar.seconds));
    }
    drawn + "</svg></a>"
}

/// The phases of a test in the order in which they happen. Phases of clusters that ran side by side
/// may add up to more than the whole; then all are scaled down.
fn parts(test: &TestReport, seconds: f64) -> String {
    let of = |phase| {
        test.phases
            .get(&phase)
            .copied()
            .unwrap_or_default()
            .max(0.0)
    };
    let sum: f64 = PHASES.into_iter().map(of).sum();
    let whole = sum.max(seconds);
    let (mut parts, mut left) = (String::new(), 0.0);
    for phase in PHASES {
        let width = of(phase) / whole * 100.0;
        if width > 0.0 {
            let _ = write!(
                parts,
                "<rect class=\"{phase}\" {TRACK} x=\"{left:.1}%\" width=\"{width:.1}%\"/>"
            );
            left += width;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use kubenest_protocol::{Phase, Verdict};

    use super::*;
    use crate::making::{Making, tests::preparation};
    use crate::report::tests::report;
    use crate::stay::Stint;
    use crate::test_report::tests::at;

    fn test(slot: usize, started: i64, seconds: f64, verdict: Verdict) -> TestReport {
        TestReport {
            slot,
            started: at(started),
            seconds,
            verdict,
            ..report().tests.remove(0)
        }
    }

    fn of(tests: Vec<TestReport>) -> Report {
        Report { tests, ..report() }
    }

    #[test]
    fn each_slot_has_a_lane_with_its_tests_and_their_parts() {
        let mut failed = test(1, 5, 80.0, Verdict::Failed);
        failed.phases = [
            (Phase::Image, 60.0),
            (Phase::Boot, 60.0),
            (Phase::Body, 40.0),
        ]
        .into();
        insta::assert_snapshot!(section(&of(vec![
            test(0, 60, 60.0, Verdict::Passed),
            test(0, 0, 50.0, Verdict::Passed),
            failed,
            test(1, 86, 1.0, Verdict::Skipped),
        ])));
    }

    #[test]
    fn what_was_prepared_has_lanes_of_its_own_and_a_test_none_meanwhile() {
        let mut made = test(1, 0, 12.0, Verdict::Passed);
        let stint = |slot, second, seconds| Stint {
            slot,
            started: at(second),
            seconds,
        };
        made.stints = vec![stint(0, 0, 2.0), stint(1, 32, 10.0)];
        made.unprepared = vec![Making {
            name: "kind <0.26.0>".to_owned(),
            started: at(2),
            seconds: 30.0,
            failed: None,
        }];
        let mut report = of(vec![made, test(0, 3, 40.0, Verdict::Passed)]);
        report.preparing = vec![preparation()];
        insta::assert_snapshot!(section(&report));
    }

    #[test]
    fn what_ran_on_another_machine_has_a_chart_of_its_own() {
        let mut other = test(0, 90_000, 30.0, Verdict::Passed);
        other.log = "/runs/<b>/logs/image-gc/a.log".to_owned();
        let page = section(&of(vec![test(0, 0, 10.0, Verdict::Passed), other]));
        assert_eq!(page.matches("<div class=\"timeline\">").count(), 2);
        assert!(page.contains("<h3>/runs/&lt;b&gt;</h3>"), "{page}");
        assert!(
            page.contains("aria-label=\"slot 0: 1 test in 30.0 s\""),
            "{page}"
        );
    }

    #[test]
    fn a_long_run_of_many_slots_stays_readable() {
        let tests = (0..5000).map(|at| test(at % 100, at as i64, 1.0, Verdict::Passed));
        let tests: Vec<_> = tests.collect();
        let all = section(&of(tests[..LANES].to_vec()));
        assert_eq!(all.matches("class=\"lane\"").count(), LANES);
        assert!(!all.contains("not drawn"), "{all}");
        let page = section(&of(tests));
        assert_eq!(page.matches("class=\"lane\"").count(), LANES);
        assert!(page.contains("36 more slots"), "{page}");
        assert!(page.len() < 2_000_000, "{} bytes", page.len());
    }
}
