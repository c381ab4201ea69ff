//! The embedded engine on the real machine: starting, sharing, killing, healing, stopping.
//!
//! Each test has an engine in a folder of its own, independent of other engines on the machine.
//! Only the packages come from the shared cache.

#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::{
    fs,
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use harness_selfcheck::OwnEngine;
use kubenest::wait::{self, Probe};
use kubenest_base::{
    process::Command,
    settings::{EngineRelease, Settings},
};
use kubenest_forge::engine::{self, Engine, State};

/// Runs `body` with an engine that is not running yet, and always stops the engine afterwards.
async fn with_engine<F>(name: &str, body: impl FnOnce(Engine) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    with_engine_of(EngineRelease::Docker26, kubenest::settings(), name, body).await;
}

/// As [`with_engine`], of this release, with the engine's programs from the cache of these settings.
async fn with_engine_of<F>(
    release: EngineRelease,
    settings: &Arc<Settings>,
    name: &str,
    body: impl FnOnce(Engine) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let own = OwnEngine::claim(release, settings, name).await.unwrap();
    let engine = &own.engine;
    let result = own.run(tokio::spawn(body(engine.clone()))).await.unwrap();
    let stopped = engine.stop().await;
    if let Err(failure) = result {
        std::panic::resume_unwind(failure.into_panic());
    }
    stopped.unwrap();
    let left = traces(engine).await;
    assert!(left.is_empty(), "left after stop: {left:?}");
    own.remove().unwrap();
}

#[tokio::test]
async fn starts_from_an_empty_cache() {
    let cache = tempfile::tempdir().unwrap();
    let mut settings = Settings::clone(kubenest::settings());
    settings.cache = cache.path().to_owned();
    let settings = Arc::new(settings);
    let release = EngineRelease::Docker26;
    with_engine_of(release, &settings, "empty-cache", |engine| async move {
        assert_eq!(engine.status().await.state, State::Stopped);
        let address = engine.ensure().await.unwrap();
        let State::Running(versions) = engine.status().await.state else {
            panic!("{:?}", engine.status().await)
        };
        assert!(versions.docker.starts_with("26.1.5"), "{versions:?}");
        assert!(versions.containerd.starts_with("1.7.24"), "{versions:?}");
        assert!(address.socket.exists());
    })
    .await;
}

#[tokio::test]
async fn concurrent_starters_get_one_engine() {
    with_engine("concurrent", |engine| async move {
        let starts = (0..8).map(|_| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.ensure().await.unwrap() })
        });
        for start in starts.collect::<Vec<_>>() {
            assert_eq!(start.await.unwrap(), engine.address());
        }
        assert_eq!(daemons(&engine).len(), 1, "{:?}", traces(&engine).await);
    })
    .await;
}

#[tokio::test]
async fn a_running_engine_is_kept() {
    with_engine("kept", |engine| async move {
        engine.ensure().await.unwrap();
        let first = daemons(&engine);
        engine.ensure().await.unwrap();
        assert_eq!(daemons(&engine), first);
    })
    .await;
}

#[tokio::test]
async fn heals_after_its_daemon_was_killed() {
    with_engine("daemon-killed", |engine| async move {
        engine.ensure().await.unwrap();
        let (id, init) = start_sleeper(&engine).await;
        kill(&daemons(&engine)).await;
        engine.ensure().await.unwrap();
        assert!(
            !is_alive(&init),
            "a container outlived its engine's healing"
        );
        docker(&engine, &["start", &id]).await;
    })
    .await;
}

#[tokio::test]
async fn heals_after_daemon_and_containerd_were_killed() {
    with_engine("both-killed", |engine| async move {
        engine.ensure().await.unwrap();
        let (id, _) = start_sleeper(&engine).await;
        let pids = [containerds(&engine), daemons(&engine)].concat();
        assert_eq!(pids.len(), 2);
        kill(&pids).await;
        engine.ensure().await.unwrap();
        docker(&engine, &["start", &id]).await;
    })
    .await;
}

#[tokio::test]
async fn a_container_survives_the_death_of_containerd() {
    with_engine("containerd-killed", |engine| async move {
        engine.ensure().await.unwrap();
        let (_, init) = start_sleeper(&engine).await;
        kill(&containerds(&engine)).await;
        engine.ensure().await.unwrap();
        assert!(matches!(engine.status().await.state, State::Running(_)));
        assert!(is_alive(&init), "the container was lost");
    })
    .await;
}

#[tokio::test]
async fn stop_removes_a_killed_engine() {
    with_engine("stop", check_stop_removes_everything).await;
}

#[tokio::test]
async fn stop_removes_a_killed_docker_29() {
    let (release, settings) = (EngineRelease::Docker29, kubenest::settings());
    with_engine_of(release, settings, "stop-29", check_stop_removes_everything).await;
}

/// Checks that stopping a busy engine removes everything, even after its daemons were killed.
async fn check_stop_removes_everything(engine: Engine) {
    engine.ensure().await.unwrap();
    let network = docker(&engine, &["network", "create", "own"]).await;
    let bridge = Path::new("/sys/class/net").join(format!("br-{}", &network[..12]));
    assert!(bridge.exists());
    let (id, init) = start_sleeper(&engine).await;
    let socket = shim_socket(&engine, &id);
    assert!(socket.exists());
    assert!(
        traces(&engine).await.len() > 5,
        "{:?}",
        traces(&engine).await
    );
    // In this order, because a daemon that sees its shim die ends the container.
    kill(&[daemons(&engine), containerds(&engine), shims(&engine)].concat()).await;
    assert!(
        is_alive(&init),
        "it takes more than the shim's death to end a container"
    );
    engine.stop().await.unwrap();
    assert!(!is_alive(&init) && !bridge.exists() && !socket.exists());
    assert_eq!(engine.status().await.state, State::Stopped);
    engine.stop().await.unwrap();
}

#[tokio::test]
async fn leaves_another_engine_alone() {
    with_engine("other", |other| async move {
        other.ensure().await.unwrap();
        let (_, init) = start_sleeper(&other).await;
        let before = traces(&other).await;
        with_engine("beside-other", |engine| async move {
            engine.ensure().await.unwrap();
            start_sleeper(&engine).await;
            kill(&daemons(&engine)).await;
            engine.ensure().await.unwrap();
            start_sleeper(&engine).await;
        })
        .await;
        assert_eq!(traces(&other).await, before);
        assert!(is_alive(&init));
    })
    .await;
}

#[tokio::test]
async fn says_why_it_does_not_start() {
    with_engine("no-start", |engine| async move {
        let data = engine.status().await.folder.join("data");
        fs::write(&data, "no folder").unwrap();
        let error = engine.ensure().await.unwrap_err().report();
        assert!(error.contains("dockerd.log"), "{error}");
        assert!(error.contains("points to a file"), "{error}");
        let left = traces(&engine).await;
        assert!(left.is_empty(), "left after a failed start: {left:?}");
    })
    .await;
}

/// As after `rm -r` of the cache while the engine runs, which cannot remove mount points.
#[tokio::test]
async fn starts_anew_when_its_folder_was_emptied() {
    with_engine("emptied", |engine| async move {
        engine.ensure().await.unwrap();
        let first = daemons(&engine);
        let folder = engine.status().await.folder;
        fs::remove_dir_all(folder.join("data")).unwrap_err();
        for entry in fs::read_dir(folder).unwrap().flatten() {
            fs::remove_file(entry.path()).ok();
        }
        assert!(matches!(engine.status().await.state, State::Broken(_)));
        engine.ensure().await.unwrap();
        assert_ne!(daemons(&engine), first);
        start_sleeper(&engine).await;
    })
    .await;
}

/// Disks that the user has mounted for the engine and its volumes stay mounted.
#[tokio::test]
async fn leaves_the_users_mounts_alone() {
    with_engine("users-mounts", |engine| async move {
        let folder = engine.status().await.folder;
        let volumes = folder.join("data/volumes");
        mount(&["--types=tmpfs", "of-the-user"], &folder).await;
        fs::create_dir_all(&volumes).unwrap();
        mount(&["--types=tmpfs", "of-the-user"], &volumes).await;
        for _ in 0..2 {
            engine.ensure().await.unwrap();
            start_sleeper(&engine).await;
            kill(&daemons(&engine)).await;
            engine.stop().await.unwrap();
        }
        let left = mount_points(&folder);
        for point in [&volumes, &folder] {
            Command::new("umount").arg(point).run().await.unwrap();
        }
        assert_eq!(left, [folder, volumes]);
    })
    .await;
}

async fn mount(what: &[&str], point: &Path) {
    let mount = Command::new("mount").args(what).arg(point);
    mount.run().await.unwrap();
}

/// The mount points at and below a folder, in the order of mounting.
fn mount_points(folder: &Path) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points
        .map(PathBuf::from)
        .filter(|point| point.starts_with(folder))
        .collect()
}

/// The bridge docker0 may belong to another engine.
#[tokio::test]
async fn leaves_docker0_alone() {
    with_engine("docker0", |engine| async move {
        let bridge = Path::new("/sys/class/net/docker0");
        let made = !bridge.exists();
        if made {
            ip(&["link", "add", "name", "docker0", "type", "bridge"]).await;
        }
        for _ in 0..2 {
            engine.ensure().await.unwrap();
            engine.stop().await.unwrap();
        }
        let there = bridge.exists();
        if made && there {
            ip(&["link", "delete", "dev", "docker0"]).await;
        }
        assert!(there);
    })
    .await;
}

/// Starts a container that runs until it is killed; returns its id and the /proc folder of its
/// first process.
async fn start_sleeper(engine: &Engine) -> (String, PathBuf) {
    let image = Command::new(engine::cli(kubenest::settings()).await.unwrap())
        .env("DOCKER_HOST", engine.address().docker_host())
        .args(["import", "-"])
        .stdin_bytes([0; 1024])
        .run()
        .await
        .unwrap();
    // The image is empty, so it uses the machine's own programs.
    let mut run = vec!["run", "--detach"];
    for folder in [
        "/usr:/usr:ro",
        "/bin:/bin:ro",
        "/lib:/lib:ro",
        "/lib64:/lib64:ro",
    ] {
        run.extend(["--volume", folder]);
    }
    run.extend([image.stdout.trim(), "/bin/sleep", "infinity"]);
    let id = docker(engine, &run).await;
    let pid = docker(engine, &["inspect", "--format", "{{.State.Pid}}", &id]).await;
    (id, Path::new("/proc").join(pid))
}

async fn docker(engine: &Engine, args: &[&str]) -> String {
    let docker = Command::new(engine::cli(kubenest::settings()).await.unwrap())
        .env("DOCKER_HOST", engine.address().docker_host())
        .args(args);
    docker.run().await.unwrap().stdout.trim().to_owned()
}

async fn ip(args: &[&str]) {
    Command::new("ip").args(args).run().await.unwrap();
}

async fn kill(pids: &[String]) {
    assert!(!pids.is_empty(), "nothing to kill");
    Command::new("kill")
        .arg("-9")
        .args(pids)
        .run()
        .await
        .unwrap();
    wait::until(
        "the killed processes to end",
        Duration::from_secs(60),
        async || {
            let left = pids
                .iter()
                .find(|pid| is_alive(&Path::new("/proc").join(pid)));
            left.map_or(Probe::Ready(()), |pid| {
                Probe::Pending(format!("{pid} is there"))
            })
        },
    )
    .await
    .unwrap();
}

fn is_alive(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

fn run_folder(engine: &Engine) -> String {
    engine
        .address()
        .socket
        .parent()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned()
}

/// The eight hex digits that are part of all names of an engine.
fn id(engine: &Engine) -> String {
    run_folder(engine).rsplit_once('-').unwrap().1.to_owned()
}

fn daemons(engine: &Engine) -> Vec<String> {
    processes_with_command(&["/dockerd", "--config-file", &run_folder(engine)])
}

fn containerds(engine: &Engine) -> Vec<String> {
    processes_with_command(&["containerd", "--config", &run_folder(engine)])
        .into_iter()
        .filter(|pid| !daemons(engine).contains(pid))
        .collect()
}

fn shims(engine: &Engine) -> Vec<String> {
    processes_with_command(&["containerd-shim", "-address", &run_folder(engine)])
}

/// The socket of a container's shim, in a folder that all engines share.
fn shim_socket(engine: &Engine, id: &str) -> PathBuf {
    let tasks = "exec/containerd/daemon/io.containerd.runtime.v2.task/kubenest-";
    let tasks = format!("{}/{tasks}{}", run_folder(engine), self::id(engine));
    let task = Path::new(&tasks).join(id);
    // containerd 2.x writes JSON.
    let text = fs::read_to_string(task.join("address"));
    let text = text.or_else(|_| fs::read_to_string(task.join("bootstrap.json")));
    let text = text.unwrap();
    let (_, path) = text.split_once("unix://").unwrap();
    PathBuf::from(path.split('"').next().unwrap())
}

/// The processes whose command line has all these words in this order, but not those that were just
/// forked and still have the command line of their parent.
fn processes_with_command(words: &[&str]) -> Vec<String> {
    let has_all = |mut line: &str| {
        words.iter().all(|word| {
            line.find(word)
                .map(|at| line = &line[at + word.len()..])
                .is_some()
        })
    };
    pids(|folder| {
        let line = fs::read(folder.join("cmdline")).unwrap_or_default();
        let forked = || fs::read(parent(folder).join("cmdline")).is_ok_and(|own| own == line);
        has_all(&String::from_utf8_lossy(&line)) && !forked()
    })
}

fn parent(process: &Path) -> PathBuf {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let pid = fields.and_then(|fields| fields.split(' ').nth(1));
    Path::new("/proc").join(pid.unwrap_or("0"))
}

fn pids(wanted: impl Fn(&Path) -> bool) -> Vec<String> {
    let folders = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path());
    folders
        .filter(|folder| is_alive(folder) && wanted(folder))
        .filter_map(|folder| folder.file_name()?.to_str().map(str::to_owned))
        .filter(|name| name.parse::<u32>().is_ok())
        .collect()
}

/// Everything on the machine that has one of an engine's names.
async fn traces(engine: &Engine) -> Vec<String> {
    let (run, id, home) = (run_folder(engine), id(engine), engine.status().await.folder);
    let mut found = processes_with_command(&[&run]);
    found.extend(pids(|folder| {
        fs::read_to_string(folder.join("cgroup")).is_ok_and(|groups| groups.contains(&id))
    }));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    let own = points.filter(|p| p.starts_with(&run) || Path::new(p).starts_with(&home));
    found.extend(own.map(str::to_owned));
    for folder in [
        "/run",
        "/sys/class/net",
        "/sys/fs/cgroup",
        "/sys/fs/cgroup/memory",
    ] {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path().display().to_string());
        found.extend(paths.filter(|path| path.contains(&id)));
    }
    found.extend(rules(&id).await);
    found
}

/// The machine's iptables rules that contain a word, in both of the kernel's backends.
async fn rules(word: &str) -> Vec<String> {
    let cli = engine::cli(kubenest::settings()).await.unwrap();
    let usr = cli.ancestors().nth(2).unwrap();
    let libraries = fs::read_dir(usr.join("lib"))
        .unwrap()
        .flatten()
        .map(|e| e.path());
    let libraries = libraries
        .filter(|path| path.join("xtables").is_dir())
        .last()
        .unwrap();
    let mut found = Vec::new();
    for variant in ["nft", "legacy"] {
        let save = Command::new(usr.join(format!("sbin/iptables-{variant}-save")))
            .env("LD_LIBRARY_PATH", &libraries)
            .env("XTABLES_LIBDIR", libraries.join("xtables"));
        let Ok(saved) = save.run().await else {
            continue;
        };
        let named = saved.stdout.lines().filter(|line| line.contains(word));
        // Without the packet counters in square brackets, which change on a busy machine.
        found.extend(named.map(|line| line.split('[').next().unwrap().to_owned()));
    }
    found
}
