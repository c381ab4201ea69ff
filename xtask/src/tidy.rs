//! `tidy`: checks the repository's own rules.
//!
//! Each rule checks the text of the files, and reports what it expected, what it found and the
//! cure.

mod names;
mod pages;
mod pins;
mod scripts;
mod shape;
mod suites;

use std::fmt;
use std::path::Path;

use anyhow::Context;
use cargo_metadata::Package;
use kubenest_runner::{exit, process};
use serde_json::Value;

use crate::workspace::Workspace;

/// The files of the repository, according to git, and the suites, according to cargo.
pub(crate) struct Tree {
    pub(crate) files: Vec<TextFile>,
    pub(crate) suites: Vec<SuiteCrate>,
}

/// A file and its path from the root of the repository.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A crate below `suites/`.
pub(crate) struct SuiteCrate {
    pub(crate) name: String,
    /// From the root of the repository.
    pub(crate) folder: String,
    /// `[package.metadata.suite]`, or null.
    pub(crate) metadata: Value,
}

/// A violation of a rule.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The file, and the line if there is one.
    pub(crate) place: String,
    pub(crate) expected: String,
    pub(crate) actual: String,
    pub(crate) cure: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            expected,
            actual,
            cure,
        } = self;
        write!(
            f,
            "tidy: {place}\n  expected  {expected}\n  actual    {actual}\n  cure      {cure}"
        )
    }
}

/// A rule: takes the whole tree and returns its violations.
type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[
    shape::check,
    suites::check,
    pins::check,
    names::check,
    pages::check,
    scripts::check,
];

/// Checks every rule and prints the violations.
pub(crate) fn print(workspace: &Workspace) -> anyhow::Result<u8> {
    let tree = Tree::read(workspace)?;
    let findings: Vec<_> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for finding in &findings {
        println!("{finding}\n");
    }
    let files = tree.files.len();
    if findings.is_empty() {
        println!("tidy result: ok. {files} files");
        return Ok(exit::OK);
    }
    println!(
        "tidy result: FAILED. {} findings in {files} files",
        findings.len()
    );
    Ok(exit::CHECK_FAILED)
}

/// The paths of the repository's shell scripts.
pub(crate) fn scripts(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let tree = Tree::read(workspace)?;
    Ok(scripts::paths(&tree).map(str::to_owned).collect())
}

impl Tree {
    /// Reads all text files that are tracked or not ignored.
    fn read(workspace: &Workspace) -> anyhow::Result<Self> {
        let root = workspace.root();
        let mut git = process::command("git");
        git.current_dir(&root);
        git.args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let mut files = Vec::new();
        for path in process::output(&mut git)?.split_terminator('\0') {
            let full = root.join(path);
            // Skips links, whose targets are checked themselves, and removed files that are still
            // tracked.
            if !full.symlink_metadata().is_ok_and(|found| found.is_file()) {
                continue;
            }
            let bytes = std::fs::read(&full).with_context(|| format!("read {path}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(TextFile {
                    path: path.to_owned(),
                    text,
                });
            }
        }
        Ok(Self {
            files,
            suites: suite_crates(workspace, &root),
        })
    }

    pub(crate) fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &TextFile> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

fn suite_crates(workspace: &Workspace, root: &Path) -> Vec<SuiteCrate> {
    let packages = workspace.metadata.workspace_packages();
    let folder = |package: &Package| {
        let folder = package.manifest_path.parent()?.strip_prefix(root).ok()?;
        folder.starts_with("suites").then(|| folder.to_string())
    };
    let suites = packages.into_iter().filter_map(|package| {
        Some(SuiteCrate {
            name: package.name.to_string(),
            folder: folder(package)?,
            metadata: package.metadata.get("suite").cloned().unwrap_or_default(),
        })
    });
    suites.collect()
}

/// The lines of a Rust file without comment lines, with their numbers.
fn code_lines(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A tree of these paths and texts.
    pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
        let file = |(path, text): &(&str, &str)| TextFile {
            path: (*path).to_owned(),
            text: (*text).to_owned(),
        };
        Tree {
            files: files.iter().map(file).collect(),
            suites: vec![],
        }
    }

    /// The findings of a rule in a tree, as text.
    pub(crate) fn report(rule: Rule, files: &[(&str, &str)]) -> String {
        let findings: Vec<_> = rule(&tree(files)).iter().map(Finding::to_string).collect();
        findings.join("\n")
    }
}
