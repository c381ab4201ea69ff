//! `tidy`: the repository's own rules as code.
//!
//! Each rule looks at the tree as text and says what it expected, what it found
//! and what to do about it.

mod shape;

use std::fmt;
use std::path::Path;

use anyhow::Context;

use crate::workspace::Workspace;
use crate::{cli, process};

/// The files of the repository, as git knows them.
pub(crate) struct Tree {
    pub(crate) files: Vec<TextFile>,
}

/// A file and its path from the root of the repository.
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A rule that does not hold.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The file, and the line where one can be named.
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

/// A rule: the whole tree in, what is wrong out.
type Rule = fn(&Tree) -> Vec<Finding>;

const RULES: &[Rule] = &[shape::check];

/// Checks every rule and prints what is wrong.
pub(crate) fn print(workspace: &Workspace) -> anyhow::Result<u8> {
    let tree = Tree::read(&workspace.root())?;
    let findings: Vec<_> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for finding in &findings {
        println!("{finding}\n");
    }
    let files = tree.files.len();
    if findings.is_empty() {
        println!("tidy result: ok. {files} files");
        return Ok(cli::OK);
    }
    println!(
        "tidy result: FAILED. {} findings in {files} files",
        findings.len()
    );
    Ok(cli::CHECK_FAILED)
}

impl Tree {
    /// Reads what is tracked or about to be; what is not text is left out.
    fn read(root: &Path) -> anyhow::Result<Self> {
        let mut git = process::command("git");
        git.current_dir(root);
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
            // A link's target is checked where it lies, a removed file is gone.
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
        Ok(Self { files })
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &TextFile> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
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
        }
    }

    /// What a rule says about a tree, as a person reads it.
    pub(crate) fn told(rule: Rule, files: &[(&str, &str)]) -> String {
        let findings: Vec<_> = rule(&tree(files)).iter().map(Finding::to_string).collect();
        findings.join("\n")
    }
}
