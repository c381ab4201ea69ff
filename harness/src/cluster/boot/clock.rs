//! The time that each phase of a boot takes.

use std::time::Instant;

use kubenest_evidence::Subject;

use crate::cluster::Phase;

/// Keeps the time of each step.
pub(super) struct Clock {
    pub(super) phases: Vec<Phase>,
    start: Instant,
    /// Also receives each phase that ends.
    subject: Option<Subject>,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            phases: Vec::new(),
            start: Instant::now(),
            subject: None,
        }
    }

    /// Attaches the subject, and replays the phases so far.
    pub(super) fn attach(&mut self, subject: Option<&Subject>) {
        self.subject = subject.cloned();
        self.phases.iter().for_each(|phase| self.report(phase));
    }

    fn report(&self, phase: &Phase) {
        if let Some(subject) = &self.subject {
            subject.note_boot_step(format!("boot: {} took {:.2} s", phase.name, phase.seconds));
        }
    }

    /// The step that ended last, in words.
    pub(super) fn last(&self) -> String {
        match self.phases.last() {
            Some(phase) => format!("the end of step '{}'", phase.name),
            None => "no step's end".into(),
        }
    }

    /// Ends the step of this name; the next one starts now.
    pub(super) fn lap(&mut self, name: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
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
