//! The page's data as JSON that can be embedded in an HTML page.

use std::borrow::Cow;

use kubenest_protocol::SCHEMA;
use serde_json::{Value, json};

use super::{Entry, Lane, Level, Page, place::Places, plain::plain};

/// The names of sources, in the order the page shows them.
const SOURCES: [(Lane, &str); 8] = [
    (Lane::Step, "test"),
    (Lane::Boot, "boot"),
    (Lane::Event, "event"),
    (Lane::Kubelet, "kubelet"),
    (Lane::Containerd, "containerd"),
    (Lane::Kernel, "kernel"),
    (Lane::Pod, "pod"),
    (Lane::Engine, "engine"),
];

/// All that the page's script reads.
pub(super) fn json(page: &Page) -> String {
    let mut entries: Vec<_> = page.entries.iter().collect();
    entries.sort_by_key(|entry| entry.at_us);
    let mut data = serde_json::to_value(page).expect("the page must be representable");
    make_plain(&mut data);
    data["schema"] = json!(SCHEMA);
    let places = Places::new(if page.diagnosis.is_empty() {
        &[]
    } else {
        &entries
    });
    let diagnosis = data["diagnosis"].as_array_mut();
    for (shown, finding) in diagnosis.into_iter().flatten().zip(&page.diagnosis) {
        let lines = shown["lines"].as_array_mut();
        for (shown, line) in lines.into_iter().flatten().zip(&finding.lines) {
            shown["entry"] = json!(places.find(line));
        }
    }
    data["timeline"] = timeline(&entries);
    // With `<` escaped, no text can end the script element or open a comment.
    data.to_string().replace('<', "\\u003c")
}

/// The entries by column, so that fifty thousand of them are small and quick to read.
fn timeline(entries: &[&Entry]) -> Value {
    let mut nodes: Vec<&str> = entries.iter().map(|entry| entry.node.as_str()).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let node = |entry: &Entry| {
        nodes
            .binary_search(&entry.node.as_str())
            .unwrap_or_default()
    };
    let start = entries.first().map_or(0, |entry| entry.at_us);
    json!({
        "start_us": start,
        "sources": SOURCES.map(|(_, name)| name),
        "nodes": nodes.iter().map(|node| plain(node)).collect::<Vec<_>>(),
        "at_us": entries.iter().map(|e| e.at_us - start).collect::<Vec<_>>(),
        "source": entries.iter().map(|e| index(e.source)).collect::<Vec<_>>(),
        "node": entries.iter().map(|e| node(e)).collect::<Vec<_>>(),
        "level": entries.iter().map(|e| level(e.level)).collect::<Vec<_>>(),
        "text": entries.iter().map(|e| plain(&e.text)).collect::<Vec<_>>(),
    })
}

fn index(source: Lane) -> usize {
    let at = SOURCES.iter().position(|(known, _)| *known == source);
    at.expect("every source must have a name")
}

fn level(level: Level) -> u8 {
    match level {
        Level::Error => 0,
        Level::Warning => 1,
        Level::Info => 2,
    }
}

/// Makes every text [`plain`].
fn make_plain(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(clean) = plain(text) {
                *text = clean;
            }
        }
        Value::Array(all) => all.iter_mut().for_each(make_plain),
        Value::Object(all) => {
            *all = std::mem::take(all)
                .into_iter()
                .map(|(key, mut value)| {
                    make_plain(&mut value);
                    (plain(&key).into_owned(), value)
                })
                .collect();
        }
        _ => {}
    }
}
