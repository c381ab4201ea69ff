//! Nothing that lives is removed and nothing dead stays, whoever sweeps: other users, other hosts,
//! machines with another time; with an engine that was restarted, or that reports errors.
//!
//! Each test has an engine of its own: no other cluster is at risk.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, Result};
use harness_selfcheck::{
    docker,
    doomed::{Doomed, ELSEWHERE, Plan, STRANGER},
    everything_in,
    faketime::Faketime,
    on_own_engine, os_image,
    proxy::Proxy,
    with_own_engine,
};
use kubenest::{
    engine::Docker,
    images::SmallImage,
    wait::{self, Probe},
};
use kubenest_base::process::Command;
use kubenest_docker::{
    ContainerSpec, Guard, Labels, Lease, LeaseId, Scope, Ward,
    discover::{Endpoint, Origin},
    labels::BootId,
    sweep,
};
use tempfile::TempDir;

const DOOMED: &str = env!("CARGO_BIN_EXE_doomed");

/// A guard needs seconds; a machine that is busy with other things, more.
const SOON: Duration = Duration::from_secs(90);

/// No place of its own.
const HERE: [&str; 0] = [];

/// A process that sweeps, in all the places and at all the times there are.
struct Sweepers {
    /// Where any user can run it.
    folder: TempDir,
    clock: Faketime,
}

impl Sweepers {
    async fn new(engine: &Docker) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode));
        mode(folder.path(), 0o755)?;
        let program = folder.path().join("sweeping");
        fs::copy(env!("CARGO_BIN_EXE_sweeping"), program)?;
        // As for users in the group that the engine is for.
        let socket = engine.socket().context("the engine has no socket")?;
        mode(socket, 0o666)?;
        mode(socket.parent().context("a socket has a folder")?, 0o755)?;
        let clock = Faketime::new(folder.path()).await?;
        Ok(Self { folder, clock })
    }

    /// What comes before a program in this place, by a clock that is off by so many hours.
    fn before(&self, place: &[&str], hours: i32) -> Result<Vec<String>> {
        let mut words: Vec<String> = place.iter().map(|word| (*word).to_owned()).collect();
        words.extend(self.clock.words(hours)?);
        Ok(words)
    }

    /// None of them removes anything.
    async fn all_spare_everything(&self, engine: &Docker) -> Result<()> {
        let program = self.folder.path().join("sweeping");
        let socket = engine.socket().context("the engine has no socket")?;
        let before = everything_in(engine).await?;
        for place in [&HERE[..], &STRANGER, &ELSEWHERE] {
            for hours in [0, -3, 3] {
                let words = self.before(place, hours)?;
                // It begins with a program of its own where it has a place or a time.
                let sweep = match words.split_first() {
                    Some((first, rest)) => Command::new(first).args(rest).arg(&program),
                    None => Command::new(&program),
                };
                let sweep = sweep.env("HOME", self.folder.path()).arg(socket);
                let swept = sweep.run().await?.stdout;
                assert_eq!(swept, "0 images\n", "{place:?}, {hours} hours off");
            }
        }
        assert_eq!(everything_in(engine).await?, before);
        Ok(())
    }
}

#[tokio::test]
async fn what_lives_is_spared_by_all_and_what_is_dead_goes() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "ownership").await?;
        let os = os_image(&engine).await?;
        let sweepers = Sweepers::new(&engine).await?;
        let plan = |cluster| Plan {
            cluster,
            ..Plan::here(DOOMED, image.reference(), None)
        };
        let here = Doomed::start(&engine, &plan("here")).await?;
        // Its time is over at once, but its guard runs.
        let watched = Plan {
            before: sweepers.before(&ELSEWHERE, 0)?,
            seconds: 0,
            guard: Some(&os),
            ..plan("watched")
        };
        let watched = Doomed::start(&engine, &watched).await?;
        let mut far = Vec::new();
        for (cluster, hours) in [("behind", -3), ("ahead", 3)] {
            let off = Plan {
                before: sweepers.before(&ELSEWHERE, hours)?,
                ..plan(cluster)
            };
            far.push(Doomed::start(&engine, &off).await?);
        }
        let over = Plan {
            before: sweepers.before(&ELSEWHERE, -3)?,
            seconds: 0,
            ..plan("over")
        };
        Doomed::start(&engine, &over).await?.kill().await?;
        overdue_goes(&engine, "over-").await?;
        sweepers.all_spare_everything(&engine).await?;

        here.kill().await?;
        let swept = sweep(&engine, Scope::DeadOwners).await?;
        assert_eq!(swept.containers, ["here-box"]);
        watched.kill().await?;
        gone(&engine, "watched-").await?;
        sweepers.all_spare_everything(&engine).await?;
        let left = everything_in(&engine).await?;
        // Each container has a volume without a name.
        let of = |cluster: &str| ["box", "net", "vol"].map(|thing| format!("{cluster}-{thing}"));
        let volumes = ["anonymous"; 2].map(str::to_owned);
        assert_eq!(left, [&of("ahead")[..], &volumes, &of("behind")].concat());
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_a_lease_owns_outlives_its_maker_and_goes_with_the_last_holder() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "lease").await?;
        let os = os_image(&engine).await?;
        let sweepers = Sweepers::new(&engine).await?;
        let cache = tempfile::tempdir()?;
        let lease = Lease::of(cache.path(), LeaseId::new("l")?)?;
        let plan = |cluster, guard| Plan {
            cluster,
            cache: cache.path().to_str(),
            ..Plan::here(DOOMED, image.reference(), guard)
        };
        let swept = Doomed::start(&engine, &plan("swept", None)).await?;
        let watched = Doomed::start(&engine, &plan("watched", Some(&os))).await?;
        let holder = lease.hold()?;
        swept.kill().await?;
        watched.kill().await?;
        wait::until(
            "the guard to wait for the holder",
            SOON,
            async || match docker(&engine, &["top", "watched-guard", "-o", "pid,comm"]).await {
                Ok(names) if names.contains("sleep") => Probe::Ready(()),
                Ok(names) => Probe::Pending(names),
                Err(error) => Probe::Pending(format!("{error:#}")),
            },
        )
        .await?;
        sweepers.all_spare_everything(&engine).await?;

        drop(holder);
        gone(&engine, "watched-").await?;
        let swept = sweep(&engine, Scope::DeadOwners).await?;
        assert_eq!(swept.containers, ["swept-box"]);
        assert_eq!(everything_in(&engine).await?, [""; 0]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn what_lives_outlasts_a_restart_of_the_engine() -> Result<()> {
    with_own_engine(|handle, engine| async move {
        let image = SmallImage::load(&engine, "restart").await?;
        let os = os_image(&engine).await?;
        let plan = |cluster, place: &[&str]| Plan {
            before: place.iter().map(|word| (*word).to_owned()).collect(),
            cluster,
            ..Plan::here(DOOMED, image.reference(), Some(&os))
        };
        let alive = Doomed::start(&engine, &plan("alive", &HERE)).await?;
        let _far = Doomed::start(&engine, &plan("far", &ELSEWHERE)).await?;
        let dead = Doomed::start(&engine, &plan("dead", &HERE)).await?;
        handle.stop().await?;
        dead.kill().await?;
        let socket = handle.ensure().await?.socket;
        let engine = Docker::at(&Endpoint::unix(socket, Origin::Embedded)).await?;

        let before = everything_in(&engine).await?;
        assert!(before.contains(&"dead-box".to_owned()), "{before:?}");
        sweep(&engine, Scope::DeadOwners).await?;
        let left = everything_in(&engine).await?;
        let mut spared = before.clone();
        spared.retain(|name| !name.starts_with("dead-"));
        // The volume of its container had no name.
        let volume = spared.iter().position(|name| name == "anonymous");
        spared.remove(volume.context("no box has its volume")?);
        assert_eq!(left, spared);
        Sweepers::new(&engine)
            .await?
            .all_spare_everything(&engine)
            .await?;
        alive.kill().await?;
        assert_eq!(
            sweep(&engine, Scope::DeadOwners).await?.containers,
            ["alive-box"]
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_run_of_the_same_name_in_another_container_is_spared() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "runs").await?;
        let of_run = |cluster, place: &[&str]| Plan {
            before: [place, &["env", "KUBENEST_RUN=same"]]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            cluster,
            ..Plan::here(DOOMED, image.reference(), None)
        };
        let _far = Doomed::start(&engine, &of_run("far", &ELSEWHERE)).await?;
        let _here = Doomed::start(&engine, &of_run("here", &HERE)).await?;
        let swept = sweep(&engine, Scope::Run("same")).await?;
        assert_eq!(swept.containers, ["here-box"]);
        assert_eq!(
            sweep(&engine, Scope::Run("same")).await?.containers,
            [""; 0]
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn copies_that_were_made_of_a_node_stay() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "copies").await?;
        let os = os_image(&engine).await?;
        let plan = Plan::here(DOOMED, image.reference(), Some(&os));
        let doomed = Doomed::start(&engine, &plan).await?;
        docker(&engine, &["commit", "c-box", "debug:1"]).await?;
        docker(&engine, &["tag", image.reference(), "users:1"]).await?;
        docker(&engine, &["run", "--detach", "--name", "debug", "debug:1"]).await?;
        doomed.kill().await?;
        // The guard is the first whose things these could be.
        gone(&engine, "c-").await?;
        for scope in [Scope::DeadOwners, Scope::Cluster("c"), Scope::All] {
            let swept = sweep(&engine, scope).await?;
            assert_eq!(swept.containers, [""; 0], "{scope:?}");
        }
        let running = docker(&engine, &["ps", "--format", "{{.Names}}"]).await?;
        assert_eq!(running, "debug");
        let list = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
        let images = docker(&engine, &list).await?;
        let mut images: Vec<&str> = images.lines().collect();
        images.sort_unstable();
        assert_eq!(images, ["debug:1", "selfcheck/os:1", "users:1"]);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn an_engine_that_reports_errors_has_not_said_that_nothing_is_left() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "errors").await?;
        let os = os_image(&engine).await?;
        let folder = tempfile::tempdir()?;
        let proxy = Proxy::before(&engine, &folder.path().join("engine.sock")).await?;
        let boot = BootId::random();
        let names = ["c-box".to_owned()];
        let ward = Ward::new("c", &boot).containers(&names);
        let guard = Guard::start(&proxy.engine, &os, &ward).await?;
        let labels = Labels::new("selfcheck").cluster("c").boot(&boot);
        let node = ContainerSpec {
            name: "c-box".into(),
            image: image.reference().into(),
            labels: labels.map(),
            cmd: vec!["sleep".into(), "3600".into()],
            ..ContainerSpec::default()
        };
        engine.run(&node).await?;
        proxy.set_broken(true);
        drop(guard);
        // One look asks half a dozen questions; two looks that find nothing end a guard.
        wait::until(
            "the guard to look again and again",
            SOON,
            async || match proxy.refused() {
                enough if enough > 40 => Probe::Ready(()),
                few => Probe::Pending(format!("{few} questions")),
            },
        )
        .await?;
        assert!(engine.container("c-box").await?.is_some());
        proxy.set_broken(false);
        gone(&engine, "c-").await
    })
    .await
}

/// Sweeps until nothing is left whose name begins so; nothing else goes.
///
/// The engine's clock has to pass a second for that, and passes it for each thing by itself.
async fn overdue_goes(engine: &Docker, names: &str) -> Result<()> {
    let goes = wait::until("what is overdue to go", SOON, async || {
        let swept = match sweep(engine, Scope::DeadOwners).await {
            Ok(swept) => [
                swept.containers,
                swept.networks,
                swept.volumes,
                swept.images,
            ]
            .concat(),
            Err(error) => return Probe::Failed(error),
        };
        let ours = swept.iter().all(|name| name.starts_with(names));
        assert!(ours, "more went than what is overdue: {swept:?}");
        match everything_in(engine).await {
            Ok(there) if there.iter().any(|name| name.starts_with(names)) => {
                Probe::Pending(there.join(" "))
            }
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::Pending(format!("{error:#}")),
        }
    });
    Ok(goes.await?)
}

/// Waits until nothing in the engine has a name that begins so.
async fn gone(engine: &Docker, names: &str) -> Result<()> {
    let gone = wait::until("the guard's work", SOON, async || {
        match everything_in(engine).await {
            Ok(there) if there.iter().any(|name| name.starts_with(names)) => {
                Probe::Pending(there.join(" "))
            }
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::Pending(format!("{error:#}")),
        }
    });
    Ok(gone.await?)
}
