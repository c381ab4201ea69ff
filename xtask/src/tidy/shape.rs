//! Files stay short and say in their first line what they are for.

use super::{Finding, TextFile, Tree};

/// Lines of a source file.
const FILE: usize = 500;
/// Files that are read first have to be shorter.
const SHORTER: [(&str, usize); 2] = [("README.md", 120), ("harness/src/lib.rs", 100)];
/// Hand-written text; data and lock files have their own measure.
const MEASURED: [&str; 5] = [".rs", ".sh", ".md", ".yml", ".ci/run"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let too_long = tree.files.iter().filter_map(too_long);
    let headless = tree.rust().filter_map(headless);
    too_long.chain(headless).collect()
}

fn too_long(file: &TextFile) -> Option<Finding> {
    let shorter = SHORTER.iter().find(|(path, _)| *path == file.path);
    let limit = shorter.map_or(FILE, |(_, limit)| *limit);
    let lines = file.text.lines().count();
    let measured = MEASURED.iter().any(|end| file.path.ends_with(end));
    (measured && lines > limit).then(|| Finding {
        place: file.path.clone(),
        expected: format!("at most {limit} lines"),
        actual: format!("{lines} lines"),
        cure: "split the file by topic, or say it shorter".to_owned(),
    })
}

fn headless(file: &TextFile) -> Option<Finding> {
    let first = file.text.lines().next().unwrap_or_default();
    let says = first
        .strip_prefix("//! ")
        .is_some_and(|text| !text.trim().is_empty());
    (!says).then(|| Finding {
        place: format!("{}:1", file.path),
        expected: "a first line `//! what this file is for`".to_owned(),
        actual: format!("{first:?}"),
        cure: "say in one sentence what the file is for".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;
    use super::*;

    #[test]
    fn long_and_headless_files_are_named() {
        let long = format!("//! Long.\n{}", "\n".repeat(FILE));
        let readme = "a\n".repeat(121);
        insta::assert_snapshot!(told(
            check,
            &[
                ("xtask/src/long.rs", long.as_str()),
                ("README.md", readme.as_str()),
                ("xtask/src/headless.rs", "use std::fs;\n"),
                ("xtask/src/empty_header.rs", "//! \n"),
            ]
        ));
    }

    #[test]
    fn short_files_with_a_header_and_data_pass() {
        let lock = "a\n".repeat(4000);
        let files = [
            ("a.rs", "//! A.\nfn a() {}\n"),
            ("Cargo.lock", lock.as_str()),
        ];
        assert_eq!(told(check, &files), "");
    }
}
