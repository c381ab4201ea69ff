//! What a test asked for while it ran. The runner prepares the next run of the test by it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Name of the file, which stands beside the verdict files. Each line of it is one demand.
const FILE: &str = "asked.jsonl";

/// One thing that a test asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Demand {
    /// Its name, as `kubenest prepare` takes it.
    pub need: String,
    /// Whether the test had to make the thing itself, since nobody had prepared it.
    pub made: bool,
}

impl Demand {
    /// Adds the demand to those of the test whose verdict files are in `verdicts`. Several
    /// processes may add demands at the same time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&self, verdicts: &Path) -> io::Result<()> {
        fs::create_dir_all(verdicts)?;
        let path = verdicts.join(FILE);
        let mut file = File::options().create(true).append(true).open(path)?;
        // One call writes the whole line, so that the lines of several processes do not mix.
        file.write_all(format!("{}\n", serde_json::to_string(self)?).as_bytes())
    }

    /// The demands of the test whose verdict files are in `verdicts`, each thing once; `made` holds
    /// if any demand for the thing says so. A line that a kill cut short is left out.
    pub fn of(verdicts: &Path) -> Vec<Self> {
        let text = fs::read_to_string(verdicts.join(FILE)).unwrap_or_default();
        let lines = text.lines();
        let mut all: Vec<Self> = lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        // Among demands of one name the made one comes first, and so is the one that stays.
        all.sort_by(|a, b| (&a.need, b.made).cmp(&(&b.need, a.made)));
        all.dedup_by(|later, first| later.need == first.need);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_told_once_and_one_that_was_made_as_that() {
        let folder = std::env::temp_dir().join(format!("asked-{}", std::process::id()));
        assert!(Demand::of(&folder).is_empty());
        for (need, made) in [("kind 0.27.0", false), ("a", false), ("kind 0.27.0", true)] {
            let need = need.to_owned();
            Demand { need, made }.note(&folder).unwrap();
        }
        let mut file = File::options()
            .append(true)
            .open(folder.join(FILE))
            .unwrap();
        file.write_all(b"{\"need\":\"cut").unwrap();
        let asked = Demand::of(&folder);
        fs::remove_dir_all(&folder).unwrap();
        let told: Vec<_> = asked
            .iter()
            .map(|one| (one.need.as_str(), one.made))
            .collect();
        assert_eq!(told, [("a", false), ("kind 0.27.0", true)]);
    }
}
