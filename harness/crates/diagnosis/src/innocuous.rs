//! Logs of healthy runs, and texts that only quote errors: no cause may be recognised in them.
//!
//! The logs are in `fixtures/innocuous/<kind>/`, reduced to warnings, errors and some lines around
//! them. The first line of each says where it is from.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

use super::*;

fn logs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fixtures/innocuous");
    let entries = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("must list");
        entries.map(|entry| entry.expect("must list").path())
    };
    let mut logs: Vec<_> = entries(&root)
        .collect::<Vec<_>>()
        .iter()
        .flat_map(|folder| entries(folder))
        .collect();
    logs.sort();
    logs
}

#[test]
fn logs_of_healthy_runs_show_nothing() {
    assert_no_diagnosis(logs());
}

#[test]
fn source_code_that_quotes_errors_shows_nothing() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [root.join("src"), root.join("src/causes")];
    let sources = folders.iter().flat_map(|folder| {
        let entries = fs::read_dir(folder).expect("must list");
        entries.map(|entry| entry.expect("must list").path())
    });
    let sources: Vec<_> = sources
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    assert!(sources.len() > 20, "{sources:?}");
    assert_no_diagnosis(sources);
}

fn assert_no_diagnosis(texts: Vec<PathBuf>) {
    let wrong: Vec<_> = texts
        .into_iter()
        .flat_map(|text| {
            let reading = read(std::slice::from_ref(&text)).expect("must read");
            let found = diagnose(&reading.evidence).into_iter();
            found.map(move |diagnosis| {
                let line = &diagnosis.lines[0].evidence.text;
                format!("{}: {}: {line}", text.display(), diagnosis.id)
            })
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn there_are_many_different_logs_and_each_names_its_origin() {
    let mut seen = HashSet::new();
    for log in logs() {
        let text = fs::read_to_string(&log).expect("must read");
        let (how, rest) = text.split_once('\n').expect("must have lines");
        assert!(how.starts_with("# "), "{}", log.display());
        assert!(
            seen.insert(rest.to_owned()),
            "{} is there twice",
            log.display()
        );
    }
    assert!(seen.len() >= 200, "{}", seen.len());
}
