//! The span of time that a chart shows, and the marks on its axis.

use std::fmt::Write;

use chrono::{DateTime, Utc};

use crate::test_report::TestReport;

/// Position and height of a bar in its lane.
pub(super) const TRACK: &str = "y=\"16\" height=\"14\"";
/// How many times are marked at most.
const TICKS: f64 = 8.0;
/// The allowed distances between two marks, in seconds.
const STEPS: [u32; 14] = [
    1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
];

/// The span of time that a chart shows.
pub(super) struct Span {
    start: DateTime<Utc>,
    seconds: f64,
}

impl Span {
    /// The span from the start of the first of these tests to the end of the last.
    pub(super) fn of<'a>(mut tests: impl Iterator<Item = &'a TestReport>) -> Self {
        let first = tests.next();
        let mut span = Self {
            start: first.map(|test| test.started).unwrap_or_default(),
            seconds: first.map_or(1.0, |test| test.seconds.max(1.0)),
        };
        tests.for_each(|test| span.widen(test.started, test.seconds));
        span
    }

    /// Extends the span to something that began at `start` and took `seconds`.
    pub(super) fn widen(&mut self, start: DateTime<Utc>, seconds: f64) {
        let end = self.seconds.max(self.at(start) + seconds);
        let earlier = self.at(start).min(0.0);
        self.start = self.start.min(start);
        self.seconds = end - earlier;
    }

    /// Seconds from the start.
    pub(super) fn at(&self, time: DateTime<Utc>) -> f64 {
        let since = time - self.start;
        since.num_milliseconds() as f64 / 1000.0
    }

    /// The length of the span.
    pub(super) fn seconds(&self) -> f64 {
        self.seconds
    }

    /// A number of seconds as a percentage of the span.
    pub(super) fn percent(&self, seconds: f64) -> f64 {
        (seconds / self.seconds * 100.0).clamp(0.0, 100.0)
    }

    fn step(&self) -> u32 {
        let wide = |step: &u32| self.seconds / f64::from(*step) <= TICKS;
        let longer = || (self.seconds / TICKS / 3600.0).ceil() as u32 * 3600;
        STEPS.into_iter().find(wide).unwrap_or_else(longer)
    }

    /// The seconds that have a mark, the start included.
    pub(super) fn ticks(&self) -> impl Iterator<Item = u32> {
        let step = self.step();
        let last = (self.seconds / f64::from(step)).floor() as u32;
        (0..=last.min(TICKS as u32)).map(move |tick| tick * step)
    }
}

/// The start of a lane: its name, and a line for each mark.
pub(super) fn begin_lane(name: &str, told: &str, span: &Span) -> String {
    let mut lane = format!(
        "<div class=\"slot\">{name}</div><svg class=\"lane\" role=\"group\" \
         aria-label=\"{told}\">"
    );
    for tick in span.ticks() {
        let x = span.percent(tick.into());
        let _ = write!(lane, "<line x1=\"{x:.2}%\" x2=\"{x:.2}%\" y2=\"100%\"/>");
    }
    lane
}

/// The axis with the marks, below all lanes.
pub(super) fn axis(span: &Span) -> String {
    let mut axis = String::from("<div></div><svg class=\"axis\" aria-hidden=\"true\">");
    let step = span.step();
    for tick in span.ticks() {
        let x = span.percent(tick.into());
        // Aligns the last label to the right, so that the edge does not cut it off.
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

/// A time in the largest unit in which every step is a whole number.
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
    use super::*;
    use crate::test_report::tests::at;

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
}
