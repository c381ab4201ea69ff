//! `kubenest engine`.

use clap::Subcommand;
use kubenest::{
    Result,
    docker::{Docker, discover::discover},
    engine::{self, State},
    settings::{EngineChoice, settings},
};

#[derive(Subcommand)]
pub(crate) enum Engine {
    /// Start it, if it does not run, and print its address
    Start,
    /// Say whether it runs, and where
    Status,
    /// Stop it and everything in it
    Stop,
}

pub(crate) async fn run(command: Engine) -> Result<()> {
    match command {
        Engine::Start => println!("{}", engine::ensure().await?.docker_host()),
        Engine::Status => {
            let status = engine::status().await?;
            println!("{}", described(&status.state));
            println!("address {}", status.address.docker_host());
            println!("folder  {}", status.folder.display());
            println!("log     {}", status.log.display());
        }
        Engine::Stop => {
            engine::stop().await?;
            println!("stopped");
        }
    }
    Ok(())
}

/// The engine in use, without starting one.
pub(crate) async fn running() -> Result<Option<Docker>> {
    let settings = settings();
    let found = settings.engine != EngineChoice::Embedded && discover(&settings.docker)?.is_some();
    if found || matches!(engine::status().await?.state, State::Running(_)) {
        return Docker::find().await.map(Some);
    }
    Ok(None)
}

fn described(state: &State) -> String {
    match state {
        State::Stopped => "stopped".into(),
        State::Running(versions) => format!("running: {versions:?}"),
        State::Broken(why) => format!("broken: {why}; `kubenest engine start` heals it"),
        _ => format!("{state:?}"),
    }
}
