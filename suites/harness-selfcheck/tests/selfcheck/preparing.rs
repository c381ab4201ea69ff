//! What a test does that meets what nobody prepared, with a real build: it gives its slot up.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use kubenest::wait::{self, Probe};
use kubenest_base::{liveness::Process, process::Command};
use kubenest_protocol::{Demand, SlotFolder};

/// How long a small build may take on a busy machine.
const SOON: Duration = Duration::from_secs(300);
const NEED: &str = "pause 3.10";

/// This process plays the runner; the cache is empty.
#[tokio::test]
async fn of_two_that_need_the_same_one_builds_and_both_give_up_their_slots() -> Result<()> {
    let cache = tempfile::tempdir()?;
    let verdicts = [tempfile::tempdir()?, tempfile::tempdir()?];
    let folders = [0, 1].map(|at: usize| SlotFolder::of(verdicts[at].path()));
    for folder in &folders {
        folder.open()?;
    }
    let tests = [0, 1].map(|at: usize| test(cache.path(), verdicts[at].path()));
    let [one, other] = tests;
    let (one, other) = (one?, other?);
    let play = async {
        for folder in &folders {
            let what = until("a slot to be given up", || folder.given_up(1)).await?;
            ensure!(what == NEED, "given up for {what}");
        }
        for folder in &folders {
            until("a slot to be asked for", || {
                folder.is_asked_back(1).then_some(())
            })
            .await?;
        }
        for folder in &folders {
            folder.grant(1)?;
        }
        Ok(())
    };
    let (played, one, other) = tokio::join!(play, one.run(), other.run());
    played?;
    let said = [one?.stderr, other?.stderr];
    let builds = said.iter().filter(|said| said.contains("building with Go"));
    assert_eq!(builds.count(), 1, "{said:?}");
    for verdicts in &verdicts {
        let demands = Demand::of(verdicts.path());
        let told: Vec<_> = demands
            .iter()
            .map(|demand| (demand.need.as_str(), demand.made))
            .collect();
        assert_eq!(told, [(NEED, true)]);
    }
    Ok(())
}

/// What is there costs nothing, and no slot.
#[tokio::test]
async fn one_that_finds_what_it_needs_keeps_its_slot() -> Result<()> {
    let cache = tempfile::tempdir()?;
    let nobody = tempfile::tempdir()?;
    // Without a runner that heeds it, it is made as ever.
    test(cache.path(), nobody.path())?.run().await?;
    let verdicts = tempfile::tempdir()?;
    let folder = SlotFolder::of(verdicts.path());
    folder.open()?;
    test(cache.path(), verdicts.path())?.run().await?;
    assert_eq!(folder.given_up(1), None);
    let demands = Demand::of(verdicts.path());
    assert!(
        matches!(&demands[..], [Demand { need, made: false }] if need == NEED),
        "{demands:?}"
    );
    Ok(())
}

/// A process that needs it, in a cache of its own, started by this one.
fn test(cache: &Path, verdicts: &Path) -> Result<Command> {
    let own = std::process::id();
    let Process::Since(ticks) = Process::of(own) else {
        anyhow::bail!("this process must be seen");
    };
    Ok(Command::new(env!("CARGO_BIN_EXE_unprepared"))
        .env("KUBENEST_CACHE", cache)
        .env("KUBENEST_VERDICTS", verdicts)
        .env("KUBENEST_PARENT", format!("{own}-{ticks}"))
        .within(SOON))
}

async fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> Result<T> {
    let seen = || "nothing".to_owned();
    let found = wait::until(what, SOON, async || Probe::from_option(look(), seen));
    found.await.context("play the runner")
}
