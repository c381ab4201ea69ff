//! What a cause is in the table: words for people, and the signs it is recognised by.

use std::collections::BTreeMap;

use super::{Speaker, clean::shortened};

/// What lines say of a cause, by the names of captures.
pub(super) type Facts = BTreeMap<&'static str, Vec<String>>;

/// A cause. Its texts may name facts: `{image}`; a part in brackets is left out when a fact
/// in it is not known: `on a node[ with containerd {version}]`. A cure may have words for users
/// of the library or of the program only: `<<library: …>><<program: …>>`.
pub(super) struct Cause {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) cause: &'static str,
    pub(super) cure: &'static str,
    pub(super) links: &'static [&'static str],
    /// The cause that leads to this one, where both are found.
    pub(super) follows: Option<&'static str>,
    pub(super) signs: &'static [Sign],
}

/// A kind of line.
pub(super) struct Sign {
    pub(super) role: Role,
    /// Who has to say it.
    pub(super) sources: &'static [Speaker],
    pub(super) pattern: &'static str,
    /// What the line tells without saying it.
    pub(super) facts: &'static [(&'static str, &'static str)],
    /// It counts only for an `image` that another line names as `removed`.
    pub(super) of_removed: bool,
    /// It means nothing on a node where this cause, which explains it, was recognised before.
    pub(super) unless: Option<&'static str>,
}

/// What a line is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It shows the cause by itself.
    Proof,
    /// It shows the cause with an [`After`](Role::After) on the same node. Two lines of one
    /// source have to stand in this order in one file; other logs have no common order.
    Before,
    /// See [`Before`](Role::Before).
    After,
    /// What stood before it in the file no longer counts.
    Reset,
    /// It adds to what others show, of the same line too.
    Detail,
}

impl Sign {
    pub(super) const fn new(
        role: Role,
        sources: &'static [Speaker],
        pattern: &'static str,
    ) -> Self {
        Self {
            role,
            sources,
            pattern,
            facts: &[],
            of_removed: false,
            unless: None,
        }
    }

    pub(super) const fn tells(mut self, facts: &'static [(&'static str, &'static str)]) -> Self {
        self.facts = facts;
        self
    }

    pub(super) const fn of_removed(mut self) -> Self {
        self.of_removed = true;
        self
    }

    pub(super) const fn unless(mut self, cause: &'static str) -> Self {
        self.unless = Some(cause);
        self
    }
}

/// A text of the table with its facts.
pub(super) fn filled(text: &str, facts: &Facts) -> String {
    let mut parts = text.split('[');
    let mut told = parts
        .next()
        .and_then(|part| fill(part, facts))
        .unwrap_or_default();
    for part in parts {
        let (optional, rest) = part.split_once(']').expect("a bracket must be closed");
        told.extend(fill(optional, facts));
        told.extend(fill(rest, facts));
    }
    told
}

/// A part of a text; none when a fact is missing.
fn fill(part: &str, facts: &Facts) -> Option<String> {
    let mut pieces = part.split('{');
    let mut told = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once('}').expect("a brace must be closed");
        told.push_str(&listed(facts.get(name)?));
        told.push_str(rest);
    }
    Some(told)
}

/// Some of the values.
fn listed(values: &[String]) -> String {
    let shown: Vec<_> = values
        .iter()
        .take(3)
        .map(|value| shortened(value, 120))
        .collect();
    let mut told = shown.join(", ");
    if values.len() > shown.len() {
        told.push_str(&format!(" and {} more", values.len() - shown.len()));
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_whose_facts_are_missing_are_left_out() {
        let values = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let facts = Facts::from([("image", values)]);
        assert_eq!(
            filled("{image} gone[ from {node}][, {image}]; end", &facts),
            "a, b, c and 1 more gone, a, b, c and 1 more; end"
        );
    }
}
