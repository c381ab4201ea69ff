//! Finds the timeline entries of the lines that show a cause.

use super::{Entry, Line, plain::plain};

/// The entries of a timeline, to look lines up in.
pub(super) struct Places<'a> {
    entries: &'a [&'a Entry],
    /// The text of each entry without the characters that quoting adds or removes.
    letters: Vec<String>,
}

impl<'a> Places<'a> {
    pub(super) fn new(entries: &'a [&'a Entry]) -> Self {
        let letters = entries
            .iter()
            .map(|entry| without_quoting(&entry.text))
            .collect();
        Self { entries, letters }
    }

    /// The entry that contains the line. A diagnosis quotes a line without headers and quoting, and
    /// puts the message of logfmt first; if that text is not found, the typical part is looked for.
    /// If several entries match, the nearest in time is used, else the first.
    pub(super) fn find(&self, line: &Line) -> Option<usize> {
        let wanted = [without_quoting(&line.text), without_quoting(&line.matched)];
        let mut wanted = wanted.iter().filter(|text| !text.is_empty());
        wanted.find_map(|text| {
            let all = self.entries.iter().zip(&self.letters).enumerate();
            let mut found = all.filter(|(_, (entry, letters))| {
                let same_node = [&line.node, ""].contains(&entry.node.as_str());
                (same_node || line.node.is_empty()) && letters.contains(text.as_str())
            });
            let found = match line.at_us {
                Some(time) => found.min_by_key(|(_, (entry, _))| entry.at_us.abs_diff(time)),
                None => found.next(),
            };
            Some(found?.0)
        })
    }
}

fn without_quoting(text: &str) -> String {
    let quoting = ['"', '\\', ' ', '\t', '\n'];
    plain(text)
        .chars()
        .filter(|c| !quoting.contains(c))
        .collect()
}
