//! From a line without its headers to evidence: whose words they are.

use super::{
    Evidence, Speaker,
    clean::{clean, quotes_a_container, unquoted},
    events,
    form::Peeled,
};

/// What was said and by whom; `hint`, unless a header names another.
pub(super) fn evidence(peeled: &Peeled, hint: Speaker) -> Evidence {
    let mut source = match hint {
        // Whatever they look like, they are a container's, or a document's.
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
    let text = unquoted(&clean(said)).into_owned();
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
