//! Errors of the engine, each with a cure where its message is known to have one.

use bollard::errors::Error as EngineError;

use kubenest_base::{Error, Result};

/// Adds to an engine's error what the engine was asked to do.
pub(super) trait Explain<T> {
    /// Wraps the engine's error.
    fn explain(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Explain<T> for Result<T, EngineError> {
    fn explain(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|cause| {
            let error = Error::setup(what());
            let error = match cure(&cause) {
                Some(cure) => error.cure(cure),
                None => error,
            };
            error.because(cause)
        })
    }
}

fn cure(cause: &EngineError) -> Option<&'static str> {
    if let EngineError::DockerResponseServerError { message, .. } = cause {
        return by_words(message);
    }
    // All other errors mean that the call did not reach the engine, or that the answer broke off.
    Some("see whether the engine still runs: `kubenest engine status`, or `docker info`")
}

fn by_words(message: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 4] = [
        (
            "no space left on device",
            "free disk space where the engine keeps its data: `kubenest clean`, \
             `docker system prune`",
        ),
        (
            "is already in use by container",
            "choose another cluster name, or remove the old one: `kubenest down NAME`",
        ),
        (
            "port is already allocated",
            "choose another host port, or 0 for a free one",
        ),
        (
            "No such image",
            "the image was removed while it was wanted: run again",
        ),
    ];
    WORDS
        .iter()
        .find(|(words, _)| message.contains(words))
        .map(|(_, cure)| *cure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_names_its_cure() {
        let cause = EngineError::DockerResponseServerError {
            status_code: 500,
            message: "write /x: no space left on device".into(),
        };
        let error = Err::<(), _>(cause)
            .explain(|| "create container 'a'".into())
            .unwrap_err();
        assert!(error.report().starts_with("create container 'a': "));
        assert!(error.cure_text().unwrap().contains("free disk space"));
    }

    #[test]
    fn an_engine_that_went_away_is_told_from_one_that_refused() {
        let error = Err::<(), _>(EngineError::RequestTimeoutError)
            .explain(|| "start container 'a'".into())
            .unwrap_err();
        assert!(error.cure_text().unwrap().contains("engine status"));
    }
}
