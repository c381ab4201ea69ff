//! The settings of this process: read once, and handed on to everything below.

use std::sync::{Arc, OnceLock};

use kubenest_base::{settings::Settings, wait};
use kubenest_forge::making;

/// The settings of this process, by the environment at the first call.
///
/// The variables are in README.md. What a cluster does goes by the settings of the engine that it
/// stands on, which are these unless that engine was found with others.
pub fn settings() -> &'static Arc<Settings> {
    static SETTINGS: OnceLock<Arc<Settings>> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let settings = Settings::from_env();
        if let Some(factor) = settings.patience {
            wait::set_patience(factor);
        }
        making::meet_runner(&settings);
        settings.into()
    })
}

/// Logging for tests and programs: progress by default, more on request.
pub mod telemetry {
    use kubenest_base::telemetry;

    /// Starts logging to standard error, once; later calls change nothing.
    ///
    /// Shows progress lines and warnings by default. `KUBENEST_LOG` sets levels by target,
    /// separated by commas, for example `info,kubenest=debug`.
    pub fn start() {
        telemetry::start(super::settings());
    }
}

/// The Docker engine that the settings select.
pub mod engine {
    use kubenest_base::Result;
    pub use kubenest_docker::Docker;

    /// The engine that Docker's own clients would use; without one, the embedded engine.
    ///
    /// # Errors
    /// An engine was named and does not answer, or there is none and none can be brought.
    pub async fn find() -> Result<Docker> {
        kubenest_forge::engine::find(super::settings()).await
    }
}
