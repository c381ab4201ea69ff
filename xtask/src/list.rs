//! `list`: the suites and what each one reproduces.

use kubenest_runner::exit;
use serde::Serialize;

use crate::workspace::{Suite, Workspace};

/// How many minutes a machine with an empty cache prepares what a suite needs.
const PREPARING: u64 = 40;

/// A suite as the CI matrix needs it.
#[derive(Serialize)]
struct Entry<'a> {
    #[serde(flatten)]
    suite: &'a Suite,
    /// The budget, and the time to prepare.
    timeout_minutes: u64,
}

/// Prints the suites for people, or as JSON.
pub(crate) fn print(workspace: &Workspace, json: bool) -> anyhow::Result<u8> {
    let suites = workspace.suites()?;
    if json {
        println!("{}", as_json(&suites)?);
    } else {
        print!("{}", as_text(&suites));
    }
    Ok(exit::OK)
}

fn as_json(suites: &[Suite]) -> anyhow::Result<String> {
    let mut entries = Vec::new();
    for suite in suites {
        let timeout_minutes = suite.manifest.budget()?.as_secs().div_ceil(60) + PREPARING;
        entries.push(Entry {
            suite,
            timeout_minutes,
        });
    }
    Ok(serde_json::to_string(&entries)?)
}

fn as_text(suites: &[Suite]) -> String {
    let mut text = String::new();
    for suite in suites {
        let manifest = &suite.manifest;
        text.push_str(&format!("{}\n", suite.name));
        let keys = [
            ("component", &manifest.component),
            ("affected", &manifest.affected),
            ("fixed", &manifest.fixed),
            ("cluster", &manifest.cluster),
            ("budget", &manifest.budget),
        ];
        for (key, value) in keys {
            text.push_str(&format!("  {key:<11}{value}\n"));
        }
        for link in &manifest.upstream {
            text.push_str(&format!("  {:<11}{link}\n", "upstream"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::tests::suite;

    #[test]
    fn the_list_shows_every_manifest_key() {
        let suites = [
            suite("image-gc", "1.7.0", "1.7.1"),
            suite("selfcheck", "-", "-"),
        ];
        insta::assert_snapshot!(as_text(&suites));
        insta::assert_snapshot!("json", as_json(&suites).unwrap());
    }
}
