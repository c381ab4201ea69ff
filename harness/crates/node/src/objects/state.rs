//! The state of an object in words, for errors that say what was seen last.

use serde_json::{Map, Value};

/// The state of an object of any kind in one line: its removal, the plain values and the conditions
/// of its status, and why a pod's containers do not run.
pub fn state(object: &Value) -> String {
    let mut words = Vec::new();
    let metadata = &object["metadata"];
    if !metadata["deletionTimestamp"].is_null() {
        let finalizers = names(&metadata["finalizers"]);
        words.push(match finalizers.is_empty() {
            true => "being removed".to_owned(),
            false => format!("being removed, held by {finalizers}"),
        });
    }
    let status = object["status"].as_object();
    match status.filter(|status| !status.is_empty()) {
        Some(status) => add_status(status, &mut words),
        None if words.is_empty() => words.push("there, without a status".to_owned()),
        None => {}
    }
    let (now, seen) = (
        &metadata["generation"],
        &object["status"]["observedGeneration"],
    );
    if !seen.is_null() && now != seen {
        words.push(format!(
            "its generation {now} is not yet seen by its controller"
        ));
    }
    words.join("; ")
}

fn add_status(status: &Map<String, Value>, words: &mut Vec<String>) {
    // These say nothing about progress.
    let dull = |key: &str| key == "observedGeneration" || key.ends_with("IP");
    let plain: Vec<_> = status
        .iter()
        .filter(|(key, value)| !dull(key) && !value.is_null() && !value.is_array())
        .filter(|(_, value)| !value.is_object())
        .map(|(key, value)| format!("{key} {}", text(value)))
        .collect();
    if !plain.is_empty() {
        words.push(plain.join(", "));
    }
    words.extend(
        status
            .get("conditions")
            .into_iter()
            .flat_map(list)
            .map(condition),
    );
    for key in ["initContainerStatuses", "containerStatuses"] {
        words.extend(
            status
                .get(key)
                .into_iter()
                .flat_map(list)
                .filter_map(container),
        );
    }
}

/// A condition, with its reason and message unless it is true.
fn condition(condition: &Value) -> String {
    let (kind, status) = (text(&condition["type"]), text(&condition["status"]));
    let (reason, message) = (text(&condition["reason"]), text(&condition["message"]));
    let mut said = format!("{kind} {status}");
    if status != "True" && !reason.is_empty() {
        said.push_str(&format!(" {reason}"));
    }
    if status != "True" && !message.is_empty() {
        said.push_str(&format!(" ({message})"));
    }
    said
}

/// Why a container does not run.
fn container(container: &Value) -> Option<String> {
    let (name, state) = (text(&container["name"]), &container["state"]);
    let (waiting, ended) = (&state["waiting"], &state["terminated"]);
    if waiting.is_object() {
        let said = format!(
            "{name} waits: {} {}",
            text(&waiting["reason"]),
            text(&waiting["message"])
        );
        let last = &container["lastState"]["terminated"]["exitCode"];
        let last = last
            .as_i64()
            .map(|code| format!(", after an end with {code}"));
        return Some(said.trim_end().to_owned() + &last.unwrap_or_default());
    }
    ended
        .is_object()
        .then(|| format!("{name} ended with {}", text(&ended["exitCode"])))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn names(value: &Value) -> String {
    list(value).map(text).collect::<Vec<_>>().join(", ")
}

/// A plain value without quotes; nothing for null.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_state_is_told_in_words() {
        let deployment = json!({"metadata": {"generation": 2}, "status": {
            "observedGeneration": 1, "replicas": 2, "readyReplicas": 1,
            "conditions": [
                {"type": "Available", "status": "False", "reason": "MinimumReplicasUnavailable",
                 "message": "Deployment does not have minimum availability."},
                {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}],
        }});
        insta::assert_snapshot!(state(&deployment), @"readyReplicas 1, replicas 2; Available False MinimumReplicasUnavailable (Deployment does not have minimum availability.); Progressing True; its generation 2 is not yet seen by its controller");
        let pod = json!({"status": {"phase": "Pending", "podIP": "10.0.0.1",
            "initContainerStatuses": [{"name": "init", "state": {"terminated": {"exitCode": 1}}}],
            "containerStatuses": [
                {"name": "web", "lastState": {"terminated": {"exitCode": 2}},
                 "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}},
                {"name": "side", "state": {"running": {}}}],
        }});
        insta::assert_snapshot!(state(&pod), @"phase Pending; init ended with 1; web waits: CrashLoopBackOff back-off 10s, after an end with 2");
        insta::assert_snapshot!(state(&json!({"metadata": {"name": "a"}})), @"there, without a status");
        let removed = json!({"metadata": {"deletionTimestamp": "1", "finalizers": ["a/b", "c/d"]}});
        insta::assert_snapshot!(state(&removed), @"being removed, held by a/b, c/d");
    }
}
