//! Merges the user's changes into documents.

use serde_json::{Value, json};

/// How two lists of one name are joined; `None` where the later list replaces the earlier one.
pub(super) type Lists = fn(name: &str, ours: &[Value], theirs: &[Value]) -> Option<Vec<Value>>;

/// Merges like a JSON merge patch: mappings merge, `null` removes, and everything else replaces,
/// except lists that `lists` joins.
pub(super) fn merge(target: &mut Value, patch: &Value, lists: Lists) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(target) = target else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
            continue;
        }
        let entry = target.entry(key.clone()).or_insert(Value::Null);
        let ours = entry.as_array().map(Vec::as_slice).unwrap_or_default();
        let joined = value.as_array().and_then(|theirs| lists(key, ours, theirs));
        match joined {
            Some(list) => *entry = Value::Array(list),
            None => merge(entry, value, lists),
        }
    }
}

/// Lets every list replace the one before.
pub(super) fn replace_lists(_: &str, _: &[Value], _: &[Value]) -> Option<Vec<Value>> {
    None
}
