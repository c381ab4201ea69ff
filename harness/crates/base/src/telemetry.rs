//! Logging for tests and the binaries: progress to people, the rest on demand.

use std::io::IsTerminal;

use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::settings;

/// kube logs each refused call to an API server that is still starting.
const DEFAULT_FILTER: &str = "warn,kubenest::progress=info,kube_client=off,kube_runtime=error";

/// Starts logging to standard error, once; later calls change nothing.
///
/// Shows progress lines and warnings; `KUBENEST_LOG` shows more or less: levels by target, with
/// commas between them, for example `info,kubenest=debug`.
pub fn start() {
    let settings = settings();
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

fn usual() -> Targets {
    DEFAULT_FILTER
        .parse()
        .expect("the usual filter must be one")
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
    fn progress_and_warnings_are_shown_and_nothing_of_kubes_client() {
        let shown = |target: &str, level| usual().would_enable(target, &level);
        assert!(shown("kubenest::progress", Level::INFO));
        assert!(shown("kubenest_docker::sweep", Level::WARN));
        assert!(!shown("kubenest_docker::sweep", Level::INFO));
        assert!(!shown("kube_client::client", Level::ERROR));
    }

    #[test]
    fn a_filter_for_kubenest_is_one_for_all_its_crates() {
        let asked: Targets = "kubenest=debug".parse().unwrap();
        assert!(asked.would_enable("kubenest_docker::sweep", &Level::DEBUG));
        assert!(!asked.would_enable("hyper", &Level::ERROR));
    }
}
