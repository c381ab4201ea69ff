//! From a message without headers to evidence: decides who wrote it.

use super::{
    Evidence, Speaker,
    clean::{clean, quotes_a_container, unquote},
    events,
    form::Message,
};

/// A message as evidence; its source is `hint` unless a header names another.
pub(super) fn evidence(peeled: &Message, hint: Speaker) -> Evidence {
    let mut source = match hint {
        // The hint is certain: whatever the lines look like, a container or a document contains
        // them.
        Speaker::Pod | Speaker::Quote => hint,
        _ => peeled.source.unwrap_or(hint),
    };
    let mut said: &str = &peeled.text;
    if matches!(source, Speaker::Event | Speaker::Unknown)
        && let Some((reason, message)) = events::row(said)
    {
        source = events::source(reason);
        said = message;
    }
    let text = unquote(&clean(said)).into_owned();
    if source != Speaker::Quote && quotes_a_container(&text) {
        source = Speaker::Pod;
    }
    let shown = |text: &String| clean(text).into_owned();
    Evidence {
        source,
        node: peeled.node.as_ref().map(shown),
        time: peeled.time.as_ref().map(shown),
        place: None,
        text,
    }
}
