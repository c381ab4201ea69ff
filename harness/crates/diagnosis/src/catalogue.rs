//! The list of known causes, which can be looked up without a log.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{
    causes::causes,
    rule::{Cause, Facts, fill_text},
    surface::{current_surface, text_for},
};

/// An example line of each cause: a snapshot of the fixtures that a test keeps up to date.
const EXAMPLES: &str =
    include_str!("snapshots/kubenest_diagnosis__catalogue__tests__examples.snap");
/// Maximum number of suggestions for a misspelt id.
const MAX_SIMILAR: usize = 4;

/// A known cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KnownCause {
    /// Its stable name.
    pub id: &'static str,
    /// The cause in a few words.
    pub title: &'static str,
    /// What happens and why, with `<name>` in place of facts from lines.
    pub cause: String,
    /// What to do about it.
    pub cure: String,
    /// Upstream's issues or documentation.
    pub links: &'static [&'static str],
    /// The cause that leads to it, if both are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follows: Option<&'static str>,
    /// A part of a real line that shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<&'static str>,
}

/// All known causes, root causes first.
pub fn catalogue() -> Vec<KnownCause> {
    let examples: BTreeMap<_, _> = EXAMPLES
        .lines()
        .filter_map(|line| line.split_once(" | "))
        .collect();
    causes()
        .map(|cause| KnownCause {
            example: examples.get(cause.id).copied(),
            ..known_cause(cause)
        })
        .collect()
}

/// The ids most similar to a misspelt one, the most similar first.
pub fn similar_ids(id: &str) -> Vec<&'static str> {
    let words: Vec<_> = id
        .split(['-', '_', ' '])
        .filter(|word| word.len() > 2)
        .collect();
    let shared = |other: &str| words.iter().filter(|word| other.contains(**word)).count();
    let mut ranked: Vec<_> = causes()
        .map(|cause| cause.id)
        .map(|other| (distance(id, other), shared(other), other))
        .filter(|(distance, shared, other)| *distance <= other.len() / 3 || *shared > 0)
        .collect();
    // A small edit distance weighs more than a shared word.
    ranked.sort_by_key(|(distance, shared, _)| (distance.saturating_sub(*shared * 4), *distance));
    ranked
        .into_iter()
        .map(|(.., other)| other)
        .take(MAX_SIMILAR)
        .collect()
}

fn known_cause(cause: &Cause) -> KnownCause {
    let mut facts = Facts::new();
    for text in [cause.cause, cause.cure] {
        for name in text
            .split('{')
            .skip(1)
            .filter_map(|part| part.split_once('}'))
        {
            facts.insert(name.0, vec![format!("<{}>", name.0)]);
        }
    }
    KnownCause {
        id: cause.id,
        title: cause.title,
        cause: fill_text(cause.cause, &facts),
        cure: fill_text(&text_for(cause.cure, current_surface()), &facts),
        links: cause.links,
        follows: cause.follows,
        example: None,
    }
}

/// The edit distance: how many letters must be changed, added or removed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (at, one) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, other) in b.chars().enumerate() {
            let changed = diagonal + usize::from(one != other);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// For people: like a diagnosis, with an example in place of lines.
impl fmt::Display for KnownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.title, self.id)?;
        if let Some(root) = self.follows {
            writeln!(f, "   follows {root}, where that is found too")?;
        }
        writeln!(f, "   cause   {}", self.cause)?;
        writeln!(f, "   cure    {}", self.cure)?;
        for link in self.links {
            writeln!(f, "   link    {link}")?;
        }
        match self.example {
            Some(example) => writeln!(f, "   line    {example}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{clean::shorten, diagnose, read, surface::Surface};

    /// The first line that shows a cause by itself in its fixtures.
    fn example(id: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fixtures");
        let entries = fs::read_dir(root.join(id)).expect("must list");
        let mut logs: Vec<_> = entries
            .map(|entry| entry.expect("must list").path())
            .collect();
        logs.sort();
        let mut found = logs.iter().flat_map(|log| {
            let reading = read(std::slice::from_ref(log)).expect("must read");
            diagnose(&reading.evidence)
        });
        let found = found.find(|found| found.id == id).expect("must be found");
        shorten(&found.lines.last().expect("must have lines").matched, 240).into_owned()
    }

    #[test]
    fn examples() {
        let lines: String = causes()
            .map(|cause| format!("{} | {}\n", cause.id, example(cause.id)))
            .collect();
        insta::assert_snapshot!("examples", lines);
        assert!(catalogue().iter().all(|known| known.example.is_some()));
    }

    #[test]
    fn texts_contain_no_unfilled_marks() {
        for known in catalogue() {
            for text in [&known.cause, &known.cure] {
                let marks = ["{", "}", "[", "]", "<<", ">>"];
                let left = marks.iter().find(|mark| text.contains(**mark));
                assert_eq!(left, None, "{}: {text}", known.id);
            }
        }
        for cause in causes() {
            for surface in [Surface::Library, Surface::Program] {
                let told = text_for(cause.cure, surface);
                assert!(
                    !told.contains("<<") && !told.contains("  "),
                    "{}: {told}",
                    cause.id
                );
            }
        }
    }

    #[test]
    fn a_misspelt_id_is_understood() {
        assert_eq!(similar_ids("inotify-exausted")[0], "inotify-exhausted");
        assert_eq!(similar_ids("coredns")[0], "coredns-loop");
        assert!(similar_ids("inotify").contains(&"inotify-exhausted"));
        assert_eq!(similar_ids("zzz"), [""; 0]);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
