//! The slots in which tests run side by side. A test may give up its slot for a while; when it
//! wants a slot again, it comes before tests that have not begun.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many tests may be without a slot at a time: each is a process that may hold an engine.
const MOST_AWAY: usize = 8;
/// How often a waiting thread checks whether it should stop waiting.
const LOOK: Duration = Duration::from_millis(100);

/// All slots of a run.
pub(crate) struct Slots {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: BTreeSet<usize>,
    /// How many tests have given up their slots, including those that want one again.
    away: usize,
    wanting: usize,
}

impl Slots {
    /// Makes `count` slots, numbered from 0.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            state: Mutex::new(State {
                free: (0..count).collect(),
                away: 0,
                wanting: 0,
            }),
            changed: Condvar::new(),
        }
    }

    /// Waits for a slot for a test that has not begun; `None` once the run is to stop.
    pub(crate) fn take(&self, is_stopped: impl Fn() -> bool) -> Option<usize> {
        let mut state = self.state();
        loop {
            if is_stopped() {
                return None;
            }
            if let Some(slot) = state.take() {
                return Some(slot);
            }
            let waited = self.changed.wait_timeout(state, LOOK);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Frees the slot of a test that has ended.
    pub(crate) fn leave(&self, slot: usize) {
        self.change(|state| {
            state.free.insert(slot);
        });
    }

    /// Frees the slot of a test that gives it up for a while.
    pub(crate) fn give_up(&self, slot: usize) {
        self.change(|state| {
            state.free.insert(slot);
            state.away += 1;
        });
    }

    /// Registers that a test wants a slot again.
    pub(crate) fn want_back(&self) {
        self.change(|state| state.wanting += 1);
    }

    /// Takes a free slot for a test that wants one again, if there is one.
    pub(crate) fn take_back(&self) -> Option<usize> {
        let mut state = self.state();
        let slot = state.free.pop_first()?;
        state.away -= 1;
        state.wanting -= 1;
        self.changed.notify_all();
        Some(slot)
    }

    /// Registers the end of a test that had no slot.
    pub(crate) fn leave_without(&self, is_wanting: bool) {
        self.change(|state| {
            state.away -= 1;
            state.wanting -= usize::from(is_wanting);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Option<usize> {
        let may_begin = self.free.len() > self.wanting && self.away < MOST_AWAY;
        may_begin.then(|| self.free.pop_first())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(slots: &Slots) -> Option<usize> {
        slots.state().take()
    }

    #[test]
    fn a_slot_that_is_given_up_is_another_tests_and_the_next_free_one_comes_back() {
        let slots = Slots::new(1);
        assert_eq!(take(&slots), Some(0));
        assert_eq!(take(&slots), None);
        slots.give_up(0);
        assert_eq!(take(&slots), Some(0), "another test runs");
        slots.want_back();
        assert_eq!(slots.take_back(), None);
        slots.leave(0);
        assert_eq!(take(&slots), None, "whoever has begun comes first");
        assert_eq!(slots.take_back(), Some(0));
        slots.leave(0);
        assert_eq!(take(&slots), Some(0), "nobody is away");
    }

    #[test]
    fn a_test_that_ends_without_a_slot_wants_none() {
        let slots = Slots::new(1);
        for is_wanting in [false, true] {
            assert_eq!(take(&slots), Some(0));
            slots.give_up(0);
            if is_wanting {
                slots.want_back();
            }
            slots.leave_without(is_wanting);
        }
        assert_eq!(take(&slots), Some(0));
    }

    #[test]
    fn no_more_begin_while_many_are_away() {
        let slots = Slots::new(2);
        for _ in 0..MOST_AWAY {
            let slot = take(&slots).unwrap();
            slots.give_up(slot);
        }
        assert_eq!(take(&slots), None);
        slots.leave_without(false);
        assert!(take(&slots).is_some());
    }

    #[test]
    fn a_run_that_is_to_stop_begins_no_more() {
        assert_eq!(Slots::new(1).take(|| true), None);
        let slots = Slots::new(0);
        let looks = std::cell::Cell::new(0);
        let after_some = || {
            looks.set(looks.get() + 1);
            looks.get() > 3
        };
        assert_eq!(slots.take(after_some), None);
    }
}
