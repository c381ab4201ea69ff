//! From lines to causes: finds the signs of the table and combines them.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::LazyLock,
};

use regex::{Regex, RegexSet, RegexSetBuilder};

use super::{
    Diagnosis, Evidence, Speaker, Support,
    causes::causes,
    clean::compile,
    quote::only_quotes,
    rule::{Cause, Facts, Role, Sign, fill_text},
    surface::{current_surface, text_for},
};

/// Maximum number of lines that are kept for a cause.
const MAX_LINES: usize = 6;
/// Cache, in bytes, for the states of all patterns. With a smaller cache the regex engine rebuilds
/// states constantly, and a line takes a hundred times as long.
const STATE_BYTES: usize = 64 << 20;
/// Maximum number of values that are kept for a fact.
const MAX_VALUES: usize = 100;

/// Recognises causes, root causes first; `follows` names the cause that leads to another.
pub fn diagnose(evidence: &[Evidence]) -> Vec<Diagnosis> {
    let mut hits: Vec<Vec<Hit>> = causes().map(|_| Vec::new()).collect();
    let mut seen = HashSet::new();
    for (at, line) in evidence.iter().enumerate() {
        let mut matches = TABLE.set.matches(&line.text).into_iter().peekable();
        // Exports of a node's logs often contain lines twice: by unit and in the whole journal.
        let again = |time| !seen.insert((line.source, &line.node, time, &line.text));
        if matches.peek().is_none() || line.time.as_ref().is_some_and(again) {
            continue;
        }
        for entry in matches.map(|index| &TABLE.entries[index]) {
            hits[entry.cause].extend(entry.hit(at, line));
        }
    }
    let mut found: Vec<Diagnosis> = Vec::new();
    for (cause, mut hits) in causes().zip(hits) {
        hits.retain(|hit| !is_explained(hit, &found, evidence));
        found.extend(recognise(cause, &hits, evidence));
    }
    let ids: HashSet<_> = found.iter().map(|diagnosis| diagnosis.id).collect();
    for diagnosis in &mut found {
        diagnosis.follows = diagnosis.follows.filter(|root| ids.contains(root));
    }
    found
}

/// Whether a cause that was found on the line's node explains the sign away.
fn is_explained(hit: &Hit, found: &[Diagnosis], evidence: &[Evidence]) -> bool {
    let node = evidence[hit.at].node.as_deref();
    let on_node = |line: &Support| same_node(line.evidence.node.as_deref(), node);
    let mut causes = found
        .iter()
        .filter(|cause| hit.sign.unless == Some(cause.id));
    causes.any(|cause| cause.lines.iter().any(on_node))
}

/// Whether a line has any sign that [`diagnose`] looks for; few lines have.
pub(super) fn may_matter(line: &Evidence) -> bool {
    TABLE.set.is_match(&line.text)
}

struct Table {
    set: RegexSet,
    entries: Vec<Entry>,
}

struct Entry {
    cause: usize,
    sign: &'static Sign,
    pattern: Regex,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let signs = causes()
        .enumerate()
        .flat_map(|(at, cause)| cause.signs.iter().map(move |sign| (at, sign)));
    let entries: Vec<_> = signs
        .map(|(cause, sign)| Entry {
            cause,
            sign,
            pattern: compile(sign.pattern),
        })
        .collect();
    let patterns = entries.iter().map(|entry| entry.sign.pattern);
    let set = RegexSetBuilder::new(patterns)
        .dfa_size_limit(STATE_BYTES)
        .build();
    Table {
        set: set.expect("must compile"),
        entries,
    }
});

/// A line with a sign.
struct Hit {
    /// The line's index in the evidence.
    at: usize,
    sign: &'static Sign,
    matched: Range<usize>,
    facts: Vec<(&'static str, String)>,
}

impl Entry {
    fn hit(&'static self, at: usize, line: &Evidence) -> Option<Hit> {
        if !line.source.is_among(self.sign.sources) {
            return None;
        }
        let found = self.pattern.captures(&line.text)?;
        let matched = found.get_match().range();
        // Only if the author is unknown: programs of a node do not quote pages or commits.
        let anyone = matches!(line.source, Speaker::Cli | Speaker::Unknown);
        if anyone && only_quotes(&line.text, &matched) {
            return None;
        }
        let implied = self.sign.facts.iter();
        let implied = implied.map(|&(name, value)| (name, value.to_owned()));
        let names = self.pattern.capture_names().flatten();
        let captured = names.filter_map(|name| Some((name, found.name(name)?.as_str().to_owned())));
        Some(Hit {
            at,
            sign: self.sign,
            matched,
            facts: implied.chain(captured).collect(),
        })
    }
}

fn recognise(cause: &Cause, hits: &[Hit], evidence: &[Evidence]) -> Option<Diagnosis> {
    let hits: Vec<&Hit> = credible_hits(hits);
    let mut decisive: Vec<&Hit> = with_role(&hits, Role::Proof).collect();
    decisive.extend(pairs(&hits, evidence));
    if decisive.is_empty() {
        return None;
    }
    let details: Vec<_> = with_role(&hits, Role::Detail)
        .filter(|detail| decisive.iter().any(|hit| belongs_to(detail, hit, evidence)))
        .collect();
    let mut facts = Facts::new();
    for (name, value) in decisive.iter().chain(&details).flat_map(|hit| &hit.facts) {
        let values = facts.entry(name).or_default();
        if values.len() < MAX_VALUES && !values.contains(value) {
            values.push(value.clone());
        }
    }
    Some(Diagnosis {
        id: cause.id,
        title: cause.title,
        cause: fill_text(cause.cause, &facts),
        cure: fill_text(&text_for(cause.cure, current_surface()), &facts),
        links: cause.links,
        follows: cause.follows,
        facts,
        count: count_lines(&decisive, &details),
        lines: select_lines(decisive.into_iter().chain(details), evidence),
    })
}

/// The number of distinct lines: a line may have several signs.
fn count_lines(decisive: &[&Hit], details: &[&Hit]) -> usize {
    let lines: HashSet<_> = decisive.iter().chain(details).map(|hit| hit.at).collect();
    lines.len()
}

fn with_role<'a>(hits: &[&'a Hit], role: Role) -> impl Iterator<Item = &'a Hit> {
    hits.iter()
        .copied()
        .filter(move |hit| hit.sign.role == role)
}

/// All hits but those that need their image to be removed when no line says that it was.
fn credible_hits(hits: &[Hit]) -> Vec<&Hit> {
    let values = |name| {
        let facts = hits.iter().flat_map(|hit| &hit.facts);
        facts.filter(move |fact| fact.0 == name).map(|fact| &fact.1)
    };
    let removed: HashSet<_> = values("removed").collect();
    let was_removed = |hit: &Hit| {
        let mut images = hit.facts.iter().filter(|fact| fact.0 == "image");
        images.any(|fact| removed.contains(&fact.1))
    };
    hits.iter()
        .filter(|hit| !hit.sign.requires_removal || was_removed(hit))
        .collect()
}

/// Pairs of lines that show the cause together: each `After` and the last `Before` it.
fn pairs<'a>(hits: &[&'a Hit], evidence: &[Evidence]) -> Vec<&'a Hit> {
    let mut elsewhere = HashMap::new();
    for hit in with_role(hits, Role::Before) {
        elsewhere.entry(log(hit, evidence)).or_insert(hit);
    }
    let mut last = HashMap::new();
    let (mut pairs, mut counted) = (Vec::new(), HashSet::new());
    for &hit in hits {
        let own = log(hit, evidence);
        match hit.sign.role {
            Role::Before => {
                last.insert(own, hit);
            }
            Role::Reset => {
                last.remove(&own);
            }
            Role::After => {
                let other = |other: &&Log| other.0 != own.0 && same_node(other.1, own.1);
                let before = last.get(&own).copied();
                let before = before.or_else(|| {
                    let other = elsewhere.keys().filter(other).min()?;
                    elsewhere.get(other).copied()
                });
                if let Some(before) = before {
                    let new = [before, hit]
                        .into_iter()
                        .filter(|hit| counted.insert(hit.at));
                    pairs.extend(new);
                }
            }
            Role::Proof | Role::Detail => {}
        }
    }
    pairs
}

/// Whether a detail belongs to a hit: it is from the same node and, if the order is known, not
/// later.
fn belongs_to(detail: &Hit, hit: &Hit, evidence: &[Evidence]) -> bool {
    let (a, b) = (log(detail, evidence), log(hit, evidence));
    same_node(a.1, b.1) && (a != b || detail.at <= hit.at)
}

/// The lines of one source in one file, whose order is known.
type Log<'a> = (Speaker, Option<&'a str>, Option<&'a str>);

fn log<'a>(hit: &Hit, evidence: &'a [Evidence]) -> Log<'a> {
    let line = &evidence[hit.at];
    let file = line.place.as_ref().map(|place| place.file.as_str());
    (line.source, line.node.as_deref(), file)
}

/// A line without a node may be from any node.
fn same_node(a: Option<&str>, b: Option<&str>) -> bool {
    a.is_none() || b.is_none() || a == b
}

/// A few lines with different signs and sources, in the order of the evidence.
fn select_lines<'a>(hits: impl Iterator<Item = &'a Hit>, evidence: &[Evidence]) -> Vec<Support> {
    let mut times: HashMap<_, usize> = HashMap::new();
    let mut ranked: Vec<_> = hits
        .map(|hit| {
            let kind = (std::ptr::from_ref(hit.sign), evidence[hit.at].source);
            let time = times.entry(kind).or_default();
            *time += 1;
            ((hit.sign.role == Role::Detail, *time), hit)
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut shown = HashSet::new();
    let mut best: Vec<_> = ranked.into_iter().map(|(_, hit)| hit).collect();
    best.retain(|hit| shown.insert(hit.at));
    best.truncate(MAX_LINES);
    best.sort_by_key(|hit| hit.at);
    let support = best.into_iter().map(|hit| Support {
        evidence: evidence[hit.at].clone(),
        matched: evidence[hit.at].text[hit.matched.clone()]
            .trim_start_matches([':', ' '])
            .to_owned(),
    });
    support.collect()
}
