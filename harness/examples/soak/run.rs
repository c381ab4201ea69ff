//! The driver of a soak: starts tests, lets faults happen, and gathers how all ended.

use std::{
    collections::BTreeMap,
    fs, future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kubenest_base::{
    process::last_lines,
    wait::{self, Probe},
};
use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    sync::Semaphore,
    task::JoinSet,
};

use crate::{
    faults::send,
    judge::{Ended, Findings, How},
    place::Place,
    schedule::{Fate, Item, Kind, Random, Schedule, Test},
};

/// How long a test may take. It waits for boots of others, each of which has a deadline.
const TEST: Duration = Duration::from_secs(400);
/// How long a fault waits for a cluster in use.
const IN_USE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What is done, in which order, is the same for the same seed
    #[arg(long)]
    seed: Option<u64>,
    /// How long new tests begin
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// How many tests run at a time
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u8).range(2..=16))]
    processes: u8,
    /// The node image of all
    #[arg(long, default_value = "v1.32.1-containerd-2.0.2")]
    recipe: String,
}

/// A test that runs.
#[derive(Debug, Clone, Default)]
struct Running {
    cluster: Option<String>,
    booted: bool,
    case: Option<String>,
    disturbed: Option<Kind>,
}

/// What all parts of a soak know.
struct Soak {
    place: Place,
    begun: Instant,
    running: Mutex<BTreeMap<u32, Running>>,
    findings: Mutex<Findings>,
}

pub(crate) async fn run(args: &Args) -> Result<()> {
    let seed = args.seed.unwrap_or_else(Random::seed);
    println!(
        "seed {seed}: `cargo xtask soak --seed {seed} --minutes {}` repeats it",
        args.minutes
    );
    let soak = Arc::new(Soak {
        place: Place::make(&args.recipe).await?,
        begun: Instant::now(),
        running: Mutex::default(),
        findings: Mutex::default(),
    });
    let whole = async {
        drive(&soak, args, seed).await?;
        let mut findings = std::mem::take(&mut *lock(&soak.findings));
        findings.took = soak.begun.elapsed();
        soak.place.look_for_remains(&mut findings).await?;
        anyhow::Ok(findings)
    };
    let ended = tokio::select! {
        ended = whole => ended,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    let findings = match ended {
        Ok(findings) => findings,
        Err(error) => {
            soak.place.store.remove().await?;
            return Err(error);
        }
    };
    print!("{findings}");
    match findings.wrong() {
        wrong if wrong.is_empty() => {
            fs::remove_dir_all(&soak.place.root)?;
            println!("nothing hung, got lost or was left over");
            Ok(())
        }
        wrong => bail!(
            "seed {seed}:\n  {}\nlogs and evidence are in {}",
            wrong.join("\n  "),
            soak.place.root.display()
        ),
    }
}

/// Works through the schedule until the time is up and every kind of fault has landed.
async fn drive(soak: &Arc<Soak>, args: &Args, seed: u64) -> Result<()> {
    let wanted = Duration::from_secs(args.minutes * 60);
    let places = Arc::new(Semaphore::new(args.processes.into()));
    let mut tests = JoinSet::new();
    for item in Schedule::new(seed) {
        let elapsed = soak.begun.elapsed();
        let is_whole = lock(&soak.findings).missing().is_empty();
        if (elapsed >= wanted && is_whole) || elapsed >= wanted * 2 + TEST {
            break;
        }
        match item {
            Item::Test(test) => {
                let turn = Arc::clone(&places).acquire_owned().await?;
                // Before its process starts, so that a fault that comes now is known to hit it.
                lock(&soak.running).insert(test.number, Running::default());
                let soak = Arc::clone(soak);
                tests.spawn(async move {
                    let ended = soak.run_test(test).await;
                    drop(turn);
                    ended
                });
            }
            Item::Fault { kind, pick } => soak.let_happen(kind, pick).await?,
        }
        while let Some(ended) = tests.try_join_next() {
            ended??;
        }
    }
    while let Some(ended) = tests.join_next().await {
        ended??;
    }
    Ok(())
}

impl Soak {
    fn say(&self, what: &str) {
        println!("{:6.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    /// Lets a fault happen to what tests use.
    async fn let_happen(&self, kind: Kind, pick: usize) -> Result<()> {
        let found = wait::until("a cluster in use", IN_USE, async || {
            let running = lock(&self.running);
            let used = running.values().filter(|test| test.case.is_some());
            let mut used: Vec<String> = used.filter_map(|test| test.cluster.clone()).collect();
            used.dedup();
            let picked = used.get(pick % used.len().max(1)).cloned();
            Probe::from_option(picked, || format!("{} tests run", running.len()))
        });
        let Ok(cluster) = found.await else {
            self.say(&format!("{kind}: no cluster is in use"));
            return Ok(());
        };
        self.say(&format!("{kind}, of cluster {cluster}"));
        self.note_hit(kind, &cluster);
        let struck = self.place.strike(kind, &cluster).await;
        // Others have got the cluster since then.
        self.note_hit(kind, &cluster);
        match struck {
            Ok(true) => lock(&self.findings).land(kind),
            Ok(false) => self.say(&format!("{kind}: there was nothing to kill")),
            Err(error) if kind >= Kind::Disk => return Err(error),
            Err(error) => self.say(&format!("{kind}: {error:#}")),
        }
        Ok(())
    }

    /// Notes whose cluster or engine a fault has hit; of several the gravest. Who is about to get the cluster of a killed
    /// runtime has to get a good one.
    fn note_hit(&self, kind: Kind, cluster: &str) {
        for test in lock(&self.running).values_mut() {
            let is_hit = match kind {
                Kind::Disk | Kind::Engine => true,
                Kind::Containerd => test.cluster.as_deref() == Some(cluster),
                _ => false,
            };
            if is_hit {
                test.disturbed = test.disturbed.max(Some(kind));
            }
        }
    }

    async fn run_test(&self, test: Test) -> Result<()> {
        let begun = Instant::now();
        let child = self.place.start(&test)?;
        let how = self.follow(&test, child).await?;
        let running = lock(&self.running).remove(&test.number).unwrap_or_default();
        let ended = Ended {
            how,
            seconds: begun.elapsed().as_secs_f64(),
            booted: running.booted,
            disturbed: running.disturbed,
            case: running.case,
            test,
        };
        self.say(&ended.to_string());
        let mut findings = lock(&self.findings);
        if let (How::Killed(_), Some(case)) = (&ended.how, &ended.case) {
            findings.evidence.push((case.clone(), false));
        }
        findings.tests.push(ended);
        Ok(())
    }

    /// Reads what the process of a test says until it ends, and lets happen to it what has to.
    async fn follow(&self, test: &Test, mut child: Child) -> Result<How> {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.context("a test has no process")?;
        let said = child.stdout.take().context("a test has no output")?;
        let mut said = BufReader::new(said).lines();
        let limit = Instant::now() + wait::scaled(TEST);
        let mut fate = test.fate.clone();
        let starts = |fate: &Fate| fate.kind == Kind::Starting;
        let mut due = fate
            .as_ref()
            .filter(|fate| starts(fate))
            .map(|fate| Instant::now() + fate.after);
        let (mut last, mut killed) = (String::new(), None);
        loop {
            tokio::select! {
                line = said.next_line() => {
                    let Some(line) = line? else { break };
                    if self.note(test, &line) {
                        due = due.or(fate.as_ref().map(|fate| Instant::now() + fate.after));
                    }
                    last = line;
                }
                () = pass(due) => {
                    due = None;
                    if let Some(fate) = fate.take() {
                        killed = self.meet(test, &fate, pid).await.or(killed);
                    }
                }
                () = pass(Some(limit)) => {
                    send(pid, Signal::SIGKILL);
                    return Ok(How::Hung(format!("it said '{last}', then {}", self.log_of(test))));
                }
            }
        }
        let status = child.wait().await?;
        Ok(match (last.split_once(' '), killed) {
            _ if last == "passed" => How::Passed,
            (Some(("failed", why)), _) => How::Failed(why.to_owned()),
            (Some(("lost", why)), _) => How::Lost(why.to_owned()),
            (_, Some(kind)) => How::Killed(kind),
            _ => How::Failed(format!("{status}: {}", self.log_of(test))),
        })
    }

    /// Notes how far a test is; whether its body has begun.
    fn note(&self, test: &Test, line: &str) -> bool {
        let mut all = lock(&self.running);
        let running = all.entry(test.number).or_default();
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["has", cluster, how] => {
                running.cluster = Some((*cluster).to_owned());
                running.booted = *how == "booted";
            }
            ["body", case] => running.case = Some((*case).to_owned()),
            _ => {}
        }
        words[0] == "body"
    }

    /// Lets a test meet its fate. Returns of what kind its death was; what it was doing decides.
    async fn meet(&self, test: &Test, fate: &Fate, pid: i32) -> Option<Kind> {
        let freezes = !fate.frozen.is_zero();
        if freezes {
            if !send(pid, Signal::SIGSTOP) {
                return None;
            }
            wait::pace(fate.frozen).await;
        }
        if fate.kind == Kind::Frozen {
            if send(pid, Signal::SIGCONT) {
                lock(&self.findings).land(Kind::Frozen);
            }
            return None;
        }
        let has_cluster = lock(&self.running).get(&test.number)?.cluster.is_some();
        let kind = match (freezes, has_cluster, test.alone) {
            (true, ..) => Kind::FrozenKilled,
            (_, false, _) => Kind::Starting,
            (.., true) => Kind::Alone,
            (.., false) => Kind::Sharing,
        };
        if !send(pid, Signal::SIGKILL) {
            return None;
        }
        lock(&self.findings).land(kind);
        Some(kind)
    }

    fn log_of(&self, test: &Test) -> String {
        let log = fs::read_to_string(self.place.log(test)).unwrap_or_default();
        last_lines(&log, 5)
    }
}

/// Until a moment; without one, for ever.
async fn pass(moment: Option<Instant>) {
    match moment {
        Some(moment) => wait::pace(moment.saturating_duration_since(Instant::now())).await,
        None => future::pending().await,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
