//! Labels, sweeps and guards: everything of kubenest is removed, nothing of the user is touched.
//!
//! Each test has an engine of its own, because another process' sweep would interfere.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::time::{Duration, Instant};

use anyhow::Result;
use harness_selfcheck::{
    docker,
    doomed::{DoomedProcess, Plan},
    everything_in, on_own_engine, os_image,
};
use kubenest::{
    engine::Docker,
    images::SmallImage,
    wait::{self, Probe},
};
use kubenest_docker::{
    ContainerSpec, Guard, Labels, Scope, Ward,
    labels::{self, BootId},
    sweep,
};

async fn start_doomed(engine: &Docker, image: &str, guard: Option<&str>) -> Result<DoomedProcess> {
    let plan = Plan::here(env!("CARGO_BIN_EXE_doomed"), image, guard);
    DoomedProcess::start(engine, &plan).await
}

/// Creates a user's own container, network and volume. None has kubenest's labels, although the
/// container's image does.
async fn create_users_things(engine: &Docker, image: &str) {
    let run = [
        "run", "-d", "--name", "users", "-v", "/data", image, "sleep", "3600",
    ];
    docker(engine, &run).await.unwrap();
    docker(engine, &["network", "create", "users-net"])
        .await
        .unwrap();
    docker(
        engine,
        &["volume", "create", "--label", "dev.kubenest=1", "users-vol"],
    )
    .await
    .unwrap();
}

/// A guard needs seconds, and more on a busy machine.
const SOON: Duration = Duration::from_secs(90);

const USERS: [&str; 4] = ["anonymous", "users", "users-net", "users-vol"];

const ALL: [&str; 8] = [
    "anonymous",
    "anonymous",
    "c-box",
    "c-net",
    "c-vol",
    "users",
    "users-net",
    "users-vol",
];

#[tokio::test]
async fn a_sweep_removes_what_a_killed_process_left_and_nothing_else() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "sweep").await?;
        create_users_things(&engine, image.reference()).await;
        let doomed = start_doomed(&engine, image.reference(), None).await?;
        assert_eq!(everything_in(&engine).await?, ALL);

        let removed = sweep(&engine, Scope::DeadOwners).await?;
        assert!(removed.is_empty(), "its owner lives: {removed:?}");
        doomed.kill().await?;
        let removed = sweep(&engine, Scope::DeadOwners).await?;
        assert_eq!(removed.containers, ["c-box"]);
        assert_eq!(removed.networks, ["c-net"]);
        assert_eq!(removed.volumes, ["c-vol"]);
        assert_eq!(everything_in(&engine).await?, USERS);

        let removed = sweep(&engine, Scope::All).await?;
        assert!(removed.is_empty(), "the rest is the user's: {removed:?}");
        assert_eq!(everything_in(&engine).await?, USERS);
        Ok(())
    })
    .await
}

#[tokio::test]
async fn kept_things_are_only_removed_by_cluster_name() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "keep").await?;
        let mut kept = Labels::new("selfcheck", &kubenest::settings().run)
            .cluster("c")
            .keep(true)
            .map();
        // As if created by an ended process of this machine since its last boot.
        let place = kept[labels::OWNER].rsplit_once('/').unwrap().0.to_owned();
        kept.insert(labels::OWNER.into(), format!("{place}/4194305-1"));
        kept.insert(labels::EXPIRES.into(), "1".into());
        engine
            .run(&ContainerSpec {
                name: "c-box".into(),
                image: image.reference().into(),
                labels: kept.clone(),
                cmd: vec!["sleep".into(), "3600".into()],
                ..ContainerSpec::default()
            })
            .await?;
        assert!(sweep(&engine, Scope::DeadOwners).await?.is_empty());
        assert!(
            sweep(&engine, Scope::Run(&kept[labels::RUN]))
                .await?
                .is_empty()
        );
        kept.insert(labels::NAME.into(), "c-box".into());
        assert_eq!(engine.container("c-box").await?.unwrap().labels, kept);
        assert_eq!(
            sweep(&engine, Scope::Cluster("c")).await?.containers,
            ["c-box"]
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_guard_removes_everything_soon_after_a_kill() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "guard").await?;
        let os = os_image(&engine).await?;
        create_users_things(&engine, image.reference()).await;
        let doomed = start_doomed(&engine, image.reference(), Some(&os)).await?;
        let with_guard = everything_in(&engine).await?;
        assert!(with_guard.contains(&"c-guard".to_owned()), "{with_guard:?}");
        assert_eq!(with_guard.len(), ALL.len() + 1, "{with_guard:?}");

        let guard = docker(&engine, &["inspect", "--format", "{{.Id}}", "c-guard"]).await?;
        let since = docker(&engine, &["info", "--format", "{{.SystemTime}}"]).await?;
        let killed = Instant::now();
        doomed.kill().await?;
        // Another boot at this moment would sweep, which must not end the guard. Sweep and guard
        // both remove things, so the sweep may get errors about things that are already gone.
        let swept = sweep(&engine, Scope::DeadOwners).await;
        println!("{swept:?}");
        wait_for_only_users_things(&engine, SOON).await?;
        println!(
            "all gone {:.1} s after kill -9",
            killed.elapsed().as_secs_f64()
        );
        let until = docker(&engine, &["info", "--format", "{{.SystemTime}}"]).await?;
        let container = format!("container={guard}");
        let end = [
            "events",
            "--since",
            &since,
            "--until",
            &until,
            "--filter",
            "event=die",
            "--filter",
            &container,
            "--format",
            "{{.Actor.Attributes.exitCode}}",
        ];
        assert_eq!(docker(&engine, &end).await?, "0", "the guard was ended");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_released_guard_removes_nothing_and_a_dropped_one_removes_its_cluster() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "release").await?;
        let os = os_image(&engine).await?;
        create_users_things(&engine, image.reference()).await;
        let (boot, other) = (BootId::random(), BootId::random());
        let guard = Guard::start(&engine, &os, &Ward::new("c", &boot)).await?;
        let boxes = [
            ("c-box", "c", &boot),
            ("d-box", "d", &boot),
            ("twin-box", "c", &other),
        ];
        for (name, cluster, boot) in boxes {
            let labels = Labels::new("selfcheck", &kubenest::settings().run)
                .cluster(cluster)
                .boot(boot)
                .map();
            engine
                .run(&ContainerSpec {
                    name: name.into(),
                    image: image.reference().into(),
                    labels,
                    cmd: vec!["sleep".into(), "3600".into()],
                    ..ContainerSpec::default()
                })
                .await?;
        }
        guard.release().await?;
        assert!(engine.container("c-guard").await?.is_none());

        let guard = Guard::start(&engine, &os, &Ward::new("c", &boot)).await?;
        assert!(
            engine.container("c-box").await?.is_some(),
            "release must remove nothing"
        );
        drop(guard);
        let gone = async || match everything_in(&engine).await {
            Ok(found) if found.iter().any(|name| name.starts_with("c-")) => {
                Probe::Pending(found.join(" "))
            }
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::Pending(format!("{error:#}")),
        };
        wait::until("the cluster's end", SOON, gone).await?;
        assert!(
            engine.container("d-box").await?.is_some(),
            "another cluster was touched"
        );
        assert!(
            engine.container("twin-box").await?.is_some(),
            "another cluster of that name was touched"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_guard_that_cannot_work_is_an_error_and_leaves_nothing() -> Result<()> {
    on_own_engine(|engine| async move {
        let image = SmallImage::load(&engine, "no guard").await?;
        // The image has no bash.
        let boot = BootId::random();
        let error = Guard::start(&engine, image.reference(), &Ward::new("c", &boot))
            .await
            .err()
            .unwrap();
        assert!(
            error.to_string().contains("guard of cluster 'c'"),
            "{error:?}"
        );
        assert_eq!(everything_in(&engine).await?, Vec::<String>::new());
        Ok(())
    })
    .await
}

async fn wait_for_only_users_things(engine: &Docker, deadline: Duration) -> kubenest::Result<()> {
    wait::until(
        "only the user's things",
        deadline,
        async || match everything_in(engine).await {
            Ok(found) if found == USERS => Probe::Ready(()),
            Ok(found) => Probe::Pending(found.join(" ")),
            Err(error) => Probe::Pending(format!("{error:#}")),
        },
    )
    .await
}
