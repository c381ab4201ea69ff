//! Logging for tests and the binaries: progress to people, the rest on demand.

use std::io::IsTerminal;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::settings;

/// kube logs each refused call to an API server that is still starting.
const DEFAULT_FILTER: &str = "warn,kubenest::progress=info,kube_client=off,kube_runtime=error";

/// Starts logging to standard error, once; later calls change nothing.
///
/// Shows progress lines and warnings; `KUBENEST_LOG` (tracing's filter syntax, for
/// example `kubenest=debug`) shows more or less.
pub fn start() {
    let settings = settings();
    let filter = settings.log.as_deref().unwrap_or(DEFAULT_FILTER);
    let color = !settings.no_color && std::io::stderr().is_terminal();
    let format = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        .without_time()
        .compact();
    tracing_subscriber::registry()
        .with(EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("warn")))
        .with(format)
        .try_init()
        .ok();
    for name in &settings.unknown {
        tracing::warn!("{name} is set but means nothing to kubenest");
    }
}

/// Reports one line of progress to people.
#[macro_export]
#[doc(hidden)]
macro_rules! progress {
    ($($arg:tt)*) => { ::tracing::info!(target: "kubenest::progress", $($arg)*) };
}
