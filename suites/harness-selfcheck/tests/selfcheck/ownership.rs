//! Sweeps never remove the things of a living process and always those of a dead one: by other
//! users, other hosts and hosts with a wrong clock, and on engines that were restarted or report
//! errors.
//!
//! Each test has an engine of its own, so no other cluster is at risk.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use anyhow::{Context, Result};
use harness_selfcheck::{
    docker,
    doomed::{DoomedProcess, ELSEWHERE, Plan, STRANGER},
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

/// A guard needs seconds, and more on a busy machine.
const SOON: Duration = Duration::from_secs(90);

/// No command prefix: the process runs on this machine.
const HERE: [&str; 0] = [];

/// Processes that sweep as other users, on other hosts and with wrong clocks.
struct Sweepers {
    /// The folder of the program, which any user can run.
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
        // Other users may use the socket, like members of the docker group.
        let socket = engine.socket().context("the engine has no socket")?;
        mode(socket, 0o666)?;
        mode(socket.parent().context("a socket has a folder")?, 0o755)?;
        let clock = Faketime::new(folder.path()).await?;
        Ok(Self { folder, clock })
    }

    /// Command prefix for this place, with a clock off by this many hours.
    fn before(&self, place: &[&str], hours: i32) -> Result<Vec<String>> {
        let mut words: Vec<String> = place.iter().map(|word| (*word).to_owned()).collect();
        words.extend(self.clock.prefix(hours)?);
        Ok(words)
    }

    /// Checks that none of them removes anything.
    async fn check_all_spare_everything(&self, engine: &Docker) -> Result<()> {
        let program = self.folder.path().join("sweeping");
        let socket = engine.socket().context("the engine has no socket")?;
        let before = everything_in(engine).await?;
        for place in [&HERE[..], &STRANGER, &ELSEWHERE] {
            for hours in [0, -3, 3] {
                let words = self.before(place, hours)?;
                // A prefix, if there is one, begins with a program of its own.
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
async fn living_owners_are_spared_by_all_sweepers_and_dead_ones_are_not() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "ownership").await?;
        let os = os_image(&engine).await?;
        let sweepers = Sweepers::new(&engine).await?;
        let plan = |cluster| Plan {
            cluster,
            ..Plan::here(DOOMED, image.reference(), None)
        };
        let here = DoomedProcess::start(&engine, &plan("here")).await?;
        // Its lifetime is over at once, but its guard runs.
        let watched = Plan {
            before: sweepers.before(&ELSEWHERE, 0)?,
            seconds: 0,
            guard: Some(&os),
            ..plan("watched")
        };
        let watched = DoomedProcess::start(&engine, &watched).await?;
        let mut far = Vec::new();
        for (cluster, hours) in [("behind", -3), ("ahead", 3)] {
            let off = Plan {
                before: sweepers.before(&ELSEWHERE, hours)?,
                ..plan(cluster)
            };
            far.push(DoomedProcess::start(&engine, &off).await?);
        }
        let over = Plan {
            before: sweepers.before(&ELSEWHERE, -3)?,
            seconds: 0,
            ..plan("over")
        };
        DoomedProcess::start(&engine, &over).await?.kill().await?;
        sweep_overdue(&engine, "over-").await?;
        sweepers.check_all_spare_everything(&engine).await?;

        here.kill().await?;
        let swept = sweep(&engine, Scope::DeadOwners).await?;
        assert_eq!(swept.containers, ["here-box"]);
        watched.kill().await?;
        wait_until_gone(&engine, "watched-").await?;
        sweepers.check_all_spare_everything(&engine).await?;
        let left = everything_in(&engine).await?;
        // Each container has an anonymous volume.
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
        let swept = DoomedProcess::start(&engine, &plan("swept", None)).await?;
        let watched = DoomedProcess::start(&engine, &plan("watched", Some(&os))).await?;
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
        sweepers.check_all_spare_everything(&engine).await?;

        drop(holder);
        wait_until_gone(&engine, "watched-").await?;
        let swept = sweep(&engine, Scope::DeadOwners).await?;
        assert_eq!(swept.containers, ["swept-box"]);
        assert_eq!(everything_in(&engine).await?, [""; 0]);
        assert!(lease.hold().is_err(), "nobody can hold what is gone");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn living_owners_are_spared_after_a_restart_of_the_engine() -> Result<()> {
    with_own_engine(|handle, engine| async move {
        let image = SmallImage::load(&engine, "restart").await?;
        let os = os_image(&engine).await?;
        let plan = |cluster, place: &[&str]| Plan {
            before: place.iter().map(|word| (*word).to_owned()).collect(),
            cluster,
            ..Plan::here(DOOMED, image.reference(), Some(&os))
        };
        let alive = DoomedProcess::start(&engine, &plan("alive", &HERE)).await?;
        let _far = DoomedProcess::start(&engine, &plan("far", &ELSEWHERE)).await?;
        let dead = DoomedProcess::start(&engine, &plan("dead", &HERE)).await?;
        handle.stop().await?;
        dead.kill().await?;
        let socket = handle.ensure().await?.socket;
        let engine = Docker::at(
            &Endpoint::unix(socket, Origin::Embedded),
            kubenest::settings(),
        )
        .await?;

        let before = everything_in(&engine).await?;
        assert!(before.contains(&"dead-box".to_owned()), "{before:?}");
        sweep(&engine, Scope::DeadOwners).await?;
        let left = everything_in(&engine).await?;
        let mut spared = before.clone();
        spared.retain(|name| !name.starts_with("dead-"));
        // The container's volume was anonymous.
        let volume = spared.iter().position(|name| name == "anonymous");
        spared.remove(volume.context("no box has its volume")?);
        assert_eq!(left, spared);
        Sweepers::new(&engine)
            .await?
            .check_all_spare_everything(&engine)
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
        let _far = DoomedProcess::start(&engine, &of_run("far", &ELSEWHERE)).await?;
        let _here = DoomedProcess::start(&engine, &of_run("here", &HERE)).await?;
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
async fn copies_of_a_nodes_image_or_container_stay() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "copies").await?;
        let os = os_image(&engine).await?;
        let plan = Plan::here(DOOMED, image.reference(), Some(&os));
        let doomed = DoomedProcess::start(&engine, &plan).await?;
        docker(&engine, &["commit", "c-box", "debug:1"]).await?;
        docker(&engine, &["tag", image.reference(), "users:1"]).await?;
        docker(&engine, &["run", "--detach", "--name", "debug", "debug:1"]).await?;
        doomed.kill().await?;
        // The guard could be the first to take these copies for its own.
        wait_until_gone(&engine, "c-").await?;
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
async fn a_guard_does_not_take_errors_of_the_engine_for_an_empty_list() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "errors").await?;
        let os = os_image(&engine).await?;
        let folder = tempfile::tempdir()?;
        let proxy = Proxy::before(&engine, &folder.path().join("engine.sock")).await?;
        let boot = BootId::random();
        let names = ["c-box".to_owned()];
        let ward = Ward::new("c", &boot).containers(&names);
        let guard = Guard::start(&proxy.engine, &os, &ward).await?;
        let labels = Labels::new("selfcheck", &kubenest::settings().run)
            .cluster("c")
            .boot(&boot);
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
        // Each look of a guard makes half a dozen requests; it ends after two looks that find
        // nothing.
        wait::until(
            "the guard to look again and again",
            SOON,
            async || match proxy.refused_requests() {
                enough if enough > 40 => Probe::Ready(()),
                few => Probe::Pending(format!("{few} questions")),
            },
        )
        .await?;
        assert!(engine.container("c-box").await?.is_some());
        proxy.set_broken(false);
        wait_until_gone(&engine, "c-").await
    })
    .await
}

/// Sweeps until nothing with this name prefix is left, and checks that nothing else is removed.
///
/// Several sweeps may be needed: each thing expires on its own, by the engine's clock in seconds.
async fn sweep_overdue(engine: &Docker, names: &str) -> Result<()> {
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

/// Waits until nothing in the engine has a name with this prefix.
async fn wait_until_gone(engine: &Docker, names: &str) -> Result<()> {
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
