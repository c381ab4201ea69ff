//! What a person sees while things are made for tests: first the whole plan and about how long it
//! takes, then what is done and what is left. A terminal gets a live line, other output a line now
//! and then.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use console::Style;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kubenest_protocol::preparing::{Event, Piece, Plan};

use crate::out::say;

/// Without a terminal, the remaining work is printed this often.
const NOW_AND_THEN: Duration = Duration::from_secs(60);
/// How many of the pieces in progress the live line names at most.
const MOST_NAMED: usize = 3;

/// The view of one preparation.
pub struct PreparingView {
    progress: Progress,
    begun: Instant,
    bar: ProgressBar,
    mentioned: Instant,
}

/// The state of a preparation; times are seconds since its start.
struct Progress {
    plan: Plan,
    running: BTreeMap<usize, f64>,
    made: Vec<usize>,
    failed: Vec<usize>,
}

impl PreparingView {
    /// Prints what is to be made.
    ///
    /// # Panics
    /// Never: the line's template is a constant.
    pub fn begin(plan: &Plan) -> Self {
        say(&announcement(plan));
        let bar = ProgressBar::new_spinner();
        if is_ci() {
            // Some CI systems provide a terminal, but people read its output as a file.
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{spinner} {wide_msg}");
        bar.set_style(style.expect("the template must be valid"));
        bar.enable_steady_tick(Duration::from_millis(100));
        let now = Instant::now();
        Self {
            progress: Progress::new(plan.clone()),
            begun: now,
            bar,
            mentioned: now,
        }
    }

    /// Shows an event.
    pub fn take(&mut self, event: &Event) {
        let now = self.seconds();
        if let Some(line) = self.progress.take(event, now) {
            let color = match event {
                Event::Failed { .. } => Style::new().red().bold(),
                _ => Style::new().green(),
            };
            let (word, rest) = line.split_at(line.find(' ').unwrap_or(line.len()));
            let line = format!("{}{rest}", color.apply_to(word));
            self.bar.suspend(|| say(&line));
        }
        self.tick();
    }

    /// Shows what is left; the caller calls this regularly.
    pub fn tick(&mut self) {
        let now = self.seconds();
        if !self.bar.is_hidden() {
            self.bar.set_message(self.progress.live(now));
        } else if self.mentioned.elapsed() >= NOW_AND_THEN {
            self.mentioned = Instant::now();
            say(&format!("PREPARING  {}", self.progress.live(now)));
        }
    }

    /// Removes the live line and prints how the preparation ended.
    pub fn end(self) {
        self.bar.finish_and_clear();
        say(&self.progress.closing(self.begun.elapsed().as_secs_f64()));
    }

    fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }
}

impl Progress {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            running: BTreeMap::new(),
            made: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Applies an event; returns a line when the event ends a piece.
    fn take(&mut self, event: &Event, now: f64) -> Option<String> {
        match event {
            Event::Refused { .. } | Event::Recalled { .. } | Event::Plan(_) => None,
            Event::Started { piece } => {
                self.running.insert(*piece, now);
                None
            }
            Event::Made { piece, seconds } => {
                self.running.remove(piece);
                self.made.push(*piece);
                Some(format!(
                    "MADE       {}  {}",
                    self.name(*piece),
                    measured_time(*seconds)
                ))
            }
            Event::Failed { piece, message, .. } => {
                self.running.remove(piece);
                self.failed.push(*piece);
                Some(format!("NOT MADE   {}  {message}", self.name(*piece)))
            }
        }
    }

    fn name(&self, piece: usize) -> &str {
        let piece = self.plan.pieces.get(piece);
        piece.map_or("", |piece| piece.name.as_str())
    }

    /// `1 of 3 made, 1:00, about 7 min left: kubernetes 1.32.1 1:00`
    fn live(&self, now: f64) -> String {
        let names = self
            .running
            .iter()
            .take(MOST_NAMED)
            .map(|(piece, since)| format!("{} {}", self.name(*piece), clock(now - since)));
        let names: Vec<_> = names.collect();
        let more = match self.running.len().saturating_sub(MOST_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let left = match self.left(now) {
            Some(left) => format!("{} left", approximate_time(left)),
            None => "longer than thought".to_owned(),
        };
        let (made, all) = (self.made.len(), self.plan.pieces.len());
        let names = match names.is_empty() {
            true => String::new(),
            false => format!(": {}{more}", names.join(", ")),
        };
        format!("{made} of {all} made, {}, {left}{names}", clock(now))
    }

    /// About how many seconds are left: the share of all work that is not done. `None` when every
    /// running piece has taken longer than expected and no other piece is left.
    fn left(&self, now: f64) -> Option<f64> {
        let all: f64 = self.plan.pieces.iter().map(|piece| piece.seconds).sum();
        let left = self.plan.pieces.iter().enumerate().map(|(at, piece)| {
            if self.made.contains(&at) || self.failed.contains(&at) {
                return 0.0;
            }
            let spent = self.running.get(&at).map_or(0.0, |since| now - since);
            (piece.seconds - spent).max(0.0)
        });
        let left: f64 = left.sum();
        (left > 0.0).then(|| self.plan.seconds * left / all)
    }

    fn closing(&self, seconds: f64) -> String {
        let made = self.made.len();
        let all = self.plan.pieces.len();
        let of = if made == all {
            String::new()
        } else {
            format!(" of {all}")
        };
        format!("PREPARED   {made}{of} in {}\n", measured_time(seconds))
    }
}

/// The first message: all that is to be made, and about how long it takes.
fn announcement(plan: &Plan) -> String {
    let width = |of: fn(&Piece) -> &str| {
        let widths = plan.pieces.iter().map(|piece| of(piece).chars().count());
        widths.max().unwrap_or_default()
    };
    let (names, hows) = (width(|piece| &piece.name), width(|piece| &piece.how));
    let things = match plan.pieces.len() {
        1 => "1 thing is".to_owned(),
        count => format!("{count} things are"),
    };
    let mut text = format!(
        "PREPARING  {things} made first, once for all runs: {}",
        approximate_time(plan.seconds)
    );
    for piece in &plan.pieces {
        let time = match piece.measured {
            true => format!("{} last time", measured_time(piece.seconds)),
            false => approximate_time(piece.seconds),
        };
        text.push_str(&format!(
            "\n  {:names$}  {:hows$}  {time}",
            piece.name, piece.how
        ));
    }
    text
}

/// A time that is only estimated: `about 35 s`, `about 7 min`.
fn approximate_time(seconds: f64) -> String {
    match seconds {
        ..5.0 => "a few seconds".to_owned(),
        ..90.0 => format!("about {} s", (seconds / 5.0).round() * 5.0),
        ..5400.0 => format!("about {} min", (seconds / 60.0).round()),
        _ => format!("about {:.1} h", seconds / 3600.0),
    }
}

/// A time that was measured: `41.2 s`, `7 min 02 s`.
fn measured_time(seconds: f64) -> String {
    match seconds {
        ..100.0 => format!("{seconds:.1} s"),
        _ => format!(
            "{} min {:02.0} s",
            (seconds / 60.0).floor(),
            (seconds % 60.0).floor()
        ),
    }
}

/// The running time so far: `1:05`.
fn clock(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[expect(clippy::disallowed_methods, reason = "what every CI system sets")]
fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|set| !set.is_empty() && set != "false")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        let piece = |name: &str, how: &str, seconds, measured| Piece {
            name: name.to_owned(),
            how: how.to_owned(),
            seconds,
            measured,
        };
        Plan {
            pieces: vec![
                piece("os-bookworm", "Debian packages", 60.0, false),
                piece("kubernetes 1.32.1", "Go build", 471.0, true),
                piece("kind 0.27.0", "Go build", 40.0, false),
                piece("v1.32.1-containerd-2.0.2", "node image", 25.0, false),
            ],
            seconds: 536.0,
            ..Plan::default()
        }
    }

    #[test]
    fn first_all_is_told_and_about_how_long_it_takes() {
        insta::assert_snapshot!(announcement(&plan()), @r"
        PREPARING  4 things are made first, once for all runs: about 9 min
          os-bookworm               Debian packages  about 60 s
          kubernetes 1.32.1         Go build         7 min 51 s last time
          kind 0.27.0               Go build         about 40 s
          v1.32.1-containerd-2.0.2  node image       about 25 s
        ");
    }

    #[test]
    fn then_what_is_done_and_what_is_left() {
        let mut progress = Progress::new(plan());
        let mut told = Vec::new();
        let failed = Event::Failed {
            piece: 2,
            seconds: 3.0,
            message: "no network; check it".to_owned(),
        };
        let (piece, seconds) = (0, 58.31);
        for (at, event) in [
            (0.0, Event::Started { piece: 1 }),
            (0.0, Event::Started { piece: 0 }),
            (58.0, Event::Made { piece, seconds }),
            (
                471.0,
                Event::Made {
                    piece: 1,
                    seconds: 471.0,
                },
            ),
            (471.0, Event::Started { piece: 3 }),
            (471.0, Event::Started { piece: 2 }),
            (474.0, failed),
        ] {
            told.extend(progress.take(&event, at));
            told.push(progress.live(at + 1.0));
        }
        told.push(progress.live(900.0));
        told.push(progress.closing(911.0));
        insta::assert_snapshot!(told.join("\n"), @r"
        0 of 4 made, 0:01, about 9 min left: kubernetes 1.32.1 0:01
        0 of 4 made, 0:01, about 9 min left: os-bookworm 0:01, kubernetes 1.32.1 0:01
        MADE       os-bookworm  58.3 s
        1 of 4 made, 0:59, about 7 min left: kubernetes 1.32.1 0:59
        MADE       kubernetes 1.32.1  7 min 51 s
        2 of 4 made, 7:52, about 60 s left
        2 of 4 made, 7:52, about 60 s left: v1.32.1-containerd-2.0.2 0:01
        2 of 4 made, 7:52, about 55 s left: kind 0.27.0 0:01, v1.32.1-containerd-2.0.2 0:01
        NOT MADE   kind 0.27.0  no network; check it
        2 of 4 made, 7:55, about 20 s left: v1.32.1-containerd-2.0.2 0:04
        2 of 4 made, 15:00, longer than thought: v1.32.1-containerd-2.0.2 7:09
        PREPARED   2 of 4 in 15 min 11 s
        ");
    }

    #[test]
    fn times_are_as_exact_as_they_are_known() {
        let about = [3.0, 12.0, 89.0, 421.0, 9000.0].map(approximate_time);
        assert_eq!(
            about.join(", "),
            "a few seconds, about 10 s, about 90 s, about 7 min, about 2.5 h"
        );
        assert_eq!(
            [31.27, 422.9].map(measured_time).join(", "),
            "31.3 s, 7 min 02 s"
        );
        assert_eq!(clock(65.9), "1:05");
    }
}
