//! When an engine stops answering, every public call still ends within its bound.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use futures::{StreamExt, future::BoxFuture};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::Instant,
};

use super::{
    client::{Client, NEVER},
    discover::{Endpoint, Origin},
    labels::BootId,
    *,
};
use kubenest_base::settings::RunId;
use kubenest_base::wait::with_factor;
use kubenest_base::{Context, ErrorKind, Result};

/// Longer than any call may take: half an hour for an image load, plus its start.
const LONGEST: Duration = Duration::from_secs(40 * 60);

/// What the engine answers to a request before it falls silent.
type Answer = fn(&str) -> Vec<u8>;

fn nothing(_: &str) -> Vec<u8> {
    Vec::new()
}

/// The begin of an answer.
fn a_head(_: &str) -> Vec<u8> {
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".into()
}

/// The output of a command that never ends.
const SAID: &str = "[certs] Using certificateDir folder\n\
     [control-plane-check] Checking kube-apiserver at https://172.18.0.2:6443/livez\n";

/// The answers that start a command, followed by the command's output.
fn a_command(asked: &str) -> Vec<u8> {
    if !asked
        .lines()
        .next()
        .is_some_and(|line| line.contains("/start"))
    {
        let head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n";
        return format!("{head}Content-Length: 10\r\n\r\n{{\"Id\":\"1\"}}").into();
    }
    let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    let frame = [1, 0, 0, 0, 0, 0, 0, u8::try_from(SAID.len()).unwrap()];
    [head.as_bytes(), &frame, SAID.as_bytes()].concat()
}

/// An engine that reads one request on each connection, sends this answer, and falls silent.
fn falls_silent(place: &TempDir, after: Answer) -> Docker {
    let socket = place.path().join("engine.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(say_once(stream, after));
        }
    });
    docker(&socket)
}

async fn say_once(mut stream: UnixStream, answer: Answer) {
    let mut asked = [0; 4096];
    let length = stream.read(&mut asked).await.unwrap();
    let answer = answer(&String::from_utf8_lossy(&asked[..length]));
    stream.write_all(&answer).await.unwrap();
    while stream.read(&mut asked).await.is_ok_and(|length| length > 0) {}
}

fn docker(socket: &Path) -> Docker {
    let address = format!("unix://{}", socket.display());
    let version = bollard::API_DEFAULT_VERSION;
    let raw = bollard::Docker::connect_with_unix(&address, NEVER, version).unwrap();
    Docker {
        raw: Client::new(raw),
        endpoint: Endpoint::unix(socket, Origin::Variable),
        settings: Settings::from_env().into(),
    }
}

type Call<'a> = (&'static str, BoxFuture<'a, Result<()>>);

macro_rules! calls {
    ($($name:literal: $call:expr,)*) => {
        vec![$(($name, Box::pin(async move { $call.await.map(drop) }) as BoxFuture<'_, Result<()>>)),*]
    };
}

/// Every public call that asks the engine.
fn calls<'a>(docker: &'a Docker, place: &'a Path) -> Vec<Call<'a>> {
    let spec = || ContainerSpec::default();
    let bytes = || futures::stream::iter([Ok(bytes::Bytes::from_static(b"tar"))]);
    let soon = Duration::from_secs(20);
    let file = place.join("archive.tar");
    fs::write(&file, "tar").unwrap();
    let (archive, copy) = (file.clone(), place.join("copy.tar"));
    calls! {
        "at": Docker::at(docker.endpoint(), docker.settings()),
        "info": docker.info(),
        "image": docker.image("a"),
        "load_archive": docker.load_archive(&archive),
        "load_stream": docker.load_stream(bytes()),
        "save_image": docker.save_image("a"),
        "save_stream": async { docker.save_stream("a", None).next().await.unwrap().context("save") },
        "save_stream of a platform": async {
            docker.save_stream("a", Some("linux/amd64")).next().await.unwrap().context("save")
        },
        "tag_image": docker.tag_image("a", "b", "c"),
        "remove_image": docker.remove_image("a"),
        "in_registry": docker.in_registry("a", soon),
        "digest_in_registry": docker.digest_in_registry("a", soon),
        "pull": docker.pull("a"),
        "push": docker.push("r.test/a:b"),
        "run": docker.run(&spec()),
        "create": docker.create(&spec()),
        "start_container": docker.start_container("a"),
        "stop_container": docker.stop_container("a", soon),
        "kill_container": docker.kill_container("a", "SIGKILL"),
        "remove_container": docker.remove_container("a"),
        "container": docker.container("a"),
        "inspect": docker.inspect("a"),
        "named_by": docker.named_by("a"),
        "labelled": docker.labelled("a"),
        "logs": docker.logs("a", 1),
        "stamped_logs": docker.stamped_logs("a", 1),
        "put_files": docker.put_files("a", &[FileEntry::new("/a", "a")]),
        "get_file": docker.get_file("a", "/a"),
        "get_archive": docker.get_archive("a", "/a", &copy),
        "exec": docker.exec("a", &["true"], None),
        "exec_within": docker.exec_within("a", &["true"], None, soon),
        "exec_reading": docker.exec_reading("a", &["true"], Some(tokio::io::empty())),
        "exec_ok": docker.exec_ok("a", &["true"], None),
        "exec_bounded": docker.exec_bounded("a", &["true"], 9, soon),
        "pipe": docker.pipe("a", &["true"]),
        "create_network": docker.create_network("a", HashMap::new()),
        "network_exists": docker.network_exists("a"),
        "remove_network": docker.remove_network("a"),
        "keep_cluster": docker.keep_cluster(Owner::current(), "a", &BootId::random()),
        "kept_boots": docker.kept_boots(),
        "sweep": sweep(docker, Scope::All),
        "Guard::start": Guard::start(docker, "a", &Ward::new("c", &BootId::random())),
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_says_nothing_ends_every_call_with_an_error_in_time() {
    let place = tempfile::tempdir().unwrap();
    let docker = falls_silent(&place, nothing);
    for (name, call) in calls(&docker, place.path()) {
        let begun = Instant::now();
        let error = with_factor(1.0, call).await.expect_err(name).report();
        assert!(begun.elapsed() < LONGEST, "{name}: {:?}", begun.elapsed());
        assert!(
            error.contains("no answer within") || error.contains("waited"),
            "{name}: {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_stops_in_its_answer_ends_every_call_in_time() {
    let place = tempfile::tempdir().unwrap();
    let docker = falls_silent(&place, a_head);
    for (name, call) in calls(&docker, place.path()) {
        let begun = Instant::now();
        // For some calls the first line is already the whole answer.
        with_factor(1.0, call).await.ok();
        assert!(begun.elapsed() < LONGEST, "{name}: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_patient_user_waits_longer_for_an_answer() {
    let place = tempfile::tempdir().unwrap();
    let docker = falls_silent(&place, nothing);
    let begun = Instant::now();
    let error = with_factor(3.0, docker.container("a")).await.unwrap_err();
    insta::assert_snapshot!(error.report(), @r"
    inspect container 'a': no answer within 180 s
    cure: see whether the engine still runs: `kubenest engine status`, or `docker info`
    ");
    assert!(begun.elapsed() >= Duration::from_secs(180));
}

#[tokio::test(start_paused = true)]
async fn a_command_without_end_is_cut_off_and_its_last_line_told() {
    let place = tempfile::tempdir().unwrap();
    let docker = falls_silent(&place, a_command);
    let argv = ["kubeadm", "init", "--config", "/kind/kubeadm.conf"];
    let deadline = Duration::from_secs(180);
    let run = docker.exec_within("a-control-plane", &argv, None, deadline);
    let error = with_factor(1.0, run).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    insta::assert_snapshot!(
        error.report(),
        @"run `kubeadm init --config /kind/kubeadm.conf` in 'a-control-plane': waited 180.0 s for its end; last seen: [control-plane-check] Checking kube-apiserver at https://172.18.0.2:6443/livez"
    );
}

#[test]
fn two_handles_of_one_engine_may_have_settings_of_their_own() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("engine.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let one = docker(&socket);
    let mut settings = Settings::from_env();
    settings.run = RunId::random();
    let other = Docker {
        settings: settings.into(),
        ..one.clone()
    };
    for docker in [&one, &other] {
        let labels = docker.labels("node").map();
        assert_eq!(labels[labels::RUN], docker.settings().run.as_str());
    }
    assert_ne!(one.settings().run, other.settings().run);
}
