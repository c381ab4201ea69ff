//! The one factor of every deadline: how much slower than usual this machine is.

use std::{
    fs::{self, File},
    io::Read,
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::machine::{Sample, load, processors};

/// The benchmark reads this many random bytes, which takes an ordinary machine at most so long. The
/// kernel computes them, so this program's optimization level does not matter.
const BYTES: usize = 256 * 1024;
const ORDINARY: Duration = Duration::from_millis(3);
/// The fastest of this many passes counts: no other program interrupted it.
const PASSES: usize = 3;
/// A smaller factor counts as 1.
const NOTABLE: f64 = 1.25;
/// Upper limit of a measured factor; `KUBENEST_PATIENCE` may be higher.
const MOST: f64 = 10.0;

/// The factor of every deadline, and why it is what it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Patience {
    /// Every deadline is multiplied by it.
    pub factor: f64,
    /// Where the factor is from: the setting, or the measurement.
    pub reason: String,
}

static PATIENCE: OnceLock<Patience> = OnceLock::new();

/// Has every deadline of this process multiplied by `factor`, as `KUBENEST_PATIENCE` says, unless a
/// deadline ran before.
pub fn set_patience(factor: f64) {
    let patience = Patience {
        factor,
        reason: "set by KUBENEST_PATIENCE".into(),
    };
    PATIENCE.set(patience).ok();
}

/// The factor of this process: the one that was [set](set_patience), else measured on first use.
pub fn patience() -> &'static Patience {
    PATIENCE.get_or_init(|| Machine::now().patience())
}

tokio::task_local! {
    static FACTOR: f64;
}

/// Runs work with this factor in place of the process' own.
pub async fn with_factor<T>(factor: f64, work: impl Future<Output = T>) -> T {
    FACTOR.scope(factor, Box::pin(work)).await
}

/// The factor of deadlines in the current task.
pub(super) fn factor() -> f64 {
    FACTOR.try_with(|factor| *factor).unwrap_or_else(|_| {
        // Unit tests assert on deadlines, which must not depend on the machine's load.
        if cfg!(test) { 1.0 } else { patience().factor }
    })
}

/// How long a deadline of this length lasts here.
pub fn scaled(deadline: Duration) -> Duration {
    let seconds = deadline.as_secs_f64() * factor();
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

/// Measurements of a machine.
#[derive(Debug, Clone, Copy)]
struct Machine {
    /// How long the benchmark took.
    pass: Duration,
    /// Programs that wanted to run in the last minute, on average.
    load: f64,
    processors: usize,
    /// Share of processor time that its host gave to others, since it booted.
    stolen: f64,
    /// Share of the last ten seconds in which everything waited for a disk.
    stalled: f64,
}

impl Machine {
    fn now() -> Self {
        Self {
            pass: time_of_a_pass(),
            load: load(),
            processors: processors(),
            stolen: Sample::now().map_or(0.0, |sample| sample.stolen()),
            stalled: stalled_share(&fs::read_to_string("/proc/pressure/io").unwrap_or_default()),
        }
    }

    fn patience(self) -> Patience {
        let slow = self.pass.as_secs_f64() / ORDINARY.as_secs_f64();
        // The square root, because a crowd passes and deadlines have some slack.
        let crowd = (self.load / self.processors.max(1) as f64).sqrt();
        let stolen = 1.0 / (1.0 - self.stolen).max(0.1);
        let stalled = 1.0 / (1.0 - self.stalled).max(0.1);
        let reasons = [
            (
                slow,
                format!("a processor takes {slow:.1} times as long as usual"),
            ),
            (
                crowd,
                format!("load {:.1} on {} processors", self.load, self.processors),
            ),
            (
                stolen,
                format!(
                    "{:.0} % of processor time goes to others",
                    self.stolen * 100.0
                ),
            ),
            (
                stalled,
                format!(
                    "everything waits for a disk {:.0} % of the time",
                    self.stalled * 100.0
                ),
            ),
        ];
        // Programs that wait for the disk are part of the load, so only the larger of the two
        // counts.
        let factor = slow.max(1.0) * crowd.max(stalled).max(1.0) * stolen.max(1.0);
        if factor < NOTABLE {
            return Patience {
                factor: 1.0,
                reason: "an ordinary machine".into(),
            };
        }
        let told = reasons.into_iter().filter(|(part, _)| *part > 1.1);
        let told: Vec<_> = told.map(|(_, reason)| reason).collect();
        Patience {
            factor: (factor.min(MOST) * 10.0).round() / 10.0,
            reason: format!("measured: {}", told.join(", ")),
        }
    }
}

fn time_of_a_pass() -> Duration {
    let mut bytes = vec![0; BYTES];
    let passes = (0..PASSES).filter_map(|_| {
        let begun = Instant::now();
        File::open("/dev/urandom")
            .ok()?
            .read_exact(&mut bytes)
            .ok()?;
        Some(begun.elapsed())
    });
    passes.min().unwrap_or(ORDINARY)
}

/// The share of ten seconds in which nothing could run, from a text of /proc/pressure.
fn stalled_share(pressure: &str) -> f64 {
    let full = pressure
        .lines()
        .find_map(|line| line.strip_prefix("full avg10="));
    let percent = full.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
    percent.unwrap_or(0.0) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDINARY_MACHINE: Machine = Machine {
        pass: Duration::from_millis(1),
        load: 1.5,
        processors: 2,
        stolen: 0.01,
        stalled: 0.0,
    };

    fn describe(machine: Machine) -> String {
        let Patience { factor, reason } = machine.patience();
        format!("{factor:.1}: {reason}")
    }

    #[test]
    fn an_ordinary_machine_gets_the_deadlines_as_they_are() {
        assert_eq!(describe(ORDINARY_MACHINE), "1.0: an ordinary machine");
    }

    #[test]
    fn each_reason_of_slowness_counts_and_is_named() {
        let emulated = Machine {
            pass: Duration::from_millis(18),
            ..ORDINARY_MACHINE
        };
        let crowded = Machine {
            load: 6.8,
            ..ORDINARY_MACHINE
        };
        let neighbours = Machine {
            stolen: 0.5,
            ..crowded
        };
        let disk = Machine {
            stalled: 0.6,
            ..ORDINARY_MACHINE
        };
        let hopeless = Machine {
            pass: Duration::from_secs(1),
            ..crowded
        };
        let all = [emulated, crowded, neighbours, disk, hopeless].map(describe);
        insta::assert_snapshot!(all.join("\n"), @r"
        6.1: measured: a processor takes 6.0 times as long as usual
        1.9: measured: load 6.8 on 2 processors
        3.7: measured: load 6.8 on 2 processors, 50 % of processor time goes to others
        2.5: measured: everything waits for a disk 60 % of the time
        10.0: measured: a processor takes 333.3 times as long as usual, load 6.8 on 2 processors
        ");
    }

    #[test]
    fn proc_pressure_is_read() {
        let text = "some avg10=9.00 avg60=1.00 avg300=0.00 total=1\n\
                    full avg10=60.50 avg60=1.00 avg300=0.00 total=1\n";
        assert!((stalled_share(text) - 0.605).abs() < 1e-9);
        assert!(stalled_share("").abs() < 1e-9);
    }

    #[tokio::test]
    async fn a_factor_scales_a_deadline() {
        let deadline = Duration::from_secs(60);
        assert_eq!(
            with_factor(2.5, async { scaled(deadline) }).await,
            Duration::from_secs(150)
        );
        assert_eq!(
            with_factor(1.0, async { scaled(Duration::MAX) }).await,
            Duration::MAX
        );
        assert_eq!(scaled(deadline), deadline);
    }

    #[test]
    fn this_machine_can_be_measured() {
        assert!(Machine::now().processors > 0);
        assert!(Machine::now().pass > Duration::ZERO);
    }
}
