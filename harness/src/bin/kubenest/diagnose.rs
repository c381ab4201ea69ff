//! `kubenest diagnose`.

use std::{
    io::{self, ErrorKind, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use kubenest::{
    Context, Result,
    diagnosis::{Report, read},
};

/// Nothing was recognised.
const NOTHING: u8 = 4;

#[derive(Args)]
pub(crate) struct Diagnose {
    /// Log files, folders of logs, or - for standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// Print JSON, with every line's text in full
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(diagnose: &Diagnose) -> Result<ExitCode> {
    let (text, code) = told(diagnose)?;
    match io::stdout().write_all(text.as_bytes()) {
        // A reader such as `head` has seen enough.
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("write to standard output")?,
    }
    Ok(ExitCode::from(code))
}

/// What to print, and the exit code.
fn told(diagnose: &Diagnose) -> Result<(String, u8)> {
    let report = Report::of(read(&diagnose.logs)?);
    let text = if diagnose.json {
        crate::json_of(&report)? + "\n"
    } else {
        report.to_string()
    };
    let nothing = report.diagnoses.is_empty();
    Ok((text, if nothing { NOTHING } else { 0 }))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn told_of(folder: &Path, json: bool) -> Result<(String, u8)> {
        let (text, code) = told(&Diagnose {
            logs: vec![folder.to_owned()],
            json,
        })?;
        let folder = format!("{}/", folder.display());
        Ok((text.replace(&folder, ""), code))
    }

    /// As `kind export logs` lays it out: unit logs, and all of it again in journal.log.
    #[test]
    fn a_folder_of_kinds_is_diagnosed_once_and_by_node() {
        let logs = tempfile::tempdir().unwrap();
        let line = |node: &str, text: &str| {
            format!("Nov 21 10:48:57 {node} kubelet[9]: I1121 10:48:57.266685 9 a.go:1] {text}\n")
        };
        let removed = r#""Removing image to free bytes" imageID="sha256:9a80""#;
        let missing = r#""Error syncing pod, skipping" err="Container image \"app:v1\" is not present with pull policy of Never""#;
        for (node, text) in [
            ("kind-worker", [removed, missing]),
            ("kind-worker2", ["", missing]),
        ] {
            let at = logs.path().join(node);
            fs::create_dir(&at).unwrap();
            let text = text.map(|text| line(node, text)).concat();
            fs::write(at.join("kubelet.log"), &text).unwrap();
            fs::write(at.join("journal.log"), &text).unwrap();
        }
        let (text, code) = told_of(logs.path(), false).unwrap();
        assert_eq!(code, 0);
        insta::assert_snapshot!(text);
        let (json, code) = told_of(logs.path(), true).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((code, &json["diagnoses"][0]["count"]), (0, &2.into()));
    }

    #[test]
    fn nothing_recognised_and_nothing_readable_are_told_apart() {
        let logs = tempfile::tempdir().unwrap();
        fs::write(logs.path().join("a.log"), "connection refused\n").unwrap();
        assert_eq!(told_of(logs.path(), false).unwrap().1, NOTHING);
        assert_eq!(told_of(logs.path(), true).unwrap().1, NOTHING);
        let error = told_of(&logs.path().join("b.log"), false).unwrap_err();
        assert_eq!(error.kind(), kubenest::ErrorKind::Input);
    }
}
