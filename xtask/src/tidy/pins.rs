//! External inputs are pinned: images by digest, workflow actions by commit.

use super::{Finding, TextFile, Tree};

/// Folders whose files name images.
const IMAGE_FOLDERS: [&str; 3] = [
    "fixtures/data/",
    "harness/crates/forge/data/",
    "harness/crates/recipe/data/",
];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let files = tree.files.iter();
    files
        .flat_map(|file| match file.path.as_str() {
            path if IMAGE_FOLDERS.iter().any(|folder| path.starts_with(folder)) => {
                check_images(file)
            }
            path if path.starts_with(".github/") => check_actions(file),
            _ => vec![],
        })
        .collect()
}

fn check_images(file: &TextFile) -> Vec<Finding> {
    let unpinned = values(file, "image:").filter(|(_, image)| !is_pinned_image(image));
    unpinned
        .map(|(line, image)| Finding {
            place: format!("{}:{line}", file.path),
            expected: "an image by digest, name@sha256:<64 hex digits>".to_owned(),
            actual: image.to_owned(),
            cure: "append the digest; a tag may point elsewhere tomorrow".to_owned(),
        })
        .collect()
}

fn check_actions(file: &TextFile) -> Vec<Finding> {
    let unpinned = values(file, "uses:").filter(|(_, action)| !is_pinned_action(action));
    unpinned
        .map(|(line, action)| Finding {
            place: format!("{}:{line}", file.path),
            expected: "an action by commit, owner/name@<40 hex digits>".to_owned(),
            actual: action.to_owned(),
            cure: "name the commit and put the version in a comment behind it".to_owned(),
        })
        .collect()
}

/// The values of a YAML key, with their lines.
fn values<'a>(file: &'a TextFile, key: &str) -> impl Iterator<Item = (usize, &'a str)> {
    file.text.lines().enumerate().filter_map(move |(at, line)| {
        let line = line.trim_start().trim_start_matches("- ").trim_start();
        let value = line.strip_prefix(key)?.split(" #").next()?;
        let value = value.trim().trim_matches(['"', '\'']);
        (!value.is_empty()).then_some((at + 1, value))
    })
}

/// Whether an image is named by digest, or as `…:@NAME@`, which the recipe builds itself.
fn is_pinned_image(image: &str) -> bool {
    let built = image.ends_with('@') && image.matches('@').count() == 2;
    built
        || image
            .rsplit_once("@sha256:")
            .is_some_and(|(_, digest)| is_hex(digest, 64))
}

/// Whether an action is named by commit, or from this repository.
fn is_pinned_action(action: &str) -> bool {
    let own = action.starts_with("./");
    own || action
        .rsplit_once('@')
        .is_some_and(|(_, commit)| is_hex(commit, 40))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn digests_commits_and_built_images_pass() {
        let image = format!(
            "  - image: \"kindest/node:v1.32.1@sha256:{}\"\n",
            "a0".repeat(32)
        );
        let action = format!("- uses: actions/checkout@{} # v4.2.2\n", "a0".repeat(20));
        assert_eq!(
            report(
                check,
                &[
                    ("fixtures/data/a.yaml", image.as_str()),
                    (
                        "fixtures/data/b.yaml",
                        "image: registry.k8s.io/kube-proxy:@KUBERNETES@\n"
                    ),
                    (".github/workflows/a.yml", action.as_str()),
                    (
                        ".github/workflows/b.yml",
                        "- uses: ./.github/actions/setup\n"
                    ),
                    ("docs/a.md", "image: busybox:latest\n"),
                ]
            ),
            ""
        );
    }

    #[test]
    fn tags_are_named() {
        insta::assert_snapshot!(report(
            check,
            &[
                (
                    "fixtures/data/a.yaml",
                    "kind: Pod\n  image: busybox:latest\n"
                ),
                (
                    "harness/crates/forge/data/a.yaml",
                    "image: kindest/node@sha256:12 # short\n"
                ),
                (
                    ".github/workflows/a.yml",
                    "steps:\n  - uses: actions/checkout@v4\n"
                ),
            ]
        ));
    }
}
