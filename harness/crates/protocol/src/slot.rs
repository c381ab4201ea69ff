//! How a test gives up its slot while it makes what nobody prepared, and takes one again.
//!
//! The runner starts so many tests at a time as it has slots. A test that has to build a node
//! image first would hold one for minutes in which it tests nothing. It tells by files in a folder,
//! one a word, numbered by the round; none is ever removed, so that neither side can miss one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder's name, beside the verdict files. It is there where a runner heeds it.
const FOLDER: &str = "slot";

/// The folder in which a test and its runner speak of the test's slot.
#[derive(Debug, Clone)]
pub struct SlotFolder {
    path: PathBuf,
}

impl SlotFolder {
    /// The one in a test's folder of verdicts.
    pub fn of(verdicts: &Path) -> Self {
        Self {
            path: verdicts.join(FOLDER),
        }
    }

    /// The runner: makes the folder, by which the test knows that it is heard.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)
    }

    /// The test: whether a runner heeds what is said.
    pub fn is_open(&self) -> bool {
        self.path.is_dir()
    }

    /// The test: gives its slot up, to make this.
    ///
    /// # Errors
    /// The word cannot be written.
    pub fn give_up(&self, round: u32, what: &str) -> io::Result<()> {
        self.say("given-up", round, what)
    }

    /// The test: wants a slot again.
    ///
    /// # Errors
    /// The word cannot be written.
    pub fn ask_back(&self, round: u32) -> io::Result<()> {
        self.say("asked-back", round, "")
    }

    /// The runner: lets the test go on.
    ///
    /// # Errors
    /// The word cannot be written.
    pub fn grant(&self, round: u32) -> io::Result<()> {
        self.say("granted", round, "")
    }

    /// The runner: what the test gave its slot up for in this round, if it did.
    pub fn given_up(&self, round: u32) -> Option<String> {
        fs::read_to_string(self.word("given-up", round)).ok()
    }

    /// The runner: whether the test wants a slot again.
    pub fn is_asked_back(&self, round: u32) -> bool {
        self.word("asked-back", round).exists()
    }

    /// The test: whether it may go on.
    pub fn is_granted(&self, round: u32) -> bool {
        self.word("granted", round).exists()
    }

    fn word(&self, word: &str, round: u32) -> PathBuf {
        self.path.join(format!("{word}-{round}"))
    }

    /// Whoever sees the file sees all of it.
    fn say(&self, word: &str, round: u32, text: &str) -> io::Result<()> {
        let half = self.path.join(format!(".{word}-{round}"));
        fs::write(&half, text)?;
        fs::rename(half, self.word(word, round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of verdicts that is removed at the end.
    struct Verdicts(PathBuf);

    impl Verdicts {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("slot-{}-{name}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Verdicts {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn both_sides_read_what_the_other_said_round_by_round() {
        let verdicts = Verdicts::new("rounds");
        let (runner, test) = (SlotFolder::of(&verdicts.0), SlotFolder::of(&verdicts.0));
        runner.open().unwrap();
        for round in 1..=2 {
            assert_eq!(runner.given_up(round), None);
            test.give_up(round, "a node image").unwrap();
            assert_eq!(runner.given_up(round).as_deref(), Some("a node image"));
            assert!(!runner.is_asked_back(round));
            test.ask_back(round).unwrap();
            assert!(runner.is_asked_back(round));
            assert!(!test.is_granted(round), "nobody granted it");
            runner.grant(round).unwrap();
            assert!(test.is_granted(round));
        }
    }

    #[test]
    fn without_a_runner_that_heeds_it_the_folder_is_not_there() {
        let verdicts = Verdicts::new("alone");
        let alone = SlotFolder::of(&verdicts.0);
        assert!(!alone.is_open());
        assert!(alone.give_up(1, "a node image").is_err());
        alone.open().unwrap();
        assert!(alone.is_open());
    }
}
