//! What a soak leaves: everything that nobody has removed at its end.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use kubenest::{cluster, engine::Docker};
use kubenest_base::{
    lock::FileLock,
    process::Command,
    wait::{self, Probe},
};
use kubenest_docker::{Scope, SweepReport, sweep};
use kubenest_evidence as evidence;
use kubenest_forge::engine;

use crate::{
    judge::Findings,
    place::{IDLE, Place},
};

/// How long clusters may take to go after their idle time.
const SOON: Duration = Duration::from_secs(IDLE + 100);
/// How long processes of a stopped engine may take to go.
const ENDS: Duration = Duration::from_secs(20);
/// What a cache may have at its end: records, and folders in which nothing is left over.
const RECORDS: [&str; 6] = [
    "evidence",
    "locks",
    "durations.json",
    "asked.json",
    "node-default.json",
    "exclusive",
];

impl Place {
    /// Waits until all clusters have gone, cleans up as `kubenest clean` does, and notes what is
    /// left then; the engine is stopped.
    pub(crate) async fn look_for_remains(&self, findings: &mut Findings) -> Result<()> {
        for cache in &self.caches {
            let (_, finished) = evidence::finish(cache).await;
            finished?;
        }
        let gone = wait::until("all clusters to go", SOON, async || {
            match self.listed().await {
                Ok(left) if left.is_empty() => Probe::Ready(()),
                Ok(left) => Probe::Pending(left.join(", ")),
                Err(error) => Probe::Pending(format!("{error:#}")),
            }
        });
        if let Err(error) = gone.await {
            println!("{}", error.report());
        }
        for cache in 0..self.caches.len() {
            let swept = self.clean(cache).await?;
            println!("a sweep removed {swept:?}");
            findings.swept += swept.containers.len() + swept.networks.len() + swept.volumes.len();
        }
        for (case, told) in &mut findings.evidence {
            *told = (0..2).any(|cache| tells_of(&self.evidence(cache), case));
        }
        findings.remains.extend(self.listed().await?);
        for (index, cache) in self.caches.iter().enumerate() {
            findings.remains.extend(self.files_left(index));
            let mark = format!("KUBENEST_CACHE={}", cache.cache.display());
            findings.remains.extend(processes(&mark));
        }
        self.store.engine.stop().await?;
        let socket = self.store.engine.address().socket;
        let run = socket.parent().unwrap_or(Path::new("/"));
        let mark = format!("KUBENEST_ENGINE_RUN={}", run.display());
        let ended = wait::until(
            "the engine's processes to end",
            ENDS,
            async || match processes(&mark) {
                none if none.is_empty() => Probe::Ready(()),
                some => Probe::Pending(some.join(", ")),
            },
        );
        findings
            .remains
            .extend(ended.await.err().map(|error| error.report()));
        self.store.remove().await?;
        findings.remains.extend(mounts(&[&self.root, run]));
        Ok(())
    }

    /// Removes what is left of a cache's clusters, as `kubenest clean` does.
    pub(crate) async fn clean(&self, cache: usize) -> Result<SweepReport> {
        let settings = &self.caches[cache];
        let (_, finished) = evidence::finish(settings).await;
        finished?;
        let docker = Docker::at(self.docker.endpoint(), settings).await?;
        let swept = sweep(&docker, Scope::DeadOwners).await?;
        cluster::forget_dead(&[docker]).await?;
        Ok(swept)
    }

    /// Files and held locks of a cache that belong to nobody any more.
    pub(crate) fn files_left(&self, cache: usize) -> Vec<String> {
        let cache = &self.caches[cache].cache;
        let mut left = files(cache);
        left.extend(locks(&cache.join("locks")));
        left
    }

    /// All containers, networks and volumes of the engine, which are all of this soak.
    pub(crate) async fn listed(&self) -> Result<Vec<String>> {
        let lists: [(&str, &[&str]); 3] = [
            ("container", &["ps", "--all", "--format", "{{.Names}}"]),
            (
                "network",
                &[
                    "network",
                    "ls",
                    "--filter",
                    "type=custom",
                    "--format",
                    "{{.Name}}",
                ],
            ),
            ("volume", &["volume", "ls", "--quiet"]),
        ];
        let mut found = Vec::new();
        for (kind, list) in lists {
            let said = self.docker_says(list).await?;
            found.extend(said.lines().map(|name| format!("{kind} {name}")));
        }
        Ok(found)
    }

    /// What the docker CLI says of the engine.
    pub(crate) async fn docker_says(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(engine::cli(kubenest::settings()).await?).args(args);
        for (name, value) in self.docker.endpoint().variables() {
            command = command.env(name, value);
        }
        Ok(command.run().await?.stdout)
    }
}

/// Whether a bundle in this folder tells of a case.
fn tells_of(home: &Path, case: &str) -> bool {
    entries(home).any(|bundle| {
        let index = fs::read_to_string(bundle.join("index.json"));
        index.is_ok_and(|index| index.contains(&format!("\"{case}\"")))
    })
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Files of a cache that belong to nobody any more.
fn files(cache: &Path) -> Vec<String> {
    let is_record = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| RECORDS.contains(&name))
    };
    let mut left = Vec::new();
    for path in entries(cache).filter(|path| !is_record(path)) {
        match path.is_dir() {
            true => left.extend(entries(&path)),
            false => left.push(path),
        }
    }
    left.iter()
        .map(|path| format!("file {}", path.display()))
        .collect()
}

/// Locks that somebody still holds.
fn locks(folder: &Path) -> Vec<String> {
    let mut held = Vec::new();
    for path in entries(folder) {
        if path.is_dir() {
            held.extend(locks(&path));
        } else if !FileLock::try_exclusive(&path, "a look").is_ok_and(|lock| lock.is_some()) {
            held.push(format!("lock {}", path.display()));
        }
    }
    held
}

/// Other processes that have this in their environment.
fn processes(mark: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let has = |folder: &Path| {
        let variables = fs::read(folder.join("environ")).unwrap_or_default();
        variables
            .split(|byte| *byte == 0)
            .any(|one| one == mark.as_bytes())
    };
    let folders = entries(Path::new("/proc")).filter(|folder| !folder.ends_with(&own));
    let found = folders.filter(|folder| has(folder)).map(|folder| {
        let words = fs::read(folder.join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        format!("process {} {words}", folder.display())
    });
    found.collect()
}

/// Mounts of this machine in these folders.
fn mounts(folders: &[&Path]) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let ours = points.filter(|point| {
        folders
            .iter()
            .any(|folder| Path::new(point).starts_with(folder))
    });
    ours.map(|point| format!("mount {point}")).collect()
}
