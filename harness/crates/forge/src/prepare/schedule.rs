//! The order in which pieces are made, how many are made at a time, and how long all of it takes.

use kubenest_base::machine::Machine;

use crate::machine::{builds_at_once, heavy_builds_at_once};

/// What the schedule has to know about a piece.
#[derive(Debug, Clone)]
pub(super) struct Task {
    /// About how many seconds the piece takes.
    pub(super) seconds: f64,
    /// Whether the piece uses all cores by itself, and much memory.
    pub(super) is_heavy: bool,
    /// The places of the pieces that must be made before.
    pub(super) after: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Made,
    Failed,
}

/// The state of all pieces. A piece has its place behind those from which it is made.
#[derive(Debug)]
pub(super) struct Schedule {
    tasks: Vec<Task>,
    states: Vec<State>,
    /// For each piece, the seconds from its start to the end of everything that waits for it.
    rests: Vec<f64>,
    most: usize,
    most_heavy: usize,
}

impl Schedule {
    pub(super) fn new(tasks: Vec<Task>, machine: Machine) -> Self {
        let mut rests: Vec<f64> = tasks.iter().map(|task| task.seconds).collect();
        for at in (0..tasks.len()).rev() {
            for before in &tasks[at].after {
                let through = tasks[*before].seconds + rests[at];
                rests[*before] = rests[*before].max(through);
            }
        }
        Self {
            states: vec![State::Waiting; tasks.len()],
            rests,
            most: builds_at_once(machine),
            most_heavy: heavy_builds_at_once(machine),
            tasks,
        }
    }

    /// Starts the most urgent piece, if one can be started now.
    pub(super) fn begin(&mut self) -> Option<usize> {
        let running = |heavy_only: bool| {
            let of = |(state, task): &(&State, &Task)| {
                **state == State::Running && (task.is_heavy || !heavy_only)
            };
            self.states.iter().zip(&self.tasks).filter(of).count()
        };
        if running(false) >= self.most {
            return None;
        }
        let has_room = running(true) < self.most_heavy;
        let can_begin = |at: &usize| {
            let task = &self.tasks[*at];
            self.states[*at] == State::Waiting
                && (has_room || !task.is_heavy)
                && task
                    .after
                    .iter()
                    .all(|before| self.states[*before] == State::Made)
        };
        let places = (0..self.tasks.len()).filter(can_begin);
        // Takes the first of several equally urgent pieces.
        let next = places
            .rev()
            .max_by(|a, b| self.rests[*a].total_cmp(&self.rests[*b]))?;
        self.states[next] = State::Running;
        Some(next)
    }

    /// Registers that a piece has been made.
    pub(super) fn end(&mut self, at: usize) {
        self.states[at] = State::Made;
    }

    /// Registers that a piece cannot be made; returns the pieces that would be made from it.
    pub(super) fn fail(&mut self, at: usize) -> Vec<usize> {
        self.states[at] = State::Failed;
        let mut lost = Vec::new();
        for next in at + 1..self.tasks.len() {
            let is_lost = |before: &usize| self.states[*before] == State::Failed;
            if self.states[next] == State::Waiting && self.tasks[next].after.iter().any(is_lost) {
                self.states[next] = State::Failed;
                lost.push(next);
            }
        }
        lost
    }

    /// How long all pieces take together, if each takes its estimated time.
    pub(super) fn seconds(mut self) -> f64 {
        let mut running: Vec<(f64, usize)> = Vec::new();
        let mut now = 0.0;
        loop {
            while let Some(at) = self.begin() {
                running.push((now + self.tasks[at].seconds, at));
            }
            running.sort_by(|a, b| b.0.total_cmp(&a.0));
            let Some((end, at)) = running.pop() else {
                return now;
            };
            now = end;
            self.end(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Machine = Machine {
        cores: 2,
        memory: 8 << 30,
    };

    fn task(seconds: f64, is_heavy: bool, after: &[usize]) -> Task {
        Task {
            seconds,
            is_heavy,
            after: after.to_vec(),
        }
    }

    /// Kubernetes, containerd, a root file system, an image of these three, and a separate program.
    fn node() -> Vec<Task> {
        vec![
            task(90.0, true, &[]),
            task(480.0, true, &[]),
            task(60.0, false, &[]),
            task(20.0, false, &[0, 1, 2]),
            task(30.0, true, &[]),
        ]
    }

    #[test]
    fn builds_come_one_after_the_other_with_downloads_beside_them() {
        let mut schedule = Schedule::new(node(), SMALL);
        assert_eq!(schedule.begin(), Some(1), "what most waits for comes first");
        assert_eq!(schedule.begin(), Some(2), "beside it a download");
        assert_eq!(schedule.begin(), None);
        schedule.end(2);
        assert_eq!(schedule.begin(), None, "a second build waits");
        schedule.end(1);
        assert_eq!(schedule.begin(), Some(0));
        assert_eq!(schedule.begin(), None);
        schedule.end(0);
        assert_eq!(schedule.begin(), Some(4));
        assert_eq!(schedule.begin(), Some(3), "all that it is made of is there");
        schedule.end(3);
        schedule.end(4);
        assert_eq!(schedule.begin(), None);
    }

    #[test]
    fn the_time_of_all_is_that_of_the_order_in_which_it_is_made() {
        assert_eq!(Schedule::new(node(), SMALL).seconds(), 600.0);
        let large = Machine {
            cores: 16,
            memory: 64 << 30,
        };
        assert_eq!(Schedule::new(node(), large).seconds(), 500.0);
        assert_eq!(Schedule::new(vec![], SMALL).seconds(), 0.0);
    }

    #[test]
    fn what_is_made_of_something_that_failed_fails_and_the_rest_goes_on() {
        let mut schedule = Schedule::new(node(), SMALL);
        schedule.begin();
        assert_eq!(schedule.fail(1), [3]);
        assert_eq!(schedule.begin(), Some(0));
    }
}
