//! Events in words.

use k8s_openapi::api::core::v1::Event;

/// An event as a line, without its end: the time of the last one, type, reason, object, message and
/// how often it happened.
pub fn event_line(event: &Event) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let last = event.last_timestamp.as_ref().map(|time| time.0);
    let time = last.or(event.event_time.as_ref().map(|time| time.0));
    let time = time.or(event
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0));
    let time = time.map(|time| time.strftime("%FT%TZ").to_string());
    let about = &event.involved_object;
    let mut line = format!(
        "{} {} {} {}/{}: {}",
        time.unwrap_or_default(),
        text(&event.type_),
        text(&event.reason),
        text(&about.kind),
        text(&about.name),
        text(&event.message).trim().replace('\n', " "),
    );
    if let Some(count) = event.count.filter(|count| *count > 1) {
        line.push_str(&format!(" ({count} times)"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = serde_json::json!({
            "metadata": {}, "type": "Warning", "reason": "BackOff", "count": 3,
            "lastTimestamp": "2026-11-30T07:12:01Z", "message": "Back-off\nrestarting",
            "involvedObject": {"kind": "Pod", "name": "web"},
        });
        let mut event: Event = serde_json::from_value(event).unwrap();
        insta::assert_snapshot!(event_line(&event), @"2026-11-30T07:12:01Z Warning BackOff Pod/web: Back-off restarting (3 times)");
        (event.count, event.last_timestamp) = (None, None);
        event.event_time = serde_json::from_value("2026-11-30T07:12:02.5Z".into()).unwrap();
        insta::assert_snapshot!(event_line(&event), @"2026-11-30T07:12:02Z Warning BackOff Pod/web: Back-off restarting");
    }
}
