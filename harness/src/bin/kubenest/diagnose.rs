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
    let report = Report::of(read(&diagnose.logs)?);
    let text = if diagnose.json {
        let text = serde_json::to_string_pretty(&report).context("write JSON")?;
        text + "\n"
    } else {
        report.to_string()
    };
    match io::stdout().write_all(text.as_bytes()) {
        // A reader such as `head` has seen enough.
        Err(cause) if cause.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("write to standard output")?,
    }
    Ok(if report.diagnoses.is_empty() {
        ExitCode::from(NOTHING)
    } else {
        ExitCode::SUCCESS
    })
}
