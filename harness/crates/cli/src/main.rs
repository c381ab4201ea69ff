//! Real Kubernetes nodes from the command line, for people without this repository.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for people"
)]

mod cluster;
mod diagnose;
mod engine;
mod image;
mod like_test;
mod load;
mod logs;
mod prepare;
mod test;

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use kubenest::{ErrorKind, Result, telemetry};
use kubenest_base::Context;
use kubenest_base::store::Store;
use kubenest_diagnosis as diagnosis;
use kubenest_docker as docker;
use kubenest_docker::Scope;
use kubenest_evidence as evidence;
use kubenest_evidence::redact::Redactor;
use kubenest_health::doctor;
use kubenest_runner::exit;

/// Boot real Kubernetes nodes in containers, look at them, remove them.
///
/// Settings are variables: KUBENEST_CACHE (where everything is kept), KUBENEST_ENGINE
/// (auto, embedded, embedded-29, host), KUBENEST_NODE (default recipe or image),
/// KUBENEST_REGISTRY (where node images are shared), KUBENEST_KEEP, KUBENEST_LOCK (file of what
/// nodes are made of; a drift is refused), KUBENEST_EVIDENCE (where evidence of failures is kept),
/// KUBENEST_REDACT, KUBENEST_PATIENCE (a number that every deadline is multiplied by),
/// KUBENEST_IDLE (how long a leased cluster stays unheld, such as 10m), KUBENEST_LOG; and Docker's
/// own.
///
/// Exit codes: 0 done, 2 wrong usage, 4 nothing diagnosed, 100 a check failed, 105 set-up
/// failed.
#[derive(Parser)]
#[command(name = "kubenest", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Boot a cluster, prove it healthy and leave it up
    ///
    /// Examples:
    ///   kubenest up my-test --recipe v1.32.1-containerd-2.0.2 --workers 2
    ///   kubenest up --like-test reconciles::a_copy_is_made -- -p my-operator
    Up(cluster::Up),
    /// Remove a cluster and everything made for it
    Down {
        /// Its name, as `kubenest list` shows it
        name: String,
    },
    /// Show the clusters there are
    List,
    /// Load images into a cluster's nodes, kubenest's or kind's, and pin them
    ///
    /// Each node is sent what it lacks: an image that is there costs nothing, one whose top layer
    /// changed that layer. The kubelet's garbage collection leaves pinned images alone.
    ///
    /// Examples:
    ///   kubenest load app:dev
    ///   kubenest load --cluster kind --archive app.tar
    #[command(verbatim_doc_comment)]
    Load(load::Load),
    /// Make what tests need before they run: node images, programs, embedded engines
    ///
    /// All of it is made once and kept: in the cache, images in the engine. What is there already
    /// costs nothing, several things are made at a time, and first it is said what is to be made
    /// and about how long that takes; the next time it is known by how long it took.
    /// `kubenest test` does this by itself, for what the chosen tests need: what their manifest
    /// declares in [package.metadata.kubenest], and what each asked for in its last run.
    ///
    /// Exit codes: 0 all of it is there, 2 a need means nothing, 105 something cannot be made.
    ///
    /// Examples:
    ///   kubenest prepare
    ///   kubenest prepare v1.32.1-containerd-2.0.2 "kind 0.27.0"
    ///   kubenest prepare "v1.32.1-containerd-2.0.2 on embedded-29"
    ///   kubenest prepare --list
    #[command(verbatim_doc_comment)]
    Prepare(prepare::Prepare),
    /// Build, share and show node images
    #[command(subcommand)]
    Image(image::Image),
    /// Start, look at and stop the embedded Docker engines
    #[command(subcommand)]
    Engine(engine::Engine),
    /// Check whether this machine can run nodes; each failed check names its cure
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Name known causes of failure in logs, of any cluster
    ///
    /// Each cause comes with its cure and the lines that show it; the root of others first.
    ///
    /// Reads what containerd, kubelet, k3s, kubeadm, kind, ctr or crictl wrote, and events, in
    /// whatever form they were handed on: journals (journalctl, text or -o json), logs of CI jobs
    /// with their stamps (GitHub, GitLab, Jenkins, Buildkite), docker logs, kubectl logs, describe
    /// and get events, minikube logs, folders of `kind export logs`; gzip and UTF-16 too. What
    /// only quotes an error (a commit, a diff, a page) is not counted.
    ///
    /// Exit codes: 0 a cause was recognised, 4 none was, 2 a path cannot be read.
    ///
    /// Examples:
    ///   kind export logs /tmp/logs && kubenest diagnose /tmp/logs
    ///   journalctl -u containerd -u kubelet | kubenest diagnose
    ///   gh run view 123456789 --log-failed | kubenest diagnose
    ///   kubectl get events -A -o json | kubenest diagnose - kubelet.log
    ///   kubenest diagnose --list
    ///   kubenest diagnose --explain inotify-exhausted
    #[command(verbatim_doc_comment)]
    Diagnose(diagnose::Diagnose),
    /// Collect what a cluster's nodes say, kubenest's or kind's, into a folder with a page
    ///
    /// Journals, runtime, images, containers, API objects, events, pods' logs and more, without
    /// tokens, keys and passwords; KUBENEST_REDACT takes out more (regular expressions, with ;
    /// between them). Known causes are named first. An older folder is never written over.
    ///
    /// Examples:
    ///   kubenest logs
    ///   kubenest logs kind --output /tmp/evidence
    #[command(verbatim_doc_comment)]
    Logs(logs::Logs),
    /// Run the tests of a project that uses kubenest, and explain a red run
    ///
    /// Cargo builds them; each test is a process of its own, some at a time. Unlike `cargo test`
    /// this tells a failed assertion from a broken set-up, ends what hangs, removes what a
    /// crashed test left, and writes to the target folder, at e2e/latest: report.html (a page
    /// that explains a red run), report.json, junit.xml, kubenest.lock (what the nodes were made
    /// of), one log per test and the evidence of failures. On GitHub, failures are annotations,
    /// too. Doc tests are left to `cargo test --doc`.
    ///
    /// Exit codes: 0 all passed, 2 wrong usage, 4 nothing ran, 100 a test failed, 105 the set-up
    /// failed, 130 interrupted.
    ///
    /// Examples:
    ///   kubenest test
    ///   kubenest test a_pod_starts --keep
    ///   kubenest test -p my-operator --test upgrades --jobs 1
    ///   kubenest test --nodes 1.32,latest,cri-o
    ///   kubenest test --locked target/e2e/latest/kubenest.lock
    ///   kubenest test --json --cargo-arg=--locked >report.json
    #[command(verbatim_doc_comment)]
    Test(test::Test),
    /// Make the reports of a run anew, with those that ran elsewhere
    ///
    /// Of what is in the folder of a run: of one that was killed, too. Folders of further runs,
    /// such as of other machines, become part of the reports in the first. Exits as the run did.
    ///
    /// Examples:
    ///   kubenest report target/e2e/latest
    ///   kubenest report target/e2e/latest shards/2 shards/3
    #[command(verbatim_doc_comment)]
    Report(test::Report),
    /// Remove what dead processes left: containers, networks, volumes and tests' images with our
    /// labels; in the cache, unfinished builds and folders of clusters that are gone
    ///
    /// Of the evidence of failures it leaves the newest 50 folders, none older than 14 days.
    Clean {
        /// Remove everything of kubenest's, clusters in use and kept ones too
        #[arg(long, conflicts_with = "run")]
        all: bool,
        /// Remove what one run made
        #[arg(long)]
        run: Option<String>,
    },
    /// Write a log without tokens, keys, passwords and what KUBENEST_REDACT names
    #[command(hide = true)]
    Redact {
        /// A file, which is written over; without it, standard input
        file: Option<PathBuf>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        // People see the progress in a view and not in the log.
        Command::Prepare(prepare) if !prepare.json => {
            kubenest_base::telemetry::start_without_progress(kubenest::settings());
        }
        _ => telemetry::start(),
    }
    diagnosis::speak_of(diagnosis::Surface::Program);
    match dispatch(cli.command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", error.report());
            ExitCode::from(match error.kind() {
                ErrorKind::Input => exit::USAGE,
                _ => exit::SETUP_FAILED,
            })
        }
    }
}

async fn dispatch(command: Command) -> Result<ExitCode> {
    // Logs are read on machines that are set up for nothing else, and `doctor` reports bad settings
    // as a check.
    if !matches!(
        command,
        Command::Diagnose(_) | Command::Doctor { .. } | Command::Report(_)
    ) {
        kubenest::settings().check()?;
    }
    match command {
        Command::Up(up) => cluster::up(up).await?,
        Command::Down { name } => {
            kubenest::cluster::remove(&kubenest::engine::find().await?, &name).await?;
            println!("removed cluster {name}");
        }
        Command::List => cluster::list(&kubenest::engine::find().await?).await?,
        Command::Load(load) => load::run(&load).await?,
        Command::Image(command) => image::run(command).await?,
        Command::Prepare(prepare) => return prepare::run(&prepare).await,
        Command::Engine(command) => engine::run(command).await?,
        Command::Diagnose(command) => return diagnose::run(&command),
        Command::Test(test) => return Ok(test::run(&test)),
        Command::Report(report) => return Ok(test::report(&report)),
        Command::Logs(logs) => logs::run(&logs).await?,
        Command::Doctor { json } => return host_report(json).await,
        Command::Clean { all, run } => clean(all, run.as_deref()).await?,
        Command::Redact { file } => redact(file.as_deref())?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn host_report(json: bool) -> Result<ExitCode> {
    let report = doctor::examine(kubenest::settings()).await;
    if json {
        println!("{}", json_of(&report)?);
    } else {
        println!("{report}");
    }
    Ok(if report.require(&[]).is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(exit::TEST_FAILED)
    })
}

/// Cleans every part, even when one fails, and returns the first error. The evidence that guards
/// saved is finished first, because a sweep ends guards that are still saving.
async fn clean(all: bool, run: Option<&str>) -> Result<()> {
    let settings = kubenest::settings();
    let (kept, mut ended) = evidence::finish(settings).await;
    kept.iter().for_each(|kept| println!("{kept}"));
    match evidence::prune(settings) {
        Ok(pruned) if pruned.is_empty() => {}
        Ok(pruned) => println!("removed {} folders of evidence", pruned.len()),
        Err(error) => ended = ended.and(Err(error)),
    }
    match Store::of(settings).prune_unfinished() {
        Ok(unfinished) => unfinished.iter().for_each(|left| {
            println!("removed {}, which a killed build left", left.display());
        }),
        Err(error) => ended = ended.and(Err(error)),
    }
    // An embedded engine that does not run has nothing to clean.
    let (engines, unreached) = engine::running().await;
    ended = ended.and(unreached);
    if engines.is_empty() {
        println!("no engine runs: nothing to clean");
    }
    let scope = match run {
        _ if all => Scope::All,
        Some(run) => Scope::Run(run),
        None => Scope::DeadOwners,
    };
    for docker in &engines {
        match docker::sweep(docker, scope).await {
            Ok(removed) => println!(
                "{}: removed {} containers, {} networks, {} volumes, {} images",
                docker.endpoint(),
                removed.containers.len(),
                removed.networks.len(),
                removed.volumes.len(),
                removed.images.len()
            ),
            Err(error) => ended = ended.and(Err(error)),
        }
    }
    match kubenest::cluster::forget_dead(&engines).await {
        Ok(forgotten) if forgotten.is_empty() => {}
        Ok(forgotten) => println!("removed {} kubeconfigs of dead clusters", forgotten.len()),
        Err(error) => ended = ended.and(Err(error)),
    }
    ended
}

/// Writes standard input, or a file in place, without secrets.
fn redact(file: Option<&Path>) -> Result<()> {
    let redactor = Redactor::new(kubenest::settings().redact.as_deref())?;
    match file {
        Some(path) => {
            let text = fs::read(path).with_context(|| format!("read '{}'", path.display()))?;
            let shown = redactor.redact(&String::from_utf8_lossy(&text));
            let write = || {
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                let mut new = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
                new.write_all(shown.as_bytes())?;
                new.persist(path)?;
                Ok::<_, io::Error>(())
            };
            write().with_context(|| format!("write '{}'", path.display()))
        }
        None => {
            let mut text = Vec::new();
            io::stdin()
                .read_to_end(&mut text)
                .context("read standard input")?;
            print!("{}", redactor.redact(&String::from_utf8_lossy(&text)));
            Ok(())
        }
    }
}

/// The JSON text that `--json` prints.
fn json_of(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).context("write JSON")
}

/// A recipe, given by the name of an embedded recipe, the path of a file, or an image with a
/// digest.
fn recipe(name: &str) -> Result<kubenest::recipe::Recipe> {
    use kubenest::recipe::Recipe;
    if name.contains("@sha256:") {
        return Recipe::image(name);
    }
    let path = PathBuf::from(name);
    if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
        return Recipe::file(&path);
    }
    Recipe::named(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_redacted_in_its_own_place() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("a.log");
        fs::write(
            &log,
            b"DB_PASSWORD=a,b;c x\xff\ntest result: ok. 1 passed;\n",
        )
        .unwrap();
        redact(Some(&log)).unwrap();
        let shown = "DB_PASSWORD=[redacted secret] x\u{fffd}\ntest result: ok. 1 passed;\n";
        assert_eq!(fs::read_to_string(&log).unwrap(), shown);
        assert!(redact(Some(&folder.path().join("none"))).is_err());
    }
}
