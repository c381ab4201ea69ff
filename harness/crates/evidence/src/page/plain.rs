//! Text from outside, made safe to show on a page.

use std::borrow::Cow;

use kubenest_diagnosis::clean;

/// A text without terminal control sequences and text direction marks; line breaks stay.
pub(super) fn plain(text: &str) -> Cow<'_, str> {
    let text = text.trim_end_matches(['\n', '\r']);
    if !text.contains('\n') {
        return clean(text);
    }
    let lines: Vec<_> = text.lines().map(clean).collect();
    Cow::Owned(lines.join("\n"))
}
