//! How a test gives up its slot while it makes what nobody prepared, and gets a slot again.
//!
//! The runner starts as many tests at a time as it has slots. A test that has to build a node image
//! first would hold a slot for minutes in which it tests nothing. So the test and the runner
//! exchange words through files in a folder: one file for each word, numbered by the round. No file
//! is ever removed, so that neither side can miss a word.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the folder, which stands beside the verdict files. The folder exists only if a runner
/// reads it.
const FOLDER: &str = "slot";

/// The folder through which a test and its runner speak about the test's slot.
#[derive(Debug, Clone)]
pub struct SlotFolder {
    path: PathBuf,
}

impl SlotFolder {
    /// The slot folder of the test whose verdict files are in `verdicts`.
    pub fn of(verdicts: &Path) -> Self {
        Self {
            path: verdicts.join(FOLDER),
        }
    }

    /// For the runner: makes the folder, which tells the test that a runner reads it.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(&self) -> io::Result<()> {
        fs::create_dir_all(&self.path)
    }

    /// For the test: whether a runner reads the folder.
    pub fn is_open(&self) -> bool {
        self.path.is_dir()
    }

    /// For the test: gives up its slot in order to make `what`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn give_up(&self, round: u32, what: &str) -> io::Result<()> {
        self.say("given-up", round, what)
    }

    /// For the test: asks for a slot again.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn ask_back(&self, round: u32) -> io::Result<()> {
        self.say("asked-back", round, "")
    }

    /// For the runner: lets the test go on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn grant(&self, round: u32) -> io::Result<()> {
        self.say("granted", round, "")
    }

    /// For the runner: what the test makes in this round, if it has given up its slot.
    pub fn given_up(&self, round: u32) -> Option<String> {
        fs::read_to_string(self.word("given-up", round)).ok()
    }

    /// For the runner: whether the test asks for a slot again.
    pub fn is_asked_back(&self, round: u32) -> bool {
        self.word("asked-back", round).exists()
    }

    /// For the test: whether it may go on.
    pub fn is_granted(&self, round: u32) -> bool {
        self.word("granted", round).exists()
    }

    fn word(&self, word: &str, round: u32) -> PathBuf {
        self.path.join(format!("{word}-{round}"))
    }

    /// Renames a finished file into place, so that a reader never sees half of the text.
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
