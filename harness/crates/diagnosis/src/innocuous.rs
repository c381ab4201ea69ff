//! Logs of runs in which nothing was wrong, and texts that only quote errors: none of them is
//! diagnosed.
//!
//! `fixtures/innocuous/<kind>/` has them, cut to warnings, errors and some lines around; the
//! first line of each says how it was had.

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
fn logs_of_runs_without_a_fault_show_nothing() {
    show_nothing(logs());
}

#[test]
fn sources_that_quote_errors_show_nothing() {
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
    show_nothing(sources);
}

fn show_nothing(texts: Vec<PathBuf>) {
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
fn they_are_many_and_differ_and_each_says_how_it_was_had() {
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
