//! `kubenest engine`.

use clap::Subcommand;
use kubenest::{Result, engine::Docker};
use kubenest_base::settings::EngineChoice;
use kubenest_docker::discover::{Endpoint, Origin, discover};
use kubenest_forge::engine::{Engine as Embedded, State};

/// Two engines can run side by side: Docker 26 of Debian, and Docker 29, whose images containerd
/// keeps (KUBENEST_ENGINE=embedded-29, built with Go).
#[derive(Subcommand)]
pub(crate) enum Engine {
    /// Start the one that KUBENEST_ENGINE names, if it does not run, and print its address
    Start,
    /// Say of each whether it runs, and where
    Status,
    /// Stop them and everything in them
    Stop,
}

pub(crate) async fn run(command: Engine) -> Result<()> {
    // The engines that have been started before, and the one that the settings choose.
    let settings = kubenest::settings();
    let chosen = Embedded::embedded(settings.engine.release(), settings)?;
    let engines = Embedded::all(settings)?;
    match command {
        Engine::Start => println!("{}", chosen.ensure().await?.docker_host()),
        Engine::Status => {
            for engine in engines {
                let status = engine.status().await;
                println!("{:?}: {}", engine.release(), describe_state(&status.state));
                println!("  address {}", status.address.docker_host());
                println!("  folder  {}", status.folder.display());
                println!("  log     {}", status.log.display());
            }
        }
        Engine::Stop => {
            for engine in engines {
                engine.stop().await?;
            }
            println!("stopped");
        }
    }
    Ok(())
}

/// The engines that run, without starting one: the user's own if the settings choose it, and the
/// embedded ones unless the settings exclude them. If some do not answer, the first error comes
/// with them.
pub(crate) async fn running() -> (Vec<Docker>, Result<()>) {
    let settings = kubenest::settings();
    let mut endpoints = Vec::new();
    let mut ended = Ok(());
    if !matches!(settings.engine, EngineChoice::Embedded(_)) {
        match discover(&settings.docker) {
            Ok(found) => endpoints.extend(found),
            Err(error) => ended = Err(error),
        }
    }
    if settings.engine != EngineChoice::Host {
        match Embedded::all(settings) {
            Ok(engines) => {
                for engine in engines {
                    let status = engine.status().await;
                    if matches!(status.state, State::Running(_)) {
                        endpoints.push(Endpoint::unix(status.address.socket, Origin::Embedded));
                    }
                }
            }
            Err(error) => ended = ended.and(Err(error)),
        }
    }
    let mut found = Vec::new();
    for endpoint in endpoints {
        match Docker::at(&endpoint, settings).await {
            Ok(docker) => found.push(docker),
            Err(error) => ended = ended.and(Err(error)),
        }
    }
    (found, ended)
}

fn describe_state(state: &State) -> String {
    match state {
        State::Stopped => "stopped".into(),
        State::Running(versions) => format!("running: {versions:?}"),
        State::Broken(why) => format!("broken: {why}; `kubenest engine start` heals it"),
        _ => format!("{state:?}"),
    }
}
