//! Writes a bundle of raw parts: redacted, cut to the test's time, diagnosed, with its page.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    Bundle,
    folder::Folder,
    notes::About,
    occasion::Occasion,
    page::{self, Entry, Missing, Page, PageCause},
    part::{Home, Kind, Part, PartId, Parts, place},
    redact::Redactor,
    timeline,
};
use kubenest_base::{Context, Result};
use kubenest_diagnosis::{Evidence, clean, diagnose, read_stream};

/// Makes a bundle of raw parts: redacted, cut to the test's time, diagnosed, with its page.
pub(super) fn write(
    about: &About,
    why: &Occasion,
    found: Parts,
    secrets: &BTreeSet<String>,
) -> Result<Bundle> {
    let bundle = create(about)?;
    fill(bundle, about, why, found, secrets)
}

/// As [`write()`], but removes the folder when it fails: the parts are still there for another
/// attempt.
pub(super) fn write_whole(
    about: &About,
    why: &Occasion,
    found: Parts,
    secrets: &BTreeSet<String>,
) -> Result<Bundle> {
    let bundle = create(about)?;
    let folder = bundle.folder().to_owned();
    fill(bundle, about, why, found, secrets).inspect_err(|_| {
        // Otherwise each attempt would fill a full disk further.
        std::fs::remove_dir_all(folder).ok();
    })
}

/// Makes the folder of a bundle, named after what it is about.
fn create(about: &About) -> Result<Folder> {
    let cluster = &about.cluster;
    Folder::create(&cluster.home, &about.title(), cluster.process)
}

fn fill(
    bundle: Folder,
    about: &About,
    why: &Occasion,
    found: Parts,
    secrets: &BTreeSet<String>,
) -> Result<Bundle> {
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
        let error = writer.redact(&missing.error);
        writer.missing.push(Missing { error, ..missing });
    }
    writer.end(why)
}

struct Writer<'a> {
    bundle: Folder,
    /// The folder of the cluster's whole logs; made only when a case has a part of them.
    whole_logs: Option<Folder>,
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
        // The rest of the first line is dropped, because it may be the end of a secret.
        let raw = if cut {
            raw.split_once('\n').map_or("", |(_, rest)| rest)
        } else {
            &raw
        };
        let is_pods = matches!(id.kind, Kind::PodLog(_));
        let raw = if is_pods {
            timeline::rejoin(raw)
        } else {
            raw.to_owned()
        };
        let text = self.redact(&raw);
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
        self.text(&id, &timeline::cut_before(&text, since), cut)
    }

    /// A text without secrets and terminal sequences.
    fn redact(&self, raw: &str) -> String {
        self.redactor.redact(&clean_lines(raw))
    }

    /// Writes a text, and extracts from it what timeline and diagnosis need.
    fn text(&mut self, id: &PartId, text: &str, cut: bool) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        if let Some(source) = id.source() {
            timeline::add_log(source, &id.place(), text, &mut self.entries);
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
        let text = self.redactor.redact_written(&clean_lines(&pretty)) + "\n";
        if id.kind == Kind::Events {
            // A user's pattern may have removed a bracket; then the document itself is used.
            let document = serde_json::from_str(&text).unwrap_or(document);
            timeline::add_events(&document, &id.layer, &mut self.entries);
        }
        self.lines.extend(lines_of(id, &text)?);
        self.bundle.write(id, &text, false)
    }

    fn whole_logs(&mut self) -> Result<&mut Folder> {
        let cluster = &self.about.cluster;
        if self.whole_logs.is_none() {
            self.whole_logs = Some(Folder::of_cluster(&cluster.home, &cluster.name)?);
        }
        Ok(self.whole_logs.as_mut().expect("it was just made"))
    }

    /// Writes the message of the failure, which may be the only text that names its cause.
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

    fn end(mut self, why: &Occasion) -> Result<Bundle> {
        let about = self.about;
        let mut steps = about.steps.clone();
        steps
            .iter_mut()
            .for_each(|step| step.text = self.redact(&step.text));
        timeline::add_steps(&steps, &mut self.entries);
        let message = self.redact(&why.message);
        let [expected, observed] = [&why.expected, &why.observed]
            .map(|text| text.as_deref().map(|text| self.redact(text)));
        self.message(&[Some(&message), observed.as_ref()])?;
        let causes: Vec<PageCause> = diagnose(&self.lines)
            .iter()
            .map(|found| {
                let mut finding = PageCause::from(found);
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
            entries: timeline::sorted_since(self.entries, about.since_us()),
            files: std::mem::take(&mut self.bundle.files),
            missing: self.missing,
        };
        self.bundle
            .write_unlisted("index.html", &page::render(&page))?;
        // This file comes last: a bundle that has it is complete.
        self.bundle
            .write_unlisted("index.json", &page::index(&page))?;
        Ok(Bundle {
            folder: self.bundle.folder().to_owned(),
            files: page.files.len(),
            causes: page.diagnosis,
            missing: page.missing,
        })
    }
}

/// The lines of a part that may show a cause; none if no cause is looked for in this part.
fn lines_of(id: &PartId, text: &str) -> Result<Vec<Evidence>> {
    let Some(speaker) = id.speaker() else {
        return Ok(Vec::new());
    };
    let mut lines = read_stream(&id.path(), speaker, text.as_bytes())?.evidence;
    if !id.layer.is_empty() {
        for line in &mut lines {
            let node = line.node.take().unwrap_or_default();
            line.node = Some(place(&id.layer, &node));
        }
    }
    Ok(lines)
}

/// A text without terminal control sequences.
fn clean_lines(raw: &str) -> String {
    let lines: Vec<_> = raw.split('\n').map(clean).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests;
