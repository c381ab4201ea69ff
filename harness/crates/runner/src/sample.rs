//! A small workspace of cargo's for the runner's own tests, with a crate in the place of kubenest
//! and a program in that of `kubenest`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Tests that end in each way, and tell it as the library does.
const TESTS: &str = r##"
fn leave(verdict: &str, message: &str) {
    let folder = std::env::var("KUBENEST_VERDICTS").unwrap();
    let phases = r#"{"boot": 9.5, "body": 1.5}"#;
    let text = format!(
        "{{\"test\": \"\", \"cluster\": \"kn-1\", \"verdict\": \"{verdict}\", \
          \"message\": \"{message}\", \"phases\": {phases}}}"
    );
    std::fs::write(std::path::Path::new(&folder).join("verdict-1.json"), text).unwrap();
}
#[test]
fn it_holds() {
    leave("passed", "");
}
#[test]
fn it_does_not_hold() {
    assert_eq!(1, 2, "one is two");
}
#[test]
fn its_nodes_do_not_boot() {
    leave("setup", "no engine");
    panic!("no engine");
}
#[test]
#[ignore]
fn it_is_left_out() {}
"##;

/// A test that ends only when it is told to, and says that it has begun.
const ENDLESS: &str = r#"
#[test]
fn it_waits() {
    std::fs::write("../begun", "").unwrap();
    loop {
        std::thread::park();
    }
}
"#;

/// A folder with the workspace `operator`, `endless`, `plain`, `empty` and `kubenest`.
pub(crate) struct Sample {
    folder: TempDir,
}

impl Sample {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let members = r#"members = ["operator", "endless", "plain", "empty", "kubenest"]"#;
        write(
            "Cargo.toml",
            &format!("[workspace]\nresolver = \"3\"\n{members}\n"),
        );
        for name in ["operator", "endless", "plain", "empty", "kubenest"] {
            let uses = match name {
                "operator" | "endless" => "[dev-dependencies]\nempty = { path = \"../empty\" }\n",
                "empty" => "[dependencies]\nkubenest = { path = \"../kubenest\" }\n",
                _ => "",
            };
            let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{uses}");
            write(&format!("{name}/Cargo.toml"), &package);
            write(&format!("{name}/src/lib.rs"), "");
        }
        write("operator/tests/on_nodes.rs", TESTS);
        write("endless/tests/endless.rs", ENDLESS);
        write("operator/src/lib.rs", "#[test]\nfn it_adds() {}\n");
        write("program", "#!/bin/sh\necho \"$@\" >>\"${0%/*}/asked\"\n");
        let sample = Self { folder };
        fs::set_permissions(sample.kubenest(), Permissions::from_mode(0o755)).unwrap();
        sample
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A program that only notes in the file `asked` what it is asked for.
    fn kubenest(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    pub(crate) fn manifest(&self, package: &str) -> PathBuf {
        self.folder.path().join(package).join("Cargo.toml")
    }
}
