//! The lines of a text, one after the other: each without its headers, and what several of them
//! make together.

use super::{
    Evidence, Speaker,
    clean::visible,
    documents::{Documents, Found},
    form::{self, Peeled},
    message::evidence,
    quote::Quotes,
    recognise::matters,
    speaker::speaker_of,
};

/// Lines that are held back at most while they may be part of something.
const HELD: usize = 10_000;
/// Bytes of a line that goes on in the next ones.
const PART: usize = 64 << 10;

/// The lines of a text, one after the other.
pub(super) struct Lines {
    /// Whose they are, unless they say otherwise.
    hint: Speaker,
    /// Whose they are in this part of the text, which has a title.
    section: Option<Speaker>,
    /// Within the part of `kubectl describe` that quotes what a pod's author wrote.
    containers: bool,
    quotes: Quotes,
    documents: Documents,
    /// Lines that count unless the quote or the document around them ends as one should.
    held: Vec<Found>,
    /// What was found beside the lines that were given back.
    found: Vec<Found>,
    /// The lines that would count if they did not only quote.
    quoted: Vec<u64>,
    /// The message before, which the next one may continue.
    part: String,
    number: u64,
}

impl Lines {
    pub(super) fn new(hint: Speaker) -> Self {
        Self {
            hint,
            section: None,
            containers: false,
            quotes: Quotes::default(),
            documents: Documents::default(),
            held: Vec::new(),
            found: Vec::new(),
            quoted: Vec::new(),
            part: String::new(),
            number: 0,
        }
    }

    /// Reads a line. One that only quotes, or that is a part of what is found as a whole, is of
    /// [`Speaker::Quote`].
    pub(super) fn next(&mut self, line: &str) -> Evidence {
        self.number += 1;
        let (time, line) = match form::buildkite(line) {
            Some((time, line)) => (Some(time), line),
            None => (None, line),
        };
        let plain = visible(line);
        let plain = plain.trim_start_matches('\u{feff}').trim_end();
        let mut peeled = form::peel(plain);
        let carried = peeled.carried.take();
        let message = carried.as_deref().unwrap_or(&plain[peeled.begin..]);
        if let Some(continues) = peeled.continues {
            self.join(&mut peeled, message, continues);
        }
        peeled.time = peeled.time.or(time);
        self.enter(message);
        let mut evidence = evidence(&peeled, self.section.unwrap_or(self.hint));
        if self.containers && evidence.source != Speaker::Quote {
            evidence.source = Speaker::Pod;
        }
        let document = self.documents.next(message, self.number);
        let quoted = self.quotes.next(message);
        let others =
            matches!(evidence.source, Speaker::Pod | Speaker::Quote).then_some(evidence.source);
        self.found
            .extend(document.found.into_iter().map(|(mut line, number)| {
                // Events that a container prints are its words.
                line.source = others.unwrap_or(line.source);
                (line, number)
            }));
        if quoted.ended {
            self.quoted.extend(self.held.iter().map(|held| held.1));
        }
        if document.ended || quoted.ended {
            self.held.clear();
        }
        if !document.within && !quoted.within {
            self.found.append(&mut self.held);
            if evidence.source == Speaker::Quote && matters(&evidence) {
                self.quoted.push(self.number);
            }
            return evidence;
        }
        if self.held.len() < HELD && matters(&evidence) {
            if document.pending || quoted.pending {
                self.held.push((evidence.clone(), self.number));
            } else if quoted.within {
                self.quoted.push(self.number);
            }
        }
        evidence.source = Speaker::Quote;
        evidence
    }

    /// What was found beside the lines so far.
    pub(super) fn found(&mut self) -> std::vec::Drain<'_, Found> {
        self.found.drain(..)
    }

    /// What is left at the end, and the lines that would count if they did not only quote.
    pub(super) fn finish(mut self) -> (Vec<Found>, Vec<u64>) {
        let last = self.documents.finish();
        self.found.extend(last);
        self.found.append(&mut self.held);
        (self.found, self.quoted)
    }

    /// Reads a message that goes on where the last one ended together with it.
    fn join(&mut self, peeled: &mut Peeled<'_>, message: &str, continues: bool) {
        if !continues || self.part.is_empty() || self.part.len() > PART {
            message.clone_into(&mut self.part);
            return;
        }
        self.part.push_str(message);
        let whole = form::peel(&self.part);
        peeled.source = whole.source.or(peeled.source);
        peeled.node = whole.node.or(peeled.node.take());
        peeled.text = whole.text.into_owned().into();
    }

    /// Notes where a part of the text begins.
    fn enter(&mut self, message: &str) {
        if message.starts_with([' ', '\t']) {
            return;
        }
        self.containers = message.ends_with("Containers:");
        let title = message.trim_start_matches("* ");
        if let Some(name) = title.strip_prefix("==> ") {
            let name = name.strip_suffix(" <==");
            self.section = name.map(section_of).or(self.section);
        } else if let Some(what) = title.strip_prefix("==== ") {
            // Of `kubectl cluster-info dump`.
            self.section = what.starts_with("START logs for ").then_some(Speaker::Pod);
        }
    }
}

/// Whose lines follow a title of `minikube logs`, or of `tail` with several files.
fn section_of(name: &str) -> Speaker {
    match name.to_lowercase().as_str() {
        "docker" | "cri-o" => Speaker::Runtime,
        "kernel" | "dmesg" => Speaker::System,
        "last start" => Speaker::Cli,
        // The container's id is behind its name.
        _ if name.ends_with(']') => Speaker::Pod,
        _ => speaker_of(name.as_ref()),
    }
}

#[cfg(test)]
mod tests;
