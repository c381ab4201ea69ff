//! The time that each phase of a boot takes.

use std::time::{Duration, Instant};

use kubenest_evidence::Subject;
use kubenest_forge::making;

use crate::cluster::Phase;

/// Measures the time of each phase.
pub(in crate::cluster) struct Clock {
    pub(in crate::cluster) phases: Vec<Phase>,
    start: Instant,
    /// The time that this process had spent without a slot when the phase began, and below, when
    /// the boot began.
    unprepared: Duration,
    unprepared_at_first: Duration,
    /// Also receives each phase that ends.
    subject: Option<Subject>,
}

impl Clock {
    pub(in crate::cluster) fn start() -> Self {
        let unprepared = making::time_without_slot();
        Self {
            phases: Vec::new(),
            start: Instant::now(),
            unprepared,
            unprepared_at_first: unprepared,
            subject: None,
        }
    }

    /// Attaches the subject, and replays the phases so far.
    pub(in crate::cluster) fn attach(&mut self, subject: Option<&Subject>) {
        self.subject = subject.cloned();
        self.phases.iter().for_each(|phase| self.report(phase));
    }

    fn report(&self, phase: &Phase) {
        if let Some(subject) = &self.subject {
            subject.note_boot_step(format!("boot: {} took {:.2} s", phase.name, phase.seconds));
        }
    }

    /// Describes the step that ended last.
    pub(super) fn last(&self) -> String {
        match self.phases.last() {
            Some(phase) => format!("the end of step '{}'", phase.name),
            None => "no step's end".into(),
        }
    }

    /// The time since the start that was spent on making unprepared components and images. No phase
    /// includes it.
    pub(super) fn unprepared(&self) -> Duration {
        self.unprepared - self.unprepared_at_first
    }

    /// Ends the step of this name; the next one starts now.
    pub(in crate::cluster) fn lap(&mut self, name: &str) {
        let unprepared = making::time_without_slot();
        let took = self.start.elapsed();
        let took = took.saturating_sub(unprepared.saturating_sub(self.unprepared));
        self.unprepared = unprepared;
        let seconds = took.as_secs_f64();
        tracing::debug!("{name}: {seconds:.2} s");
        let phase = Phase {
            name: name.into(),
            seconds,
        };
        self.report(&phase);
        self.phases.push(phase);
        self.start = Instant::now();
    }
}
