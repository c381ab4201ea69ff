//! The report of `kubenest diagnose`: the causes with their lines, and what was read.

use std::fmt::{self, Write};

use serde::Serialize;

use super::{Diagnosis, FileRead, Reading, Support, clean::shorten, diagnose};

/// Maximum number of files that are named when nothing was recognised.
const FILES: usize = 8;
/// Maximum number of characters shown of a line.
const WIDTH: usize = 200;

/// The causes found in logs.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct DiagnosisReport {
    /// The causes, root causes first.
    pub diagnoses: Vec<Diagnosis>,
    /// How many lines were read.
    pub lines: u64,
    /// What was read.
    pub files: Vec<FileRead>,
    /// What was left out and why, for people.
    pub notes: Vec<String>,
}

impl DiagnosisReport {
    /// Diagnoses what was read.
    pub fn of(reading: Reading) -> Self {
        Self {
            diagnoses: diagnose(&reading.evidence),
            lines: reading.lines(),
            files: reading.files,
            notes: reading.notes,
        }
    }
}

/// For people: title, cause, cure, links and lines.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.title, self.id)?;
        if let Some(root) = self.follows {
            writeln!(f, "   follows {root}")?;
        }
        writeln!(f, "   cause   {}", self.cause)?;
        writeln!(f, "   cure    {}", self.cure)?;
        for link in self.links {
            writeln!(f, "   link    {link}")?;
        }
        for line in &self.lines {
            writeln!(f, "   line    {}", SupportLine(line))?;
        }
        match self.count - self.lines.len() {
            0 => Ok(()),
            more => writeln!(f, "           and {more} more"),
        }
    }
}

/// For people.
impl fmt::Display for DiagnosisReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, diagnosis) in self.diagnoses.iter().enumerate() {
            writeln!(f, "{}. {diagnosis}", at + 1)?;
        }
        let (lines, files) = (self.lines, self.files.len());
        if self.diagnoses.is_empty() {
            writeln!(f, "no known cause in {lines} lines of {files} files:")?;
            for FileRead { file, lines } in self.files.iter().take(FILES) {
                writeln!(f, "  {file}: {lines} lines")?;
            }
            if files > FILES {
                writeln!(f, "  and {} more", files - FILES)?;
            }
            f.write_str(
                "most is said by the journals of containerd and kubelet (journalctl -u), the \
                 events of the pod, and what the failing command wrote\n",
            )?;
        } else {
            writeln!(f, "read {lines} lines of {files} files")?;
        }
        for note in &self.notes {
            writeln!(f, "{note}")?;
        }
        Ok(())
    }
}

/// Displays a line as its place and the part that matched.
struct SupportLine<'a>(&'a Support);

impl fmt::Display for SupportLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Support { evidence, matched } = self.0;
        if let Some(place) = &evidence.place {
            write!(f, "{place} ")?;
        }
        let names_node = |node| {
            evidence
                .place
                .as_ref()
                .is_some_and(|at| at.file.contains(node))
        };
        match &evidence.node {
            Some(node) if !names_node(node.as_str()) => write!(f, "[{node}] ")?,
            _ => {}
        }
        if !evidence.text.starts_with(matched) {
            f.write_char('…')?;
        }
        f.write_str(&shorten(matched, WIDTH))?;
        if !evidence.text.ends_with(matched) && matched.chars().count() <= WIDTH {
            f.write_char('…')?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;
    use crate::{Speaker, read_stream};

    const UPGRADED: &str = r#"Nov 09 08:00:01 n1 containerd[7]: time="2024-11-09T08:00:01Z" level=info msg="starting containerd" revision=88b version=1.7.24
Nov 09 08:00:09 n1 containerd[7]: time="2024-11-09T08:00:09Z" level=info msg="StartContainer for \"ab\" returns successfully"
Nov 09 09:00:00 n1 containerd[7]: time="2024-11-09T09:00:00Z" level=error msg="RunPodSandbox for &PodSandboxMetadata{Name:a,} failed, error" error="failed to create containerd task: failed to start shim: start failed: unsupported shim version (3): not implemented"
"#;

    fn report(log: &str) -> DiagnosisReport {
        let reading = read_stream("log\x1b[31m", Speaker::Unknown, log.as_bytes());
        DiagnosisReport::of(reading.expect("must read"))
    }

    #[test]
    fn people_get_the_root_first_with_its_lines() {
        assert_snapshot!(report(UPGRADED));
    }

    #[test]
    fn programs_get_every_line_in_full() {
        let text = serde_json::to_string_pretty(&report(UPGRADED)).expect("must serialize");
        assert_snapshot!(text);
    }

    #[test]
    fn files_are_listed_when_nothing_is_recognised() {
        assert_snapshot!(report("connection refused\nnot implemented\n"));
    }
}
