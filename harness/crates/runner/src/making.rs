//! The times at which things were made for tests, as the record of a run holds them.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How many pieces one line names at most.
const MOST_NAMED: usize = 3;

/// Something that was made for tests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Making {
    /// The name that `kubenest prepare` knows it by.
    pub(crate) name: String,
    pub(crate) started: DateTime<Utc>,
    pub(crate) seconds: f64,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failed: Option<String>,
}

/// What was made before the tests of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Preparation {
    /// The folder of the run, if another machine's run was added to the report.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub(crate) folder: PathBuf,
    pub(crate) started: DateTime<Utc>,
    /// Wall-clock seconds of the whole preparation.
    pub(crate) seconds: f64,
    pub(crate) pieces: Vec<Making>,
}

/// Seconds as the files of a run hold them: rounded to milliseconds.
pub(crate) fn round_to_milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

impl Preparation {
    /// `prepared  3 of 4 in 536.0s  (kubernetes 1.32.1 471.0s, …)`, with the longest first. None of
    /// it is a test's time.
    pub(crate) fn closing_line(&self) -> String {
        let mut pieces: Vec<_> = self.pieces.iter().collect();
        pieces.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        let failed = pieces.iter().filter(|piece| piece.failed.is_some());
        let made = pieces.len() - failed.count();
        let of = match pieces.len() {
            all if all == made => String::new(),
            all => format!(" of {all}"),
        };
        let told = pieces.iter().take(MOST_NAMED);
        let mut told: Vec<_> = told
            .map(|piece| format!("{} {:.1}s", piece.name, piece.seconds))
            .collect();
        if pieces.len() > MOST_NAMED {
            told.push("…".to_owned());
        }
        let told = told.join(", ");
        format!(
            "prepared  {made}{of} in {:.1}s, before the tests  ({told})",
            self.seconds
        )
    }
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_767_225_600 + second, 0).unwrap()
    }

    /// Kubernetes and an OS side by side, then an image that fails.
    pub(crate) fn preparation() -> Preparation {
        let making = |name: &str, second, seconds, failed: Option<&str>| Making {
            name: name.to_owned(),
            started: at(second),
            seconds,
            failed: failed.map(str::to_owned),
        };
        Preparation {
            folder: PathBuf::new(),
            started: at(-500),
            seconds: 500.0,
            pieces: vec![
                making("os-bookworm", -500, 60.0, None),
                making("kubernetes 1.32.1", -500, 471.0, None),
                making("v1.32.1", -29, 25.0, Some("no <disk>")),
                making("kind 0.27.0", -430, 1.0, None),
            ],
        }
    }

    #[test]
    fn the_closing_line_names_what_took_longest() {
        insta::assert_snapshot!(preparation().closing_line(), @"prepared  3 of 4 in 500.0s, before the tests  (kubernetes 1.32.1 471.0s, os-bookworm 60.0s, v1.32.1 25.0s, …)");
        let mut one = preparation();
        one.pieces.truncate(1);
        insta::assert_snapshot!(one.closing_line(), @"prepared  1 in 500.0s, before the tests  (os-bookworm 60.0s)");
    }
}
