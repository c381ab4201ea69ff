//! Files are short, and their first line says what they are for.

use super::{Finding, TextFile, Tree};

/// Maximum number of lines of a file.
const FILE: usize = 500;
/// Lower limits for the files that newcomers read first.
const SHORTER: [(&str, usize); 2] = [("README.md", 120), ("harness/src/lib.rs", 100)];
/// Extensions of hand-written files; data and lock files may be longer.
const MEASURED: [&str; 5] = [".rs", ".sh", ".md", ".yml", ".ci/run"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let too_long = tree.files.iter().filter_map(too_long);
    let without_header = tree.rust().filter_map(without_header);
    too_long.chain(without_header).collect()
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

fn without_header(file: &TextFile) -> Option<Finding> {
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
    use super::super::tests::report;
    use super::*;

    #[test]
    fn long_and_headless_files_are_named() {
        let long = format!("//! Long.\n{}", "\n".repeat(FILE));
        let readme = "a\n".repeat(121);
        insta::assert_snapshot!(report(
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
        assert_eq!(report(check, &files), "");
    }
}
