//! The time line of a run: a lane for each slot, with the tests that ran in it one after the
//! other, and of each test what it spent its time on.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use chrono::{DateTime, Utc};

use super::{PHASES, duration, legend, row_id, text};
use crate::failure::{below_side, word};
use crate::report::{Report, TestReport};

/// How many lanes are drawn.
const LANES: usize = 64;
/// The least percentage of the width at which a bar has its test's name above it.
const NAMED: f64 = 4.0;
/// The least percentage of the width at which a bar has parts.
const PARTED: f64 = 0.4;
/// Where a bar is in its lane.
const TRACK: &str = "y=\"16\" height=\"14\"";
/// At most so many times are marked.
const TICKS: f64 = 8.0;
/// Seconds from one mark to the next.
const STEPS: [u32; 14] = [
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
];

/// A test and its place in the report.
type Placed<'a> = (usize, &'a TestReport);

/// A chart for each machine that ran tests: their clocks and days may differ.
pub(super) fn section(report: &Report) -> String {
    let mut machines: BTreeMap<&Path, BTreeMap<usize, Vec<Placed<'_>>>> = BTreeMap::new();
    for (at, test) in report.tests.iter().enumerate() {
        let slots = machines.entry(folder(test)).or_default();
        slots.entry(test.slot).or_default().push((at, test));
    }
    if machines.is_empty() {
        return String::new();
    }
    let mut page = String::from("<section>\n<h2>Time line</h2>\n");
    let several = machines.len() > 1;
    let slots: usize = machines.values().map(BTreeMap::len).sum();
    let more = slots.saturating_sub(LANES);
    let mut left = LANES;
    for (folder, mut slots) in machines {
        if left == 0 {
            break;
        }
        let mut span = Span::of(slots.values().flatten().map(|(_, test)| *test));
        if several {
            let folder = match folder.as_os_str().is_empty() {
                true => report.run.clone(),
                false => folder.display().to_string(),
            };
            let _ = writeln!(page, "<h3>{}</h3>", text(&folder));
        } else {
            span.widen(report.started, report.seconds);
        }
        page.push_str("<div class=\"timeline\">\n");
        for (slot, tests) in slots.iter_mut().take(left) {
            tests.sort_by_key(|(_, test)| test.started);
            page.push_str(&lane(*slot, tests, &span));
        }
        left = left.saturating_sub(slots.len());
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

/// The folder of the run that the test is of; nothing for the report's own. A log is
/// `logs/<package>/<file>` in there.
fn folder(test: &TestReport) -> &Path {
    let log = Path::new(&test.log);
    log.ancestors().nth(3).unwrap_or(Path::new(""))
}

/// The time that a chart is about.
struct Span {
    start: DateTime<Utc>,
    seconds: f64,
}

impl Span {
    fn of<'a>(mut tests: impl Iterator<Item = &'a TestReport>) -> Self {
        let first = tests.next();
        let mut span = Self {
            start: first.map(|test| test.started).unwrap_or_default(),
            seconds: first.map_or(1.0, |test| test.seconds.max(1.0)),
        };
        tests.for_each(|test| span.widen(test.started, test.seconds));
        span
    }

    /// Takes in what began then and took so long.
    fn widen(&mut self, start: DateTime<Utc>, seconds: f64) {
        let end = self.seconds.max(self.at(start) + seconds);
        let earlier = self.at(start).min(0.0);
        self.start = self.start.min(start);
        self.seconds = end - earlier;
    }

    /// Seconds from the start.
    fn at(&self, time: DateTime<Utc>) -> f64 {
        let since = time - self.start;
        since.num_milliseconds() as f64 / 1000.0
    }

    fn percent(&self, seconds: f64) -> f64 {
        (seconds / self.seconds * 100.0).clamp(0.0, 100.0)
    }

    fn step(&self) -> u32 {
        let wide = |step: &u32| self.seconds / f64::from(*step) <= TICKS;
        let longer = || (self.seconds / TICKS / 3600.0).ceil() as u32 * 3600;
        STEPS.into_iter().find(wide).unwrap_or_else(longer)
    }

    /// The seconds that are marked, the start among them.
    fn ticks(&self) -> impl Iterator<Item = u32> {
        let step = self.step();
        let last = (self.seconds / f64::from(step)).floor() as u32;
        (0..=last.min(TICKS as u32)).map(move |tick| tick * step)
    }
}

fn lane(slot: usize, tests: &[Placed<'_>], span: &Span) -> String {
    let count = match tests.len() {
        1 => "1 test".to_owned(),
        count => format!("{count} tests"),
    };
    let mut lane = format!(
        "<div class=\"slot\">slot {slot}</div><svg class=\"lane\" role=\"group\" \
         aria-label=\"slot {slot}: {count} in {}\">",
        duration(span.seconds)
    );
    for tick in span.ticks() {
        let x = span.percent(tick.into());
        let _ = write!(lane, "<line x1=\"{x:.2}%\" x2=\"{x:.2}%\" y2=\"100%\"/>");
    }
    for (at, test) in tests {
        lane.push_str(&bar(*at, test, span));
    }
    lane + "</svg>\n"
}

/// One test: its name, where there is room, and below it its time with the parts that are known.
fn bar(at: usize, test: &TestReport, span: &Span) -> String {
    let start = span.at(test.started);
    let (x, width) = (span.percent(start), span.percent(test.seconds));
    let word = word(test.verdict);
    let from = duration(start);
    let mut told = format!(
        "{word} {}: from {from}, {}",
        test.id(),
        duration(test.seconds)
    );
    let phases = test.phase_list();
    if !phases.is_empty() {
        let _ = write!(told, " ({phases})");
    }
    let told = text(&told);
    let class = if test.verdict.is_red() { "bad" } else { "" };
    let mut bar = format!(
        "<a href=\"#{}\" aria-label=\"{told}\"><svg class=\"{class}\" x=\"{x:.2}%\" \
         width=\"{:.2}%\"><title>{told}</title>",
        row_id(at),
        // So much can be seen and pointed at.
        width.max(0.15),
    );
    if width >= NAMED {
        let mark = if test.verdict.is_red() {
            format!("{word} ")
        } else {
            String::new()
        };
        let name = text(below_side(&test.test, &test.side));
        let _ = write!(
            bar,
            "<svg width=\"93%\"><text y=\"11\">{mark}{name}</text></svg>"
        );
    }
    let _ = write!(bar, "<rect class=\"whole\" {TRACK} width=\"100%\"/>");
    if width >= PARTED {
        bar.push_str(&parts(test));
    }
    bar + "</svg></a>"
}

/// The parts of a test in the order in which they happen. Where several clusters ran side by
/// side they may come to more than the whole, and are told in proportion.
fn parts(test: &TestReport) -> String {
    let of = |phase| {
        test.phases
            .get(&phase)
            .copied()
            .unwrap_or_default()
            .max(0.0)
    };
    let sum: f64 = PHASES.into_iter().map(of).sum();
    let whole = sum.max(test.seconds);
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

fn axis(span: &Span) -> String {
    let mut axis = String::from("<div></div><svg class=\"axis\" aria-hidden=\"true\">");
    let step = span.step();
    for tick in span.ticks() {
        let x = span.percent(tick.into());
        // The last is not cut off at the edge.
        let anchor = match x {
            ..2.0 => "start",
            95.0.. => "end",
            _ => "middle",
        };
        let _ = write!(
            axis,
            "<text x=\"{x:.2}%\" y=\"12\" text-anchor=\"{anchor}\">{}</text>",
            time(tick, step)
        );
    }
    axis + "</svg>\n"
}

/// A time in the unit in which the steps are whole.
fn time(seconds: u32, step: u32) -> String {
    match step {
        _ if seconds == 0 => "0".to_owned(),
        step if step % 60 != 0 => format!("{seconds} s"),
        step if step % 3600 != 0 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use kubenest_protocol::{Phase, Verdict};

    use super::*;
    use crate::report::tests::{at, report};

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
    fn marks_are_few_and_in_a_unit_in_which_they_are_whole() {
        let marks = |seconds| {
            let span = Span {
                start: at(0),
                seconds,
            };
            let ticks: Vec<_> = span.ticks().map(|tick| time(tick, span.step())).collect();
            ticks.join(", ")
        };
        assert_eq!(marks(3.0), "0, 1 s, 2 s, 3 s");
        assert_eq!(marks(126.75), "0, 20 s, 40 s, 60 s, 80 s, 100 s, 120 s");
        assert_eq!(marks(1000.0), "0, 5 min, 10 min, 15 min");
        assert_eq!(marks(20_000.0), "0, 1 h, 2 h, 3 h, 4 h, 5 h");
        assert_eq!(marks(900_000.0).split(", ").count(), 8);
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
