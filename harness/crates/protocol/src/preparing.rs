//! What `kubenest prepare` and a runner of tests tell each other: what tests need, what of it has
//! to be made, and how that goes on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The need for the node of specs that name none.
pub const DEFAULT: &str = "default";

/// Tests by name, as `package::file::module::test`, and what each needs: a file that the runner
/// hands to `kubenest prepare --for`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TestNeeds {
    /// What is declared for each test.
    pub tests: BTreeMap<String, Vec<String>>,
}

/// What each of some tests asked for in a run: a file that the runner hands to
/// `kubenest prepare --remember`, and the memory of that in the cache.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// By the name of the test.
    pub tests: BTreeMap<String, LastRun>,
}

/// What one test asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// What was declared for it then. Once something else is, it holds beside what was asked for.
    pub declared: Vec<String>,
    /// What it asked for.
    pub asked: Vec<String>,
}

/// A line of `kubenest prepare --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// Nothing is made: a need means nothing, or what there is cannot be looked at.
    Refused {
        /// Why, and the cure.
        message: String,
        /// The needs are wrong, not the machine.
        usage: bool,
    },
    /// What is to be made; always the first.
    Plan(Plan),
    /// A piece is begun.
    Started {
        /// Its place in the plan.
        piece: usize,
    },
    /// A piece is there.
    Made {
        /// Its place in the plan.
        piece: usize,
        /// How long it took.
        seconds: f64,
    },
    /// A piece cannot be made, or something that it is made of.
    Failed {
        /// Its place in the plan.
        piece: usize,
        /// How long it took.
        seconds: f64,
        /// Why, and the cure.
        message: String,
    },
}

/// What is to be made.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What has to be made, in about the order in which it is.
    pub pieces: Vec<Piece>,
    /// About how long all of it takes, in seconds; several are made at a time.
    pub seconds: f64,
    /// What each need that was declared stands for: what a test may ask for that has it.
    pub needs: BTreeMap<String, Vec<String>>,
    /// What is remembered of the tests.
    pub memory: Memory,
}

/// A component, a program or an image that has to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Its name for people.
    pub name: String,
    /// How it is made, such as `Go build`.
    pub how: String,
    /// About how long that takes, in seconds.
    pub seconds: f64,
    /// It was measured here once, and not guessed by its kind.
    pub measured: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written() {
        let piece = Piece {
            name: "kind 0.27.0".to_owned(),
            how: "Go build".to_owned(),
            seconds: 30.5,
            measured: true,
        };
        let plan = Plan {
            pieces: vec![piece],
            seconds: 30.5,
            needs: [("default".to_owned(), vec!["a".to_owned()])].into(),
            memory: Memory::default(),
        };
        let failed = Event::Failed {
            piece: 0,
            seconds: 1.0,
            message: "no Go".to_owned(),
        };
        for event in [Event::Plan(plan), Event::Started { piece: 0 }, failed] {
            let line = serde_json::to_string(&event).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        }
    }
}
