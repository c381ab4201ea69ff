//! Reads a text line by line: strips headers, and recognises what several lines form together.

use super::{
    Evidence, Speaker,
    clean::visible,
    documents::{Documents, NumberedEvidence},
    form::{self, Message},
    message::evidence,
    quote::Quotes,
    recognise::may_matter,
    speaker::speaker_of,
};

/// Maximum number of lines held back while they may be part of a quote or document.
const MAX_PENDING: usize = 10_000;
/// Maximum bytes of a message that is split over several lines.
const MAX_MESSAGE: usize = 64 << 10;

/// The state of reading a text line by line.
pub(super) struct Lines {
    /// The source of lines whose headers do not name one.
    hint: Speaker,
    /// The source in the current section of the text, named by its title.
    section: Option<Speaker>,
    /// Inside the part of `kubectl describe` that quotes the pod's specification.
    containers: bool,
    quotes: Quotes,
    documents: Documents,
    /// Lines that count unless the quote or document around them turns out to be complete.
    held: Vec<NumberedEvidence>,
    /// Evidence found in addition to the returned lines.
    found: Vec<NumberedEvidence>,
    /// The numbers of lines that only quote, and would count otherwise.
    quoted: Vec<u64>,
    /// The previous message, which the next line may continue.
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

    /// Reads a line. A line that only quotes, or that is part of a document, gets
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
        self.note_section(message);
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
                // Events that a container prints are the container's output.
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
            if evidence.source == Speaker::Quote && may_matter(&evidence) {
                self.quoted.push(self.number);
            }
            return evidence;
        }
        if self.held.len() < MAX_PENDING && may_matter(&evidence) {
            if document.pending || quoted.pending {
                self.held.push((evidence.clone(), self.number));
            } else if quoted.within {
                self.quoted.push(self.number);
            }
        }
        evidence.source = Speaker::Quote;
        evidence
    }

    /// Takes the evidence found so far in addition to the returned lines.
    pub(super) fn take_found(&mut self) -> std::vec::Drain<'_, NumberedEvidence> {
        self.found.drain(..)
    }

    /// The remaining evidence, and the numbers of lines that only quote.
    pub(super) fn finish(mut self) -> (Vec<NumberedEvidence>, Vec<u64>) {
        let last = self.documents.finish();
        self.found.extend(last);
        self.found.append(&mut self.held);
        (self.found, self.quoted)
    }

    /// Joins a message with the previous one if it continues that.
    fn join(&mut self, peeled: &mut Message<'_>, message: &str, continues: bool) {
        if !continues || self.part.is_empty() || self.part.len() > MAX_MESSAGE {
            message.clone_into(&mut self.part);
            return;
        }
        self.part.push_str(message);
        let whole = form::peel(&self.part);
        peeled.source = whole.source.or(peeled.source);
        peeled.node = whole.node.or(peeled.node.take());
        peeled.text = whole.text.into_owned().into();
    }

    /// Notes where a section of the text begins.
    fn note_section(&mut self, message: &str) {
        if message.starts_with([' ', '\t']) {
            return;
        }
        self.containers = message.ends_with("Containers:");
        let title = message.trim_start_matches("* ");
        if let Some(name) = title.strip_prefix("==> ") {
            let name = name.strip_suffix(" <==");
            self.section = name.map(section_source).or(self.section);
        } else if let Some(what) = title.strip_prefix("==== ") {
            // Written by `kubectl cluster-info dump`.
            self.section = what.starts_with("START logs for ").then_some(Speaker::Pod);
        }
    }
}

/// The source of the lines below a title of `minikube logs`, or of `tail` with several files.
fn section_source(name: &str) -> Speaker {
    match name.to_lowercase().as_str() {
        "docker" | "cri-o" => Speaker::Runtime,
        "kernel" | "dmesg" => Speaker::System,
        "last start" => Speaker::Cli,
        // A container's title ends with its id in brackets.
        _ if name.ends_with(']') => Speaker::Pod,
        _ => speaker_of(name.as_ref()),
    }
}

#[cfg(test)]
mod tests;
