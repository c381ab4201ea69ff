//! The one error of the crate: what went wrong, why, and what to do about it.

use std::{error::Error as StdError, fmt};

/// Result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn StdError + Send + Sync>;

/// What kind of trouble an [`Error`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller asked for something that cannot be: a bad name, an unknown recipe.
    Input,
    /// The stack under the test could not be set up.
    Setup,
    /// A condition did not come true in time.
    Timeout,
    /// A named thing does not exist.
    NotFound,
    /// A known-bad combination, or a health check that failed.
    Refused,
}

/// Whose failure an [`Error`] is when a test returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The harness failed to do its part; nothing is known about the behaviour under test.
    Harness,
    /// The test's own assertion failed.
    Test,
}

/// A failure with its cause and, where there is one, its cure.
///
/// Every such error counts as the harness' failure ([`Origin::Harness`]) unless it or one of its
/// causes is [marked](Error::asserted) as the test's, even when a test constructs it: a test does
/// that to say that something it needs is missing. Any other error type, such as that of
/// `anyhow::ensure!`, is a failed assertion.
///
/// `Display` is a lowercase fragment without the cause, which is the
/// [`source`](StdError::source) and added by `{:#}`. [`Error::report`] has everything for people.
///
/// ```
/// # use kubenest_base as kubenest;
/// let error = kubenest::Error::input("unknown recipe 'v9'").cure("kubenest image list");
/// assert_eq!(error.report(), "unknown recipe 'v9'\ncure: kubenest image list");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    /// `None`: the origin of the nearest cause counts.
    origin: Option<Origin>,
    what: String,
    cure: Option<String>,
    note: Option<String>,
    source: Option<Cause>,
}

impl Error {
    /// The caller's mistake.
    pub fn input(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, what)
    }

    /// The stack under the test could not be set up.
    pub fn setup(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Setup, what)
    }

    /// A condition that did not come true in time.
    pub fn timeout(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Timeout, what)
    }

    /// A named thing that does not exist.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, what)
    }

    /// A known-bad combination or a failed check.
    pub fn refused(what: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, what)
    }

    /// An error of this kind.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            origin: None,
            what: what.into(),
            cure: None,
            note: None,
            source: None,
        }))
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn cure(mut self, cure: impl Into<String>) -> Self {
        self.0.cure = Some(cure.into());
        self
    }

    /// Adds where there is more to read.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.0.note = Some(note.into());
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Cause>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// Marks the error as a failed assertion of the test.
    #[must_use]
    pub fn asserted(self) -> Self {
        self.of(Origin::Test)
    }

    /// Sets whose failure the error is, overriding its causes.
    #[must_use]
    pub fn of(mut self, origin: Origin) -> Self {
        self.0.origin = Some(origin);
        self
    }

    /// Whose failure the error is: its own mark, else that of its nearest marked cause.
    pub fn origin(&self) -> Origin {
        let mut error = Some(self);
        while let Some(this) = error {
            if let Some(origin) = this.0.origin {
                return origin;
            }
            error = this.nearest_cause();
        }
        Origin::Harness
    }

    /// The nearest cause that is an [`Error`] too.
    fn nearest_cause(&self) -> Option<&Self> {
        let mut source = self.source();
        while let Some(cause) = source {
            if let Some(error) = cause.downcast_ref() {
                return Some(error);
            }
            source = cause.source();
        }
        None
    }

    /// What kind of trouble this is; the outermost error decides.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The cure: this error's own, else the nearest cause's.
    pub fn cure_text(&self) -> Option<&str> {
        self.0.cure.as_deref().or_else(|| {
            let source = self.0.source.as_deref()?;
            source.downcast_ref::<Error>()?.cure_text()
        })
    }

    /// Message and causes joined by `: `; a single line if each of them is.
    fn chain(&self) -> String {
        let mut text = self.0.what.clone();
        let mut source = self.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Libraries often repeat their cause in their own message.
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        text
    }

    /// The whole error for people: message, causes, cure and note.
    pub fn report(&self) -> String {
        let mut text = self.chain();
        if let Some(cure) = self.cure_text() {
            text.push_str("\ncure: ");
            text.push_str(cure);
        }
        if let Some(note) = &self.0.note {
            text.push('\n');
            text.push_str(note);
        }
        text
    }
}

/// What was being done; `{:#}` adds the causes.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match f.alternate() {
            true => f.write_str(&self.chain()),
            false => f.write_str(&self.0.what),
        }
    }
}

/// A test that returns this error prints it with `Debug`: show the whole report.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// Adds what was being done to an error from below.
pub trait Context<T> {
    /// Wraps the error; a crate error keeps its kind and origin, any other becomes a set-up
    /// failure.
    ///
    /// # Errors
    /// The wrapped error, if there was one.
    fn context(self, what: impl Into<String>) -> Result<T>;

    /// As [`context`](Context::context), with a message made only on failure.
    ///
    /// # Errors
    /// The wrapped error, if there was one.
    fn with_context(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Cause>> Context<T> for Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.with_context(|| what.into())
    }

    fn with_context(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| {
            let cause: Cause = cause.into();
            let kind = cause
                .downcast_ref::<Error>()
                .map_or(ErrorKind::Setup, Error::kind);
            Error::new(kind, what()).because(cause)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_keeps_kind_cause_and_cure() {
        let error = Err::<(), _>(Error::refused("kind 0.26 cannot load").cure("use 0.27"))
            .context("boot 'a'")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(
            error.report(),
            "boot 'a': kind 0.26 cannot load\ncure: use 0.27"
        );
        assert_eq!(format!("{error}"), "boot 'a'");
        assert_eq!(format!("{error:#}"), "boot 'a': kind 0.26 cannot load");
    }

    #[test]
    fn the_origin_of_an_error_survives_wrapping() {
        let origin = |error: Error| error.origin();
        let plain = || Error::timeout("waited");
        assert_eq!(origin(plain()), Origin::Harness);
        assert_eq!(origin(plain().asserted()), Origin::Test);
        let wrapped = |error: Error| Err::<(), _>(error).context("ask").unwrap_err();
        assert_eq!(origin(wrapped(plain())), Origin::Harness);
        assert_eq!(origin(wrapped(wrapped(plain().asserted()))), Origin::Test);
        // The outer mark wins.
        let slow = plain().because(Error::setup("the machine is too slow"));
        assert_eq!(origin(slow.asserted()), Origin::Test);
        let boot = wrapped(plain().asserted()).of(Origin::Harness);
        assert_eq!(origin(boot), Origin::Harness);
        let foreign = std::io::Error::other("disk gone");
        assert_eq!(origin(plain().because(foreign)), Origin::Harness);
    }

    #[test]
    fn a_repeated_cause_is_shown_once() {
        let io = std::io::Error::other("disk gone");
        let error = Error::setup("write: disk gone").because(io);
        assert_eq!(error.report(), "write: disk gone");
    }
}
