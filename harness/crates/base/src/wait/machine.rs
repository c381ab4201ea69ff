//! Whether the machine was too busy during a wait, and so the reason that it timed out.

use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A new wait may start from a sample up to this old.
const FRESH: Duration = Duration::from_secs(1);
/// Minimum processor time, in seconds, for a judgement.
const ENOUGH: f64 = 2.0;
/// The kernel's unit of processor time.
const TICKS_PER_SECOND: f64 = 100.0;

/// Shares of processor time from which the machine is the cause: stolen by its host, spent waiting
/// for a disk, and busy while more programs wanted to run.
const STOLEN: f64 = 0.2;
const WAITED: f64 = 0.5;
const BUSY: f64 = 0.9;
/// Runnable programs per processor from which the machine is crowded.
const CROWD: f64 = 2.0;

/// What all processors have done since the machine started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    busy: u64,
    disk: u64,
    stolen: u64,
    all: u64,
}

impl Sample {
    /// None where there is no /proc.
    pub(super) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// A sample that is at most a second old: many waits begin at once, and share one.
    pub(super) fn recent() -> Option<Self> {
        static LAST: Mutex<Option<(Instant, Sample)>> = Mutex::new(None);
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = last.filter(|(at, _)| at.elapsed() < FRESH);
        *last = fresh.or_else(|| Some((Instant::now(), Self::now()?)));
        last.map(|(_, sample)| sample)
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        // The order of proc(5); the guests' time that follows is already part of user time.
        let [user, nice, system, idle, disk, irq, softirq, stolen, ..] = ticks[..] else {
            return None;
        };
        let busy = user + nice + system + irq + softirq;
        Some(Self {
            busy,
            disk,
            stolen,
            all: busy + idle + disk + stolen,
        })
    }

    /// The share of processor time that the machine's host gave to others.
    pub(super) fn stolen(self) -> f64 {
        part(self.stolen, self.all)
    }

    fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            disk: self.disk.saturating_sub(before.disk),
            stolen: self.stolen.saturating_sub(before.stolen),
            all: self.all.saturating_sub(before.all),
        }
    }

    /// Why work was slow, if the machine is the cause.
    fn trouble(self, load: f64, processors: usize) -> Option<String> {
        if (self.all as f64) < ENOUGH * TICKS_PER_SECOND {
            return None;
        }
        let percent = |ticks| part(ticks, self.all) * 100.0;
        let crowded = load >= CROWD * processors as f64;
        if self.stolen() >= STOLEN {
            let stolen = percent(self.stolen);
            return Some(format!(
                "its host gave {stolen:.0} % of its processor time to others (steal)"
            ));
        }
        if part(self.disk, self.all) >= WAITED {
            let disk = percent(self.disk);
            return Some(format!(
                "its processors waited for a disk {disk:.0} % of the time"
            ));
        }
        let busy = percent(self.busy + self.stolen);
        (crowded && busy >= BUSY * 100.0).then(|| {
            format!("its {processors} processors were {busy:.0} % busy, at a load of {load:.1}")
        })
    }
}

/// Why the machine was too slow since the sample, if it was.
pub(super) fn trouble_since(before: Sample) -> Option<String> {
    Sample::now()?.since(before).trouble(load(), processors())
}

/// Programs that wanted to run in the last minute, on average.
pub(super) fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split(' ').next();
    first.and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn part(ticks: u64, all: u64) -> f64 {
    if all == 0 {
        return 0.0;
    }
    ticks as f64 / all as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute of two processors, in percent: busy, waiting for a disk, stolen by the host.
    fn minute(busy: u64, disk: u64, stolen: u64) -> Sample {
        Sample {
            busy: busy * 120,
            disk: disk * 120,
            stolen: stolen * 120,
            all: 12_000,
        }
    }

    #[test]
    fn proc_stat_is_read() {
        let stat = "cpu  142627 4556 19234 20925 519 0 177 366 12 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n";
        let sample = Sample::parse(stat).unwrap();
        assert_eq!(sample.busy, 142_627 + 4556 + 19_234 + 177);
        assert_eq!((sample.disk, sample.stolen), (519, 366));
        assert_eq!(sample.all, sample.busy + 20_925 + 519 + 366);
        assert_eq!(Sample::parse("cpu  1 2 3\n"), None);
        assert_eq!(Sample::parse(""), None);
    }

    #[test]
    fn a_machine_without_spare_time_is_the_cause() {
        let told = [
            minute(99, 0, 1).trouble(14.2, 2),
            minute(60, 0, 34).trouble(3.0, 2),
            minute(20, 70, 0).trouble(5.0, 2),
        ];
        insta::assert_snapshot!(told.map(Option::unwrap).join("\n"), @r"
        its 2 processors were 100 % busy, at a load of 14.2
        its host gave 34 % of its processor time to others (steal)
        its processors waited for a disk 70 % of the time
        ");
    }

    #[test]
    fn a_machine_with_spare_time_is_not_the_cause() {
        let innocent = [
            // Busy, but with an empty queue, as during a build.
            minute(99, 0, 0).trouble(2.1, 2),
            // A high load whose queue is already gone.
            minute(40, 10, 5).trouble(14.2, 2),
            minute(5, 30, 1).trouble(0.4, 2),
            // Too short a time for a judgement.
            Sample {
                busy: 90,
                disk: 0,
                stolen: 0,
                all: 90,
            }
            .trouble(14.2, 2),
        ];
        assert_eq!(innocent, [None, None, None, None]);
    }
}
