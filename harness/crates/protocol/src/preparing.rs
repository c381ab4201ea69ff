//! What `kubenest prepare` and a test runner tell each other: what tests need, what has to be made
//! for that, and how far the making is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The need for the node that a spec gets when it names none.
pub const DEFAULT: &str = "default";

/// The needs of tests. The runner writes them to a file and hands it to `kubenest prepare --for`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TestNeeds {
    /// The declared needs of each test, by the test's name `package::file::module::test`.
    pub tests: BTreeMap<String, Vec<String>>,
}

/// What tests asked for in their last runs, and how long these took. The runner writes the news to a file and hands it to
/// `kubenest prepare --remember`; the cache holds the memory of all tests in the same form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The last run of each test, by the test's name.
    pub tests: BTreeMap<String, LastRun>,
}

/// What one test asked for in its last run, and how long that took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// The needs that were declared for the test at that time. When the declared needs have changed
    /// since, the test gets them in addition to what it asked for.
    pub declared: Vec<String>,
    /// The needs that the test asked for.
    pub asked: Vec<String>,
    /// When it ended and how long it took; `None` if an older version of the runner wrote this.
    #[serde(default)]
    pub timing: Option<Timing>,
}

/// When a test ended and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The end, in seconds since 1970.
    pub ended: u64,
    /// The time of the test, in seconds, without what it made because nobody had prepared it.
    pub seconds: u64,
}

/// A node that tests can run on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its whole name: a recipe's name, or a node image by digest.
    pub name: String,
    /// The known versions of its parts, such as kubernetes = 1.34.3.
    pub versions: BTreeMap<String, String>,
}

/// A line of `kubenest prepare --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// Nothing is made, because a need is unknown or the engine or the cache cannot be read.
    Refused {
        /// Why, and the cure.
        message: String,
        /// Whether the needs are wrong; otherwise the machine is.
        usage: bool,
    },
    /// The answer to `--recall`: what the names of `--nodes` mean, each node once, and what all
    /// tests asked for.
    Recalled {
        /// The nodes, in the order in which they were asked for.
        nodes: Vec<Node>,
        /// What the cache remembers.
        memory: Memory,
    },
    /// What is to be made; always the first event.
    Plan(Plan),
    /// The making of a piece has begun.
    Started {
        /// Its place in the plan.
        piece: usize,
    },
    /// A piece has been made.
    Made {
        /// Its place in the plan.
        piece: usize,
        /// How long it took.
        seconds: f64,
    },
    /// A piece, or something that it is made of, cannot be made.
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
    /// The pieces, in about the order in which they are made.
    pub pieces: Vec<Piece>,
    /// About how many seconds the making of all pieces takes; several are made at a time.
    pub seconds: f64,
    /// For each declared need, the names that a test with this need may ask for.
    pub needs: BTreeMap<String, Vec<String>>,
    /// What the cache remembers of these tests.
    pub memory: Memory,
    /// Variables by which tests' other tools find the engine of their clusters, where nothing in
    /// the environment of the run names one.
    #[serde(default)]
    pub variables: BTreeMap<String, String>,
}

/// A component, a program or an image that has to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Piece {
    /// Its name for people.
    pub name: String,
    /// How it is made, such as `Go build`.
    pub how: String,
    /// About how many seconds the making takes.
    pub seconds: f64,
    /// Whether `seconds` was measured on this machine; otherwise it is a guess by the kind of the
    /// piece.
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
            variables: [("DOCKER_HOST".to_owned(), "unix:///a".to_owned())].into(),
        };
        let failed = Event::Failed {
            piece: 0,
            seconds: 1.0,
            message: "no Go".to_owned(),
        };
        let node = Node {
            name: "v1.34.3-cri-o-1.34.0".to_owned(),
            versions: [("crio".to_owned(), "1.34.0".to_owned())].into(),
        };
        let nodes = Event::Recalled {
            nodes: vec![node],
            memory: Memory::default(),
        };
        let started = Event::Started { piece: 0 };
        for event in [nodes, Event::Plan(plan), started, failed] {
            let line = serde_json::to_string(&event).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event);
        }
    }
}
