//! Why evidence is collected.

/// Why evidence is collected.
#[derive(Debug, Clone, Default)]
pub struct Occasion {
    /// The reason in two or three words.
    pub reason: &'static str,
    /// The error, or the words of the panic.
    pub message: String,
    /// What the test wanted.
    pub expected: Option<String>,
    /// What it saw.
    pub observed: Option<String>,
}

impl Occasion {
    /// A look that somebody asked for by hand: nothing has failed.
    pub fn asked_for() -> Self {
        Self {
            reason: "asked for",
            ..Self::default()
        }
    }
}
