//! Logging for tests and programs: progress by default, more on request.

use std::io::IsTerminal;

use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::Settings;

/// kube's client logs each call that a starting API server refuses, so it is silent.
const DEFAULT_FILTER: &str = "warn,kubenest::progress=info,kube_client=off,kube_runtime=error";

/// The same for a program that has a view of its progress.
const WITHOUT_PROGRESS: &str = "warn,kube_client=off,kube_runtime=error";

/// Starts logging to standard error, once; later calls change nothing.
///
/// Shows progress lines and warnings by default. `KUBENEST_LOG` sets levels by target, separated by
/// commas, for example `info,kubenest=debug`.
pub fn start(settings: &Settings) {
    start_with(settings, DEFAULT_FILTER);
}

/// As [`start`], without the progress lines.
pub fn start_without_progress(settings: &Settings) {
    start_with(settings, WITHOUT_PROGRESS);
}

fn start_with(settings: &Settings, filter: &str) {
    let usual = || levels(filter);
    let asked = settings.log.as_deref().map(str::parse::<Targets>);
    let (filter, wrong) = match asked {
        Some(Ok(filter)) => (filter, None),
        Some(Err(wrong)) => (usual(), Some(wrong)),
        None => (usual(), None),
    };
    let color = !settings.no_color && std::io::stderr().is_terminal();
    let format = fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        .without_time()
        .compact();
    tracing_subscriber::registry()
        .with(filter)
        .with(format)
        .try_init()
        .ok();
    if let Some(wrong) = wrong {
        tracing::warn!("KUBENEST_LOG is no list of levels such as kubenest=debug: {wrong}");
    }
    for name in &settings.unknown {
        tracing::warn!("{name} is set but means nothing to kubenest");
    }
}

fn levels(filter: &str) -> Targets {
    filter.parse().expect("the filter must be valid")
}

/// Reports one line of progress to people.
#[macro_export]
#[doc(hidden)]
macro_rules! progress {
    ($($arg:tt)*) => { ::tracing::info!(target: "kubenest::progress", $($arg)*) };
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn progress_and_warnings_are_shown_and_kubes_client_is_silent() {
        let shown = |target: &str, level| levels(DEFAULT_FILTER).would_enable(target, &level);
        assert!(shown("kubenest::progress", Level::INFO));
        assert!(shown("kubenest_docker::sweep", Level::WARN));
        assert!(!shown("kubenest_docker::sweep", Level::INFO));
        assert!(!shown("kube_client::client", Level::ERROR));
        let without = levels(WITHOUT_PROGRESS);
        assert!(!without.would_enable("kubenest::progress", &Level::INFO));
        assert!(without.would_enable("kubenest::progress", &Level::WARN));
    }

    #[test]
    fn the_target_kubenest_covers_all_its_crates() {
        let asked: Targets = "kubenest=debug".parse().unwrap();
        assert!(asked.would_enable("kubenest_docker::sweep", &Level::DEBUG));
        assert!(!asked.would_enable("hyper", &Level::ERROR));
    }
}
