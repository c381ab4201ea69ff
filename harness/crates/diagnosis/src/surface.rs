//! Who reads a text: the author of a test, or someone at a terminal. A cure may have other words
//! for each.

use std::{borrow::Cow, sync::OnceLock};

/// By what a cure can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Surface {
    /// This crate, in a test.
    Library,
    /// The program `kubenest`, and the files of whatever cluster it looks at.
    Program,
}

static SPOKEN: OnceLock<Surface> = OnceLock::new();

/// Says once, before anything is diagnosed, by what its reader works; else it is the library.
pub fn speak_of(surface: Surface) {
    SPOKEN.get_or_init(|| surface);
}

pub(super) fn spoken() -> Surface {
    SPOKEN.get().copied().unwrap_or(Surface::Library)
}

/// A text of the table for one surface: `<<library: …>>` and `<<program: …>>` are for readers of
/// these only.
pub(super) fn worded(text: &str, surface: Surface) -> Cow<'_, str> {
    let mut parts = text.split("<<");
    let first = parts.next().unwrap_or_default();
    let mut told = Cow::Borrowed(first);
    for part in parts {
        let (words, rest) = part.split_once(">>").expect("a wording must be closed");
        let (of, words) = words
            .split_once(": ")
            .expect("a wording must say whose it is");
        let wanted = match of {
            "library" => Surface::Library,
            "program" => Surface::Program,
            _ => panic!("there is no surface {of}"),
        };
        let told = told.to_mut();
        if wanted == surface {
            told.push_str(words);
        }
        told.push_str(rest);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_gets_the_words_for_what_is_at_hand() {
        let text = "pin it (<<library: `images().load`>><<program: `kubenest load`>>), then wait";
        assert_eq!(
            worded(text, Surface::Library),
            "pin it (`images().load`), then wait"
        );
        assert_eq!(
            worded(text, Surface::Program),
            "pin it (`kubenest load`), then wait"
        );
        assert_eq!(worded("a < b", Surface::Program), "a < b");
    }
}
