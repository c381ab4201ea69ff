//! The format of the table of causes: texts for people, and the signs that show a cause.

use std::collections::BTreeMap;

use super::{Speaker, clean::shorten};

/// The facts that lines contain about a cause, by the names of regex captures.
pub(super) type Facts = BTreeMap<&'static str, Vec<String>>;

/// A cause. Its texts may contain facts: `{image}`. A part in brackets is left out if a fact in it
/// is unknown: `on a node[ with containerd {version}]`. A cure may have text only for users of the
/// library or of the program: `<<library: …>><<program: …>>`.
pub(super) struct Cause {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    pub(super) cause: &'static str,
    pub(super) cure: &'static str,
    pub(super) links: &'static [&'static str],
    /// The cause that leads to this one, if both are found.
    pub(super) follows: Option<&'static str>,
    pub(super) signs: &'static [Sign],
}

/// A kind of line that is a sign of a cause.
pub(super) struct Sign {
    pub(super) role: Role,
    /// The sources whose lines count.
    pub(super) sources: &'static [Speaker],
    pub(super) pattern: &'static str,
    /// Facts that the sign implies, beside those that it captures.
    pub(super) facts: &'static [(&'static str, &'static str)],
    /// The sign counts only if another line names its `image` as `removed`.
    pub(super) requires_removal: bool,
    /// The sign is ignored on a node where this cause was recognised, because that explains it.
    pub(super) unless: Option<&'static str>,
}

/// How much a sign proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// It shows the cause by itself.
    Proof,
    /// It shows the cause together with an [`After`](Role::After) on the same node. Lines of one
    /// source in one file must be in this order; between different logs the order is unknown.
    Before,
    /// See [`Before`](Role::Before).
    After,
    /// Earlier [`Before`](Role::Before) lines of the file no longer count.
    Reset,
    /// It adds facts to other signs, also to those in the same line.
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
            requires_removal: false,
            unless: None,
        }
    }

    pub(super) const fn with_facts(
        mut self,
        facts: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.facts = facts;
        self
    }

    pub(super) const fn requires_removal(mut self) -> Self {
        self.requires_removal = true;
        self
    }

    pub(super) const fn unless(mut self, cause: &'static str) -> Self {
        self.unless = Some(cause);
        self
    }
}

/// A text of the table with facts filled in.
pub(super) fn fill_text(text: &str, facts: &Facts) -> String {
    let mut parts = text.split('[');
    let mut text = parts
        .next()
        .and_then(|part| fill_part(part, facts))
        .unwrap_or_default();
    for part in parts {
        let (optional, rest) = part.split_once(']').expect("a bracket must be closed");
        text.extend(fill_part(optional, facts));
        text.extend(fill_part(rest, facts));
    }
    text
}

/// A part of a text with facts filled in; `None` if one is missing.
fn fill_part(part: &str, facts: &Facts) -> Option<String> {
    let mut pieces = part.split('{');
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (name, rest) = piece.split_once('}').expect("a brace must be closed");
        text.push_str(&join_values(facts.get(name)?));
        text.push_str(rest);
    }
    Some(text)
}

/// The first values, and how many more there are.
fn join_values(values: &[String]) -> String {
    let shown: Vec<_> = values
        .iter()
        .take(3)
        .map(|value| shorten(value, 120))
        .collect();
    let mut text = shown.join(", ");
    if values.len() > shown.len() {
        text.push_str(&format!(" and {} more", values.len() - shown.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_whose_facts_are_missing_are_left_out() {
        let values = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let facts = Facts::from([("image", values)]);
        assert_eq!(
            fill_text("{image} gone[ from {node}][, {image}]; end", &facts),
            "a, b, c and 1 more gone, a, b, c and 1 more; end"
        );
    }
}
