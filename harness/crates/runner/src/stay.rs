//! The slot of one running test, which may give up its slot while it makes what nobody prepared.

use std::path::Path;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use kubenest_protocol::SlotFolder;
use serde::{Deserialize, Serialize};

use crate::making::{Making, round_to_milliseconds};
use crate::slots::Slots;

/// How much time for making things is left out of a test's limit at most, so that a test which
/// never stops making them is stopped.
const MOST_UNCOUNTED: Duration = Duration::from_secs(60 * 60);

/// A time during which a test had a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stint {
    pub(crate) slot: usize,
    pub(crate) started: DateTime<Utc>,
    pub(crate) seconds: f64,
}

/// The history of a test's slot.
#[derive(Debug, Default)]
pub(crate) struct StayLog {
    /// The times during which the test had a slot, in order.
    pub(crate) stints: Vec<Stint>,
    /// What the test made in between.
    pub(crate) made: Vec<Making>,
}

/// The slot of a running test.
pub(crate) struct Stay<'a> {
    slots: &'a Slots,
    folder: SlotFolder,
    /// The number of the round in which the test has given up its slot, or will next.
    round: u32,
    place: Place,
    since: Instant,
    started: DateTime<Utc>,
    past: StayLog,
    uncounted: Duration,
}

/// Whether a test has a slot, makes something, or waits for a slot.
#[derive(Debug, Clone)]
enum Place {
    In(usize),
    Away(String),
    Wanting(String),
    Gone,
}

impl<'a> Stay<'a> {
    /// Starts the test in this slot, and opens the slot folder beside the test's verdict files.
    ///
    /// # Errors
    /// The folder cannot be made; the slot is then free again.
    pub(crate) fn begin(slots: &'a Slots, slot: usize, verdicts: &Path) -> std::io::Result<Self> {
        let stay = Self {
            slots,
            folder: SlotFolder::of(verdicts),
            round: 1,
            place: Place::In(slot),
            since: Instant::now(),
            started: Utc::now(),
            past: StayLog::default(),
            uncounted: Duration::ZERO,
        };
        stay.folder.open()?;
        Ok(stay)
    }

    /// Reads the test's words about its slot. Returns how long the test has been without a slot so
    /// far, which does not count against its limit.
    pub(crate) fn look(&mut self) -> Duration {
        match self.place.clone() {
            Place::In(slot) => {
                if let Some(what) = self.folder.given_up(self.round) {
                    self.slots.give_up(slot);
                    self.move_to(Place::Away(what));
                }
            }
            Place::Away(what) => {
                if self.folder.is_asked_back(self.round) {
                    self.slots.want_back();
                    // The test is without a slot while it makes things and while it waits, so this
                    // is one span.
                    self.place = Place::Wanting(what);
                    return self.look();
                }
            }
            Place::Wanting(_) => {
                if let Some(slot) = self.slots.take_back() {
                    self.move_to(Place::In(slot));
                    // If this fails, the test waits in vain and is stopped at its limit.
                    self.folder.grant(self.round).ok();
                    self.round += 1;
                }
            }
            Place::Gone => {}
        }
        let now = match self.place {
            Place::Away(_) | Place::Wanting(_) => self.since.elapsed(),
            Place::In(_) | Place::Gone => Duration::ZERO,
        };
        (self.uncounted + now).min(MOST_UNCOUNTED)
    }

    /// What the test makes, or has made before it began to wait for a slot.
    pub(crate) fn making(&self) -> Option<&str> {
        match &self.place {
            Place::Away(what) | Place::Wanting(what) => Some(what),
            Place::In(_) | Place::Gone => None,
        }
    }

    /// Frees the slot, since the test has ended, and returns the history.
    pub(crate) fn end(mut self) -> StayLog {
        self.leave();
        std::mem::take(&mut self.past)
    }

    fn leave(&mut self) {
        match &self.place {
            Place::In(slot) => self.slots.leave(*slot),
            Place::Away(_) => self.slots.leave_without(false),
            Place::Wanting(_) => self.slots.leave_without(true),
            Place::Gone => return,
        }
        self.move_to(Place::Gone);
    }

    fn move_to(&mut self, place: Place) {
        let seconds = round_to_milliseconds(self.since.elapsed().as_secs_f64());
        let started = self.started;
        match std::mem::replace(&mut self.place, place) {
            Place::In(slot) => self.past.stints.push(Stint {
                slot,
                started,
                seconds,
            }),
            Place::Away(name) | Place::Wanting(name) => {
                self.uncounted += self.since.elapsed();
                self.past.made.push(Making {
                    name,
                    started,
                    seconds,
                    failed: None,
                });
            }
            Place::Gone => {}
        }
        (self.since, self.started) = (Instant::now(), Utc::now());
    }
}

impl Drop for Stay<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_makes_something_has_no_slot_and_takes_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::new(2);
        let never = || false;
        let slot = slots.take(never).unwrap();
        let mut stay = Stay::begin(&slots, slot, folder.path()).unwrap();
        let test = SlotFolder::of(folder.path());
        assert_eq!(stay.look(), Duration::ZERO);

        test.give_up(1, "kind 0.27.0").unwrap();
        stay.look();
        assert_eq!(stay.making(), Some("kind 0.27.0"));
        let others = [slots.take(never).unwrap(), slots.take(never).unwrap()];
        assert_eq!(others, [0, 1], "its own among them");

        test.ask_back(1).unwrap();
        assert!(stay.look() > Duration::ZERO);
        assert!(!test.is_granted(1), "there is none");
        slots.leave(1);
        stay.look();
        assert!(test.is_granted(1));
        assert_eq!(stay.making(), None);
        let uncounted = stay.look();
        assert_eq!(stay.look(), uncounted, "it has a slot again");

        let stays = stay.end();
        let places: Vec<_> = stays.stints.iter().map(|stint| stint.slot).collect();
        assert_eq!(places, [0, 1]);
        assert_eq!(stays.made.len(), 1, "waiting is a part of it");
        assert_eq!(stays.made[0].name, "kind 0.27.0");
        assert_eq!(slots.take(never), Some(1));
    }

    #[test]
    fn what_was_made_between_two_looks_is_heard_in_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::new(1);
        let slot = slots.take(|| false).unwrap();
        let mut stay = Stay::begin(&slots, slot, folder.path()).unwrap();
        let test = SlotFolder::of(folder.path());
        for round in 1..=2 {
            test.give_up(round, "a").unwrap();
            test.ask_back(round).unwrap();
            stay.look();
            stay.look();
            assert!(test.is_granted(round));
        }
        assert_eq!(stay.end().made.len(), 2);
    }

    #[test]
    fn a_test_that_ends_while_it_makes_something_leaves_all_slots() {
        let folder = tempfile::tempdir().unwrap();
        let slots = Slots::new(1);
        for round in ["making", "wanting"] {
            let slot = slots.take(|| false).unwrap();
            let verdicts = folder.path().join(round);
            let mut stay = Stay::begin(&slots, slot, &verdicts).unwrap();
            let test = SlotFolder::of(&verdicts);
            test.give_up(1, "a").unwrap();
            stay.look();
            if round == "wanting" {
                let other = slots.take(|| false).unwrap();
                test.ask_back(1).unwrap();
                stay.look();
                slots.leave(other);
            }
            assert_eq!(stay.end().made.len(), 1);
        }
        assert_eq!(slots.take(|| false), Some(0));
    }
}
