//! A small cargo workspace for the runner's own tests, with stand-ins for the crate kubenest and
//! for the program `kubenest`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Tests that end in each possible way, and report it as the library does.
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
    assert_ne!(std::env::var("KUBENEST_NODE").as_deref(), Ok("old"));
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

/// A test that says that it has begun, and ends only when it is asked to.
const ENDLESS: &str = r#"
#[test]
fn it_waits() {
    std::fs::write("../begun", "").unwrap();
    loop {
        std::thread::park();
    }
}
"#;

/// A test that gives up its slot until another test has run, as the library does.
const MAKING: &str = r#"
use std::path::{Path, PathBuf};

fn slot(word: &str) -> PathBuf {
    Path::new(&std::env::var("KUBENEST_VERDICTS").unwrap()).join("slot").join(word)
}
fn until(path: &Path) {
    for _ in 0..1200 {
        if path.exists() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    panic!("waited 60 s for {}", path.display());
}
#[test]
fn it_makes_what_nobody_prepared() {
    std::fs::write(slot("given-up-1"), "kind 9").unwrap();
    until(Path::new("../meanwhile"));
    std::fs::write(slot("asked-back-1"), "").unwrap();
    until(&slot("granted-1"));
}
#[test]
fn the_other_runs_meanwhile() {
    std::fs::write("../meanwhile", "").unwrap();
}
"#;

/// A folder with the workspace of the packages `operator`, `endless`, `making`, `plain`, `empty`
/// and `kubenest`.
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
        let members =
            r#"members = ["operator", "endless", "making", "plain", "empty", "kubenest"]"#;
        write(
            "Cargo.toml",
            &format!("[workspace]\nresolver = \"3\"\n{members}\n"),
        );
        for name in [
            "operator", "endless", "making", "plain", "empty", "kubenest",
        ] {
            let uses = match name {
                "operator" | "endless" | "making" => {
                    "[dev-dependencies]\nempty = { path = \"../empty\" }\n"
                }
                "empty" => "[dependencies]\nkubenest = { path = \"../kubenest\" }\n",
                _ => "",
            };
            let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{uses}");
            write(&format!("{name}/Cargo.toml"), &package);
            write(&format!("{name}/src/lib.rs"), "");
        }
        write("operator/tests/on_nodes.rs", TESTS);
        write("endless/tests/endless.rs", ENDLESS);
        write("making/tests/making.rs", MAKING);
        write("operator/src/lib.rs", "#[test]\nfn it_adds() {}\n");
        write("program", include_str!("samples/program.sh"));
        let sample = Self { folder };
        fs::set_permissions(sample.kubenest(), Permissions::from_mode(0o755)).unwrap();
        sample
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A stand-in program. It writes its arguments to the file `asked`, and prints the events of
    /// the file `events` when asked to prepare, or those of the file `nodes` when asked about
    /// nodes.
    fn kubenest(&self) -> PathBuf {
        self.folder.path().join("program")
    }

    pub(crate) fn manifest(&self, package: &str) -> PathBuf {
        self.folder.path().join(package).join("Cargo.toml")
    }
}
