//! critest's report, as JUnit XML: what became of each spec.

use anyhow::{Context, Result, ensure};
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

/// What stands before the names of all specs of critest's.
const SPEC: &str = "[It] [k8s.io] ";
/// What critest says of a spec that was not asked for: a benchmark, or one beside the focus. One that
/// skipped itself adds its reason.
const LEFT_OUT: &str = "skipped";

/// One spec, without the words that all names begin with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Passed,
    /// With its message.
    Failed(String),
    /// By itself, with its reason.
    Skipped(String),
    LeftOut,
}

/// What ran.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Report {
    pub(crate) specs: Vec<Spec>,
    /// The parts of critest around its specs that failed, with their messages.
    pub(crate) around: Vec<(String, String)>,
}

impl Report {
    /// Reads a report.
    ///
    /// # Errors
    /// It is no JUnit XML, or has a status that is not known.
    pub(crate) fn parse(xml: &str) -> Result<Self> {
        let mut reader = Reader::from_str(xml);
        let mut report = Self::default();
        let (mut case, mut is_whole) = (None, false);
        loop {
            match reader.read_event().context("read critest's report")? {
                Event::Start(tag) | Event::Empty(tag) => match tag.name().as_ref() {
                    b"testcase" => {
                        report.add(case.replace(Case::of(&tag)?))?;
                    }
                    b"failure" | b"error" | b"skipped" => {
                        if let Some(case) = &mut case {
                            case.message = attribute(&tag, "message")?;
                        }
                    }
                    _ => {}
                },
                Event::End(tag) if tag.name().as_ref() == b"testsuites" => is_whole = true,
                Event::Eof => break,
                _ => {}
            }
        }
        ensure!(is_whole, "critest's report has no end");
        report.add(case)?;
        Ok(report)
    }

    fn add(&mut self, case: Option<Case>) -> Result<()> {
        let Some(Case {
            name,
            status,
            message,
        }) = case
        else {
            return Ok(());
        };
        let outcome = match status.as_str() {
            "passed" => Outcome::Passed,
            "skipped" | "pending" => match message.split_once(" - ") {
                Some((_, reason)) => Outcome::Skipped(reason.to_owned()),
                None if message == LEFT_OUT => Outcome::LeftOut,
                None => Outcome::Skipped(message),
            },
            "failed" | "panicked" | "timedout" | "interrupted" | "aborted" => {
                Outcome::Failed(message)
            }
            other => anyhow::bail!("critest's report has the status '{other}' for '{name}'"),
        };
        match (name.strip_prefix(SPEC), outcome) {
            (Some(name), outcome) => self.specs.push(Spec {
                name: name.to_owned(),
                outcome,
            }),
            (None, Outcome::Failed(message)) => self.around.push((name, message)),
            (None, _) => {}
        }
        Ok(())
    }
}

/// A test case as the report has it.
struct Case {
    name: String,
    status: String,
    message: String,
}

impl Case {
    fn of(tag: &BytesStart<'_>) -> Result<Self> {
        Ok(Self {
            name: attribute(tag, "name")?,
            status: attribute(tag, "status")?,
            message: String::new(),
        })
    }
}

/// The value of an attribute; empty if there is none.
fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<String> {
    let value = match tag.try_get_attribute(name)? {
        Some(attribute) => attribute
            .normalized_value(XmlVersion::Implicit1_0)?
            .into_owned(),
        None => String::new(),
    };
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut from a real report.
    const REAL: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
  <testsuites tests="6" disabled="2" errors="0" failures="1" time="3.2">
      <testsuite name="CRI validation" package="/" tests="6" timestamp="2026-12-01T01:32:01">
          <testcase name="[BeforeSuite]" classname="CRI validation" status="passed" time="0"></testcase>
          <testcase name="[It] [k8s.io] Image Manager listImage should get exactly 3 repoTags" classname="CRI validation" status="passed" time="0.1"></testcase>
          <testcase name="[It] [k8s.io] benchmark &#34;image&#34;" classname="CRI validation" status="skipped" time="0">
              <skipped message="skipped"></skipped>
          </testcase>
          <testcase name="[It] [k8s.io] AppArmor should fail" classname="CRI validation" status="skipped" time="0">
              <skipped message="skipped - AppArmor is disabled on this host"></skipped>
          </testcase>
          <testcase name="[It] [k8s.io] Container OOM" classname="CRI validation" status="failed" time="2">
              <failure message="reason is OOMKilled&#xA;Expected Error" type="failed">[FAILED]</failure>
              <system-err>&gt; Enter</system-err>
          </testcase>
      </testsuite>
  </testsuites>"#;

    fn spec(name: &str, outcome: Outcome) -> Spec {
        Spec {
            name: name.to_owned(),
            outcome,
        }
    }

    #[test]
    fn each_spec_has_its_outcome_and_reason() {
        let report = Report::parse(REAL).unwrap();
        let why = "AppArmor is disabled on this host".to_owned();
        let message = "reason is OOMKilled\nExpected Error".to_owned();
        assert_eq!(
            report.specs,
            [
                spec(
                    "Image Manager listImage should get exactly 3 repoTags",
                    Outcome::Passed
                ),
                spec("benchmark \"image\"", Outcome::LeftOut),
                spec("AppArmor should fail", Outcome::Skipped(why)),
                spec("Container OOM", Outcome::Failed(message)),
            ]
        );
        assert!(report.around.is_empty());
    }

    #[test]
    fn what_fails_around_the_specs_is_no_spec() {
        let failed = REAL.replacen("status=\"passed\"", "status=\"panicked\"", 1);
        let report = Report::parse(&failed).unwrap();
        assert_eq!(report.specs.len(), 4);
        assert_eq!(report.around, [("[BeforeSuite]".to_owned(), String::new())]);
    }

    #[test]
    fn half_a_report_and_an_unknown_status_are_errors() {
        assert!(Report::parse(&REAL[..REAL.len() / 2]).is_err());
        let odd = REAL.replace("status=\"failed\"", "status=\"odd\"");
        let error = Report::parse(&odd).unwrap_err().to_string();
        assert!(
            error.contains("'odd' for '[It] [k8s.io] Container OOM'"),
            "{error}"
        );
    }
}
