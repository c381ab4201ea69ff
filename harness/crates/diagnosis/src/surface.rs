//! Who reads a text: the author of a test or a user of the program. A cure may differ for the two.

use std::{borrow::Cow, sync::OnceLock};

/// The interface with which the reader applies a cure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Surface {
    /// This crate, in a test.
    Library,
    /// The program `kubenest`, and the files of the diagnosed cluster.
    Program,
}

static CURRENT: OnceLock<Surface> = OnceLock::new();

/// Sets the reader's interface, once and before any diagnosis; the default is the library.
pub fn speak_of(surface: Surface) {
    CURRENT.get_or_init(|| surface);
}

pub(super) fn current_surface() -> Surface {
    CURRENT.get().copied().unwrap_or(Surface::Library)
}

/// A text of the table for one interface, with only its own `<<library: …>>` or `<<program: …>>`
/// parts.
pub(super) fn text_for(text: &str, surface: Surface) -> Cow<'_, str> {
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
    fn each_reader_gets_the_text_for_their_interface() {
        let text = "pin it (<<library: `images().load`>><<program: `kubenest load`>>), then wait";
        assert_eq!(
            text_for(text, Surface::Library),
            "pin it (`images().load`), then wait"
        );
        assert_eq!(
            text_for(text, Surface::Program),
            "pin it (`kubenest load`), then wait"
        );
        assert_eq!(text_for("a < b", Surface::Program), "a < b");
    }
}
