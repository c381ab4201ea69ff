//! Where in the sources a failure is: the panic of the test, or else the test itself.

use std::fmt;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::plan::Test;

/// A line of a source file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The file's path from the root of the sources.
    pub(crate) file: String,
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Finds the place where a test with this log failed, as a path from the root of the sources.
pub(crate) fn find(test: &Test, root: &Path, log: &str) -> Option<Place> {
    find_panic(log).or_else(|| {
        let text = fs::read_to_string(&test.source).ok()?;
        let file = test.source.strip_prefix(root).unwrap_or(&test.source);
        Some(Place {
            file: file.display().to_string(),
            line: find_function(&text, &test.name)?,
        })
    })
}

/// The first panic in a file of these sources. Their paths are relative; files of other crates have
/// absolute ones.
fn find_panic(log: &str) -> Option<Place> {
    log.lines()
        .filter(|line| line.starts_with("thread '"))
        .find_map(|line| {
            let (_, place) = line.rsplit_once(" panicked at ")?;
            let mut parts = place.trim_end_matches(':').rsplitn(3, ':');
            let (_column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
            let line = line.parse().ok()?;
            (!file.starts_with('/')).then(|| Place {
                file: file.to_owned(),
                line,
            })
        })
}

/// The line at which the function at the end of this module path is defined.
fn find_function(text: &str, path: &str) -> Option<usize> {
    let (modules, function) = path.rsplit_once("::").unwrap_or(("", path));
    let mut lines = text.lines().enumerate();
    for module in modules.split("::").filter(|module| !module.is_empty()) {
        lines.find(|(_, line)| line.trim_start().starts_with(&format!("mod {module} ")))?;
    }
    let (at, _) = lines.find(|(_, line)| line.contains(&format!("fn {function}(")))?;
    Some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_panic_in_our_own_file_counts() {
        let log = "thread 'tokio' (8) panicked at /rustc/ab/library/core/src/option.rs:1:2:\nx\n\
            thread 'fixed::a' (7) panicked at suites/x/tests/regression.rs:9:5:\nabsent\n";
        let place = find_panic(log).unwrap();
        assert_eq!(place.to_string(), "suites/x/tests/regression.rs:9");
        assert_eq!(find_panic("Error: no engine\n"), None);
    }

    #[test]
    fn a_test_is_found_in_its_own_module() {
        let text = "mod affected {\n    fn a() {}\n}\nmod fixed {\n    async fn a() {}\n}\n";
        assert_eq!(find_function(text, "fixed::a"), Some(5));
        assert_eq!(find_function(text, "affected::a"), Some(2));
        assert_eq!(find_function(text, "fixed::b"), None);
    }
}
