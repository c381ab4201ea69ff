//! `kubenest diagnose`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use kubenest::{
    Error, Result,
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
    let report = Report::of(read(&diagnose.logs)?);
    if diagnose.json {
        let text = serde_json::to_string_pretty(&report);
        println!(
            "{}",
            text.map_err(|cause| Error::setup("write JSON").because(cause))?
        );
    } else {
        print!("{report}");
    }
    Ok(if report.diagnoses.is_empty() {
        ExitCode::from(NOTHING)
    } else {
        ExitCode::SUCCESS
    })
}
