//! From lines to causes: which signs of the table are there, and what they make together.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::LazyLock,
};

use regex::{Regex, RegexSet, RegexSetBuilder};

use super::{
    Diagnosis, Evidence, Speaker, Support,
    causes::causes,
    clean::compiled,
    quote::only_quotes,
    rule::{Cause, Facts, Role, Sign, filled},
    surface::{spoken, worded},
};

/// So many lines are kept of a cause.
const SHOWN: usize = 6;
/// Bytes of states that the patterns may take together; with fewer they are made again and
/// again, and a line takes a hundred times as long.
const STATES: usize = 64 << 20;
/// So many values of a fact are kept.
const VALUES: usize = 100;

/// Recognises causes. The root of others comes first; what follows from it says so.
pub fn diagnose(evidence: &[Evidence]) -> Vec<Diagnosis> {
    let mut hits: Vec<Vec<Hit>> = causes().map(|_| Vec::new()).collect();
    let mut seen = HashSet::new();
    for (at, line) in evidence.iter().enumerate() {
        let mut matches = TABLE.set.matches(&line.text).into_iter().peekable();
        // Logs of a node are often kept twice: by unit, and as a whole.
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
        hits.retain(|hit| !explained(hit, &found, evidence));
        found.extend(recognise(cause, &hits, evidence));
    }
    let ids: HashSet<_> = found.iter().map(|diagnosis| diagnosis.id).collect();
    for diagnosis in &mut found {
        diagnosis.follows = diagnosis.follows.filter(|root| ids.contains(root));
    }
    found
}

/// Whether a cause that was found on the line's node makes the sign mean nothing.
fn explained(hit: &Hit, found: &[Diagnosis], evidence: &[Evidence]) -> bool {
    let node = evidence[hit.at].node.as_deref();
    let on_node = |line: &Support| same_node(line.evidence.node.as_deref(), node);
    let mut causes = found
        .iter()
        .filter(|cause| hit.sign.unless == Some(cause.id));
    causes.any(|cause| cause.lines.iter().any(on_node))
}

/// Whether a line can be of use to [`diagnose`]; few are.
pub(super) fn matters(line: &Evidence) -> bool {
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
            pattern: compiled(sign.pattern),
        })
        .collect();
    let patterns = entries.iter().map(|entry| entry.sign.pattern);
    let set = RegexSetBuilder::new(patterns)
        .dfa_size_limit(STATES)
        .build();
    Table {
        set: set.expect("must compile"),
        entries,
    }
});

/// A line with a sign.
struct Hit {
    /// The line's place in the evidence.
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
        // Only where nobody knows who speaks: a node's program quotes no pages.
        let anyone = matches!(line.source, Speaker::Cli | Speaker::Unknown);
        if anyone && only_quotes(&line.text, &matched) {
            return None;
        }
        let told = self.sign.facts.iter();
        let told = told.map(|&(name, value)| (name, value.to_owned()));
        let names = self.pattern.capture_names().flatten();
        let captured = names.filter_map(|name| Some((name, found.name(name)?.as_str().to_owned())));
        Some(Hit {
            at,
            sign: self.sign,
            matched,
            facts: told.chain(captured).collect(),
        })
    }
}

fn recognise(cause: &Cause, hits: &[Hit], evidence: &[Evidence]) -> Option<Diagnosis> {
    let hits: Vec<&Hit> = credible(hits);
    let mut decisive: Vec<&Hit> = of_role(&hits, Role::Proof).collect();
    decisive.extend(pairs(&hits, evidence));
    if decisive.is_empty() {
        return None;
    }
    let details: Vec<_> = of_role(&hits, Role::Detail)
        .filter(|detail| decisive.iter().any(|hit| belongs(detail, hit, evidence)))
        .collect();
    let mut facts = Facts::new();
    for (name, value) in decisive.iter().chain(&details).flat_map(|hit| &hit.facts) {
        let values = facts.entry(name).or_default();
        if values.len() < VALUES && !values.contains(value) {
            values.push(value.clone());
        }
    }
    Some(Diagnosis {
        id: cause.id,
        title: cause.title,
        cause: filled(cause.cause, &facts),
        cure: filled(&worded(cause.cure, spoken()), &facts),
        links: cause.links,
        follows: cause.follows,
        facts,
        count: lines(&decisive, &details),
        lines: quotes(decisive.into_iter().chain(details), evidence),
    })
}

/// How many lines there are; one may have several signs.
fn lines(decisive: &[&Hit], details: &[&Hit]) -> usize {
    let lines: HashSet<_> = decisive.iter().chain(details).map(|hit| hit.at).collect();
    lines.len()
}

fn of_role<'a>(hits: &[&'a Hit], role: Role) -> impl Iterator<Item = &'a Hit> {
    hits.iter()
        .copied()
        .filter(move |hit| hit.sign.role == role)
}

/// All but lines about an image that count only if it was removed, when it was not.
fn credible(hits: &[Hit]) -> Vec<&Hit> {
    let values = |name| {
        let facts = hits.iter().flat_map(|hit| &hit.facts);
        facts.filter(move |fact| fact.0 == name).map(|fact| &fact.1)
    };
    let removed: HashSet<_> = values("removed").collect();
    let told = |hit: &Hit| {
        let mut images = hit.facts.iter().filter(|fact| fact.0 == "image");
        images.any(|fact| removed.contains(&fact.1))
    };
    hits.iter()
        .filter(|hit| !hit.sign.of_removed || told(hit))
        .collect()
}

/// Lines that show the cause together: each one that comes after, and the last before it.
fn pairs<'a>(hits: &[&'a Hit], evidence: &[Evidence]) -> Vec<&'a Hit> {
    let mut elsewhere = HashMap::new();
    for hit in of_role(hits, Role::Before) {
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

/// A detail is of the same node and, where the order is known, came no later.
fn belongs(detail: &Hit, hit: &Hit, evidence: &[Evidence]) -> bool {
    let (a, b) = (log(detail, evidence), log(hit, evidence));
    same_node(a.1, b.1) && (a != b || detail.at <= hit.at)
}

/// What has an order of its lines: what one source says in one file.
type Log<'a> = (Speaker, Option<&'a str>, Option<&'a str>);

fn log<'a>(hit: &Hit, evidence: &'a [Evidence]) -> Log<'a> {
    let line = &evidence[hit.at];
    let file = line.place.as_ref().map(|place| place.file.as_str());
    (line.source, line.node.as_deref(), file)
}

/// A line that names no node may be of any.
fn same_node(a: Option<&str>, b: Option<&str>) -> bool {
    a.is_none() || b.is_none() || a == b
}

/// A few lines, of each kind and source some, in the order of the evidence.
fn quotes<'a>(hits: impl Iterator<Item = &'a Hit>, evidence: &[Evidence]) -> Vec<Support> {
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
    best.truncate(SHOWN);
    best.sort_by_key(|hit| hit.at);
    let support = best.into_iter().map(|hit| Support {
        evidence: evidence[hit.at].clone(),
        matched: evidence[hit.at].text[hit.matched.clone()]
            .trim_start_matches([':', ' '])
            .to_owned(),
    });
    support.collect()
}
