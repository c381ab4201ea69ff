//! Kubernetes events: rows of `kubectl get events` and `kubectl describe`, and JSON.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{
    Evidence, Speaker,
    clean::{clean, compile, quotes_a_container, unquote},
};

/// A row of a table: `get events` shows the object, `describe` the component.
static ROW: LazyLock<Regex> = LazyLock::new(|| {
    let age = r"(?:[0-9]+[a-z]+)+(?: ago)?(?: \(x[0-9]+ over [0-9a-z]+\))?|<unknown>|<invalid>";
    let listed = format!(
        r"^(?:[^ ]+ +)?(?:{age}) +(?:Normal|Warning) +(?<reason>[A-Za-z]+) +[A-Za-z.]+/[^ ]+ +"
    );
    let described = format!(
        r"^ +(?:Normal|Warning) +(?<cause>[A-Za-z]+) +(?:{age}) +[a-zA-Z0-9-]+(?:, [^ ]+)? +"
    );
    compile(&format!("{listed}|{described}"))
});

/// Reason and message of a row.
pub(super) fn row(line: &str) -> Option<(&str, &str)> {
    let found = ROW.captures(line)?;
    let reason = found.name("reason").or(found.name("cause"))?;
    Some((reason.as_str(), &line[found[0].len()..]))
}

/// The source of an event; events with these reasons quote a container.
pub(super) fn source(reason: &str) -> Speaker {
    match reason {
        "Unhealthy" | "ProbeWarning" | "FailedPostStartHook" | "FailedPreStopHook" => Speaker::Pod,
        _ => Speaker::Event,
    }
}

pub(super) fn evidence(reason: &str, message: &str) -> Evidence {
    let text = unquote(&clean(message)).into_owned();
    Evidence {
        source: if quotes_a_container(&text) {
            Speaker::Pod
        } else {
            source(reason)
        },
        node: None,
        time: None,
        place: None,
        text,
    }
}

/// The events in a JSON document: a single event, or a list that contains events.
pub(super) fn events_in_json(document: &Value) -> Vec<Evidence> {
    let one = std::slice::from_ref(document);
    let items = document["items"].as_array().map_or(one, Vec::as_slice);
    let list_of_events = document["kind"] == "EventList";
    let events = items
        .iter()
        .filter(|item| item["kind"] == "Event" || (list_of_events && item["kind"].is_null()));
    events.filter_map(event_of_object).collect()
}

/// Reads an event of either API: `events.k8s.io` calls the message `note`.
fn event_of_object(event: &Value) -> Option<Evidence> {
    let text = |pointers: &[&str]| {
        let values = pointers.iter().filter_map(|at| event.pointer(at));
        values
            .filter_map(Value::as_str)
            .find(|text| !text.is_empty())
    };
    let message = text(&["/message", "/note"])?;
    let mut evidence = evidence(event["reason"].as_str().unwrap_or_default(), message);
    let shown = |text: &str| clean(text).into_owned();
    evidence.node = text(&["/source/host", "/deprecatedSource/host"]).map(shown);
    evidence.time = text(&["/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"]).map(shown);
    Some(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_get_and_describe_are_events() {
        for line in [
            "default     2m3s        Warning   Failed   pod/a-1   it is: so",
            "2m3s        Warning   Failed   pod/a-1   it is: so",
            "<unknown>   Normal   Failed   node/a   it is: so",
            "  Warning  Failed  12s (x3 over 30s)  kubelet            it is: so",
            "  Warning  Failed  12s  kubelet, node-1  it is: so",
            "2m3s (x4 over 5m)  Warning   Failed   helmchart.helm.cattle.io/a   it is: so",
            "2m3s (x4 over 5m)  Warning   Failed   Pod/a-1   it is: so",
        ] {
            assert_eq!(row(line), Some(("Failed", "it is: so")), "{line}");
        }
        for line in [
            "LAST SEEN   TYPE   REASON   OBJECT   MESSAGE",
            "Warning: no",
            "a Warning b c",
        ] {
            assert_eq!(row(line), None, "{line}");
        }
    }

    #[test]
    fn json_of_both_generations_is_read() {
        let list = serde_json::json!({"kind": "List", "items": [
            {"kind": "Event", "reason": "Failed", "message": "dial \"\u{0}x\"",
             "source": {"host": "n1"}, "lastTimestamp": "2026-11-21T10:10:29Z"},
            {"kind": "Event", "reason": "Unhealthy", "note": "quoted"},
            {"kind": "Pod", "message": "no event"},
            {"kind": "Event", "message": 7},
        ]});
        let found = events_in_json(&list);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].text, r#"dial "\x00x""#);
        assert_eq!(found[0].node.as_deref(), Some("n1"));
        assert_eq!(found[0].time.as_deref(), Some("2026-11-21T10:10:29Z"));
        assert_eq!(found[1].source, Speaker::Pod);
        assert!(events_in_json(&serde_json::json!({"items": 3, "a": []})).is_empty());
    }
}
