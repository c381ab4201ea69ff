//! Writes a bundle of raw parts: redacted, cut to the test's time, diagnosed, with its page.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Kept,
    bundle::Bundle,
    notes::About,
    occasion::Why,
    page::{self, Entry, Finding, Missing, Page},
    part::{Home, Kind, Part, PartId, Parts},
    redact::Redactor,
    timeline,
};
use kubenest_base::{Context, Result};
use kubenest_diagnosis::{Evidence, clean, diagnose, read_stream};

/// Makes a bundle of raw parts: redacted, cut to the test's time, diagnosed, with its page.
pub(super) fn write(
    about: &About,
    why: &Why,
    found: Parts,
    secrets: &BTreeSet<String>,
) -> Result<Kept> {
    let bundle = create(about)?;
    fill(bundle, about, why, found, secrets)
}

/// As [`write()`], all of it or nothing: for parts that stay where it fails.
pub(super) fn write_whole(
    about: &About,
    why: &Why,
    found: Parts,
    secrets: &BTreeSet<String>,
) -> Result<Kept> {
    let bundle = create(about)?;
    let folder = bundle.folder().to_owned();
    fill(bundle, about, why, found, secrets).inspect_err(|_| {
        // A full disk would be filled further by each that tries.
        std::fs::remove_dir_all(folder).ok();
    })
}

/// The folder of a bundle, by the name of what it is about.
fn create(about: &About) -> Result<Bundle> {
    let cluster = &about.cluster;
    Bundle::create(&cluster.home, &about.title(), cluster.process)
}

fn fill(
    bundle: Bundle,
    about: &About,
    why: &Why,
    found: Parts,
    secrets: &BTreeSet<String>,
) -> Result<Kept> {
    let redactor = Redactor::new(about.cluster.redact.as_deref())?.hiding(secrets);
    let mut writer = Writer {
        bundle,
        whole_logs: None,
        redactor,
        about,
        entries: Vec::new(),
        lines: Vec::new(),
        missing: Vec::new(),
    };
    let mut parts = found.found;
    parts.sort_by_cached_key(|part| part.id.path());
    for part in parts {
        writer.part(part)?;
    }
    for missing in found.missing {
        let error = writer.shown(&missing.error);
        writer.missing.push(Missing { error, ..missing });
    }
    writer.end(why)
}

struct Writer<'a> {
    bundle: Bundle,
    /// The cluster's whole logs; only a case has less.
    whole_logs: Option<Bundle>,
    redactor: Redactor,
    about: &'a About,
    entries: Vec<Entry>,
    lines: Vec<Evidence>,
    missing: Vec<Missing>,
}

impl Writer<'_> {
    fn part(&mut self, part: Part) -> Result<()> {
        let Part { id, bytes, cut } = part;
        let raw = String::from_utf8_lossy(&bytes);
        if id.is_document() {
            return self.document(&id, &raw);
        }
        // What is left of the first line may be the end of a secret.
        let raw = if cut {
            raw.split_once('\n').map_or("", |(_, rest)| rest)
        } else {
            &raw
        };
        let is_pods = matches!(id.kind, Kind::PodLog(_));
        let raw = if is_pods {
            timeline::rejoined(raw)
        } else {
            raw.to_owned()
        };
        let text = self.shown(&raw);
        if id.home() == Home::Cluster {
            return self.whole_logs()?.write(&id, &text, cut);
        }
        let since = self.about.since_us().filter(|_| id.is_log());
        let Some(since) = since else {
            return self.text(&id, &text, cut);
        };
        if is_pods {
            self.whole_logs()?.write(&id, &text, cut)?;
        }
        self.text(&id, &timeline::since(&text, since), cut)
    }

    /// A text made safe to keep and to look at.
    fn shown(&self, raw: &str) -> String {
        self.redactor.redact(&cleaned(raw))
    }

    /// Writes a text, and takes from it what timeline and diagnosis need.
    fn text(&mut self, id: &PartId, text: &str, cut: bool) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if let Some(source) = id.source() {
            timeline::of_log(source, &id.node, text, &mut self.entries);
        }
        self.lines.extend(lines_of(id, text)?);
        self.bundle.write(id, text, cut)
    }

    fn document(&mut self, id: &PartId, raw: &str) -> Result<()> {
        let mut document: Value = match serde_json::from_str(raw) {
            Ok(document) => document,
            Err(cause) => {
                self.missing.push(Missing {
                    name: id.path(),
                    node: String::new(),
                    error: format!("it is no whole document: {cause}"),
                });
                return Ok(());
            }
        };
        self.redactor.redact_document(&mut document);
        let pretty = serde_json::to_string_pretty(&document).context("write JSON")?;
        let text = self.redactor.redact_written(&cleaned(&pretty)) + "\n";
        if id.kind == Kind::Events {
            // A pattern of the user's own may have taken a bracket with it.
            let document = serde_json::from_str(&text).unwrap_or(document);
            timeline::of_events(&document, &mut self.entries);
        }
        self.lines.extend(lines_of(id, &text)?);
        self.bundle.write(id, &text, false)
    }

    fn whole_logs(&mut self) -> Result<&mut Bundle> {
        let cluster = &self.about.cluster;
        if self.whole_logs.is_none() {
            self.whole_logs = Some(Bundle::of_cluster(&cluster.home, &cluster.name)?);
        }
        Ok(self.whole_logs.as_mut().expect("it was just made"))
    }

    /// Writes what was said of the failure, which may be all that names its cause.
    fn message(&mut self, texts: &[Option<&String>]) -> Result<()> {
        let texts = texts.iter().flatten().filter(|text| !text.is_empty());
        let text: String = texts.map(|text| format!("{}\n", text.trim_end())).collect();
        if text.is_empty() {
            return Ok(());
        }
        let id = Kind::Message.of_none();
        self.lines.splice(0..0, lines_of(&id, &text)?);
        self.bundle.write(&id, &text, false)
    }

    fn end(mut self, why: &Why) -> Result<Kept> {
        let about = self.about;
        let mut steps = about.steps.clone();
        steps
            .iter_mut()
            .for_each(|step| step.text = self.shown(&step.text));
        timeline::of_steps(&steps, &mut self.entries);
        let message = self.shown(&why.message);
        let [expected, observed] =
            [&why.expected, &why.observed].map(|text| text.as_deref().map(|text| self.shown(text)));
        self.message(&[Some(&message), observed.as_ref()])?;
        let causes: Vec<Finding> = diagnose(&self.lines)
            .iter()
            .map(|found| {
                let mut finding = Finding::from(found);
                for (line, support) in finding.lines.iter_mut().zip(&found.lines) {
                    line.at_us = support.evidence.time.as_deref().and_then(timeline::at_us);
                }
                finding
            })
            .collect();
        let page = Page {
            title: about.title(),
            case: about.case.clone(),
            reason: why.reason.to_owned(),
            message,
            expected,
            observed,
            versions: about.cluster.versions.by_part(),
            made: jiff::Timestamp::now(),
            diagnosis: causes,
            entries: timeline::ordered(self.entries, about.since_us()),
            files: std::mem::take(&mut self.bundle.files),
            missing: self.missing,
        };
        self.bundle.put("index.html", &page::render(&page))?;
        // Last: where it is the bundle is whole.
        self.bundle.put("index.json", &page::index(&page))?;
        Ok(Kept {
            folder: self.bundle.folder().to_owned(),
            files: page.files.len(),
            causes: page.diagnosis,
            missing: page.missing,
        })
    }
}

/// The lines of a part that may show a cause; none of a part in which none is looked for.
fn lines_of(id: &PartId, text: &str) -> Result<Vec<Evidence>> {
    Ok(match id.speaker() {
        Some(speaker) => read_stream(&id.path(), speaker, text.as_bytes())?.evidence,
        None => Vec::new(),
    })
}

/// The lines of a text, without what steers a terminal.
fn cleaned(raw: &str) -> String {
    let lines: Vec<_> = raw.split('\n').map(clean).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
