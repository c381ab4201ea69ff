//! Notes what a test asks for, and gives up the test's slot while the test makes something
//! unprepared.
//!
//! This applies only to tests that a runner started. Other tests just make what they lack.

use std::{
    collections::BTreeSet,
    future::Future,
    os::unix::process::parent_id,
    path::PathBuf,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use kubenest_base::{
    Result, progress,
    settings::Settings,
    store::Store,
    wait::{self, Probe},
};
use kubenest_protocol::{Demand, SlotFolder};

/// How long a test waits for a slot at most, while tests have all slots and none of them ends.
const TURN: Duration = Duration::from_secs(3 * 60 * 60);

/// The runner that started this process.
static RUNNER: OnceLock<Runner> = OnceLock::new();

static ROUNDS: Mutex<Rounds> = Mutex::new(Rounds::new());

/// What the settings say about the runner that started this process.
struct Runner {
    parent: Option<String>,
    verdicts: Option<PathBuf>,
    /// The cache in which the runner prepares things.
    cache: PathBuf,
}

/// The times during which this process holds no slot. Pieces that are made at the same time, as for
/// clusters that boot together, form one round.
#[derive(Debug, PartialEq)]
struct Rounds {
    /// How many pieces are being made.
    pieces: usize,
    /// The number of the last round; rounds are counted from 1.
    last: u32,
    /// When the slot was given up, if the process has not got it back.
    since: Option<Instant>,
    /// How long earlier rounds took.
    spent: Duration,
}

/// Something that this process makes without a slot.
struct Piece {
    folder: SlotFolder,
    is_ended: bool,
}

/// Connects this process to the runner that the settings name, if they name one. A process has one
/// runner, so later calls change nothing.
pub fn meet_runner(settings: &Settings) {
    let runner = Runner {
        parent: settings.parent.clone(),
        verdicts: settings.verdicts.clone(),
        cache: settings.cache.clone(),
    };
    RUNNER.set(runner).ok();
}

/// Notes that the test of this process needs the thing with this name.
pub fn note(need: &str) {
    write(need, false);
}

/// Makes the thing with this name, which nobody had prepared; another test has the slot of this one
/// meanwhile. If another process is making the thing, the wait for it belongs into `work`.
///
/// # Errors
/// The error of the work, or no slot became free for hours.
pub async fn unprepared<T>(need: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    // The future is boxed, because nesting it would double its size each time, and tests' stacks
    // are small.
    let work = Box::pin(work);
    let Some(folder) = slot_folder() else {
        return work.await;
    };
    let piece = Piece::begin(folder, need);
    let made = work.await;
    piece.end().await?;
    made
}

/// As [`unprepared`], but keeps the slot if the store is a test's own: filling it is what the test
/// does.
pub(crate) async fn unprepared_in<T>(
    store: &Store,
    need: &str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let is_shared = RUNNER.get().is_some_and(|it| store.root() == it.cache);
    match is_shared {
        true => unprepared(need, work).await,
        false => Box::pin(work).await,
    }
}

/// How long this process has held no slot, which does not count as the time of its test.
pub fn time_without_slot() -> Duration {
    rounds().spent_by(Instant::now())
}

impl Rounds {
    const fn new() -> Self {
        Self {
            pieces: 0,
            last: 0,
            since: None,
            spent: Duration::ZERO,
        }
    }

    /// Registers the start of a piece; returns the round if a new round begins.
    fn begin(&mut self, now: Instant) -> Option<u32> {
        self.pieces += 1;
        if self.pieces > 1 {
            return None;
        }
        self.last += 1;
        self.since.get_or_insert(now);
        Some(self.last)
    }

    /// Registers the end of a piece; returns the round if the round ends.
    fn end(&mut self) -> Option<u32> {
        self.pieces -= 1;
        (self.pieces == 0).then_some(self.last)
    }

    /// Registers that the process has a slot again after this round.
    fn go_on(&mut self, round: u32, now: Instant) {
        // Otherwise another piece is already being made.
        if self.pieces == 0 && self.last == round {
            self.spent = self.spent_by(now);
            self.since = None;
        }
    }

    fn spent_by(&self, now: Instant) -> Duration {
        self.spent + self.since.map_or(Duration::ZERO, |since| now - since)
    }
}

impl Piece {
    fn begin(folder: SlotFolder, need: &str) -> Self {
        let begun = rounds().begin(Instant::now());
        if let Some(round) = begun {
            // Things that are made on the way to it are not what the test asked for.
            write(need, true);
            progress!("nobody prepared {need}: it is made now, while another test runs");
            warn(folder.give_up(round, need));
        }
        Self {
            folder,
            is_ended: false,
        }
    }

    /// Waits for a slot, unless another piece is still being made.
    async fn end(mut self) -> Result<()> {
        self.is_ended = true;
        let ended = rounds().end();
        let Some(round) = ended else {
            return Ok(());
        };
        if let Err(error) = self.folder.ask_back(round) {
            // Without the file the runner would not know of the wait and would never answer.
            warn(Err(error));
        } else {
            let seen = || "other tests have them all".to_owned();
            let granted = || self.folder.is_granted(round).then_some(());
            let look = async || Probe::from_option(granted(), seen);
            wait::until("a slot to go on in", TURN, look).await?;
        }
        rounds().go_on(round, Instant::now());
        Ok(())
    }
}

impl Drop for Piece {
    /// If the work was cancelled, the test goes on at once without a slot.
    fn drop(&mut self) {
        if self.is_ended {
            return;
        }
        let ended = rounds().end();
        if let Some(round) = ended {
            warn(self.folder.ask_back(round));
            rounds().go_on(round, Instant::now());
        }
    }
}

fn rounds() -> MutexGuard<'static, Rounds> {
    ROUNDS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn warn(said: std::io::Result<()>) {
    if let Err(error) = said {
        tracing::warn!("cannot speak with the runner of this test: {error}");
    }
}

/// The folder through which this process speaks to the runner that started it. A program that a
/// test starts has no slot of its own to give up.
fn slot_folder() -> Option<SlotFolder> {
    let runner = RUNNER.get()?;
    let (process, _) = runner.parent.as_deref()?.split_once('-')?;
    let is_ours = process.parse() == Ok(parent_id());
    let folder = SlotFolder::of(runner.verdicts.as_deref()?);
    (is_ours && folder.is_open()).then_some(folder)
}

fn write(need: &str, made: bool) {
    static WRITTEN: Mutex<BTreeSet<(String, bool)>> = Mutex::new(BTreeSet::new());
    let Some(verdicts) = RUNNER.get().and_then(|runner| runner.verdicts.as_ref()) else {
        return;
    };
    let mut written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
    if written.insert((need.to_owned(), made)) {
        let need = need.to_owned();
        warn(Demand { need, made }.note(verdicts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_at_the_same_time_is_one_round() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut rounds = Rounds::new();
        assert_eq!(rounds.begin(start), Some(1));
        assert_eq!(rounds.begin(after(1)), None);
        assert_eq!(rounds.end(), None);
        assert_eq!(rounds.end(), Some(1));
        assert_eq!(rounds.spent_by(after(5)), Duration::from_secs(5));
        rounds.go_on(1, after(6));
        assert_eq!(rounds.spent_by(after(9)), Duration::from_secs(6));
        assert_eq!(rounds.begin(after(10)), Some(2));
        assert_eq!(rounds.spent_by(after(12)), Duration::from_secs(8));
    }

    #[test]
    fn a_round_that_begins_before_the_slot_is_there_goes_on_without_one() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut rounds = Rounds::new();
        rounds.begin(start);
        assert_eq!(rounds.end(), Some(1));
        assert_eq!(rounds.begin(after(2)), Some(2));
        rounds.go_on(1, after(3));
        assert_eq!(
            rounds.spent_by(after(4)),
            Duration::from_secs(4),
            "all of it"
        );
        assert_eq!(rounds.end(), Some(2));
        rounds.go_on(2, after(5));
        assert_eq!(rounds.spent_by(after(9)), Duration::from_secs(5));
    }

    #[tokio::test]
    async fn without_a_runner_what_is_missing_is_made_as_ever() {
        let made = unprepared("a node image", async { Ok(7) }).await.unwrap();
        assert_eq!(made, 7);
        assert_eq!(time_without_slot(), Duration::ZERO);
    }
}
