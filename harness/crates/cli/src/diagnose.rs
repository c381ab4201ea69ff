//! `kubenest diagnose`.

use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use kubenest::{Error, Result};
use kubenest_base::Context;
use kubenest_diagnosis::{DiagnosisReport, catalogue, read, similar_ids};

/// The exit code when no cause was recognised.
const NOTHING: u8 = 4;

#[derive(Args)]
pub(crate) struct Diagnose {
    /// Log files, folders of logs, or - for standard input; a pipe is read without a name
    #[arg(value_name = "LOG", conflicts_with_all = ["list", "explain"])]
    logs: Vec<PathBuf>,
    /// Print JSON, with every line's text in full
    #[arg(long)]
    json: bool,
    /// List the causes that are known, by id and title
    #[arg(long, conflicts_with = "explain")]
    list: bool,
    /// Say all of one cause: why it happens, what to do, where upstream has it, a line of it
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
}

pub(crate) fn run(diagnose: &Diagnose) -> Result<ExitCode> {
    let (text, code) = answer(diagnose, io::stdin().is_terminal())?;
    match io::stdout().write_all(text.as_bytes()) {
        // The reader, such as `head`, has closed the pipe because it needs no more.
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("write to standard output")?,
    }
    Ok(ExitCode::from(code))
}

/// The text to print, and the exit code.
fn answer(diagnose: &Diagnose, terminal: bool) -> Result<(String, u8)> {
    if diagnose.list {
        return Ok((list(diagnose.json)?, 0));
    }
    if let Some(id) = &diagnose.explain {
        return Ok((explain(id, diagnose.json)?, 0));
    }
    let logs = match diagnose.logs.as_slice() {
        [] if terminal => {
            return Err(Error::input("nothing to diagnose was named").cure(
                "name log files or folders of logs, or pipe a log in: \
                 journalctl -u containerd -u kubelet | kubenest diagnose",
            ));
        }
        [] => &[PathBuf::from("-")],
        logs => logs,
    };
    let report = DiagnosisReport::of(read(logs)?);
    let text = if diagnose.json {
        crate::json_of(&report)? + "\n"
    } else {
        report.to_string()
    };
    let nothing = report.diagnoses.is_empty();
    Ok((text, if nothing { NOTHING } else { 0 }))
}

fn list(json: bool) -> Result<String> {
    let causes = catalogue();
    if json {
        return Ok(crate::json_of(&causes)? + "\n");
    }
    let width = causes.iter().map(|cause| cause.id.len()).max();
    let width = width.unwrap_or_default();
    let lines = causes
        .iter()
        .map(|cause| format!("{:width$}  {}\n", cause.id, cause.title));
    Ok(lines.collect())
}

fn explain(id: &str, json: bool) -> Result<String> {
    let Some(cause) = catalogue().into_iter().find(|cause| cause.id == id) else {
        let near = similar_ids(id);
        let cure = match near.as_slice() {
            [] => "kubenest diagnose --list shows all".to_owned(),
            near => format!("perhaps {}; --list shows all", near.join(", ")),
        };
        return Err(Error::input(format!("no cause is called {id:?}")).cure(cure));
    };
    if json {
        return Ok(crate::json_of(&cause)? + "\n");
    }
    Ok(cause.to_string())
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use kubenest_diagnosis::{Surface, speak_of};

    use super::*;

    fn diagnose_args(logs: &[&Path]) -> Diagnose {
        // As `main` does, so that the cures speak to users of the program.
        speak_of(Surface::Program);
        Diagnose {
            logs: logs.iter().map(|log| log.to_path_buf()).collect(),
            json: false,
            list: false,
            explain: None,
        }
    }

    fn answer_for(folder: &Path, json: bool) -> Result<(String, u8)> {
        let asked = Diagnose {
            json,
            ..diagnose_args(&[folder])
        };
        let (text, code) = answer(&asked, true)?;
        let folder = format!("{}/", folder.display());
        Ok((text.replace(&folder, ""), code))
    }

    /// The layout of `kind export logs`: unit logs, and the same lines again in journal.log.
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
        let (text, code) = answer_for(logs.path(), false).unwrap();
        assert_eq!(code, 0);
        insta::assert_snapshot!(text);
        let (json, code) = answer_for(logs.path(), true).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((code, &json["diagnoses"][0]["count"]), (0, &2.into()));
    }

    #[test]
    fn nothing_recognised_and_nothing_readable_are_told_apart() {
        let logs = tempfile::tempdir().unwrap();
        fs::write(logs.path().join("a.log"), "connection refused\n").unwrap();
        assert_eq!(answer_for(logs.path(), false).unwrap().1, NOTHING);
        assert_eq!(answer_for(logs.path(), true).unwrap().1, NOTHING);
        let error = answer_for(&logs.path().join("b.log"), false).unwrap_err();
        assert_eq!(error.kind(), kubenest::ErrorKind::Input);
    }

    #[test]
    fn a_cause_can_be_looked_up_without_a_log() {
        let explained = |id: &str, json| {
            let explain = Some(id.to_owned());
            answer(
                &Diagnose {
                    json,
                    explain,
                    ..diagnose_args(&[])
                },
                true,
            )
        };
        let (text, code) = explained("import-content-missing", false).unwrap();
        assert_eq!(code, 0);
        insta::assert_snapshot!(text);
        let (json, _) = explained("import-content-missing", true).unwrap();
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["id"], "import-content-missing");
        let error = explained("import-content-mising", false).unwrap_err();
        assert_eq!(error.kind(), kubenest::ErrorKind::Input);
        let told = error.report();
        assert!(
            told.contains("cure: perhaps import-content-missing"),
            "{told}"
        );
        let error = explained("?", false).unwrap_err();
        insta::assert_snapshot!(error.report(), @r#"
        no cause is called "?"
        cure: kubenest diagnose --list shows all
        "#);
    }

    #[test]
    fn the_list_has_every_cause_in_a_line_of_its_own() {
        let listed = |json| {
            answer(
                &Diagnose {
                    json,
                    list: true,
                    ..diagnose_args(&[])
                },
                true,
            )
            .unwrap()
            .0
        };
        let text = listed(false);
        let json: serde_json::Value = serde_json::from_str(&listed(true)).unwrap();
        let causes = json.as_array().unwrap();
        assert_eq!(text.lines().count(), causes.len());
        for (line, cause) in text.lines().zip(causes) {
            let (id, title) = line.split_once("  ").unwrap();
            assert_eq!(
                (id, title.trim()),
                (
                    cause["id"].as_str().unwrap(),
                    cause["title"].as_str().unwrap()
                )
            );
        }
    }

    #[test]
    fn nothing_named_at_a_terminal_is_a_question_and_no_wait() {
        let error = answer(&diagnose_args(&[]), true).unwrap_err();
        insta::assert_snapshot!(error.report(), @r"
        nothing to diagnose was named
        cure: name log files or folders of logs, or pipe a log in: journalctl -u containerd -u kubelet | kubenest diagnose
        ");
    }
}
