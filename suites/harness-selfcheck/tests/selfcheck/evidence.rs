//! Evidence of failures has the decisive line, comes soon, is small and without secrets; and
//! nothing of the cluster is left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use harness_selfcheck::{
    planted::{FIRST_WORDS, PATTERN, WORDS_OF_ANOTHER, WORDS_OF_ONE, secrets},
    remains_of, unique_name,
};
use kubenest::wait::Probe;
use kubenest_base::{process::Command, wait};
use kubenest_evidence as evidence;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines},
    process::{Child, ChildStdout},
};

/// How long evidence may take; about two seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);
/// How long a boot and its cases may take on a busy machine.
const LONG: Duration = Duration::from_secs(240);
/// The log files from a node's journal.
const JOURNALS: [&str; 4] = [
    "/kubelet.log",
    "/containerd.log",
    "/journal.log",
    "/kernel.log",
];
/// The folder of verdicts, beside the bundles.
const VERDICTS: &str = "verdicts";
/// Maximum bytes of a bundle.
const SIZE: u64 = 16 << 20;

/// A process that breaks its cluster.
struct BreakingProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
    home: TempDir,
}

/// An evidence bundle.
struct Bundle {
    folder: PathBuf,
    index: Value,
}

impl BreakingProcess {
    fn start(mode: &str) -> Result<Self> {
        let (home, name) = (tempfile::tempdir()?, unique_name());
        #[expect(
            clippy::disallowed_methods,
            reason = "it has to be killed from outside"
        )]
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_breaking"));
        command
            .args([mode, &name])
            .env("KUBENEST_EVIDENCE", home.path())
            .env("KUBENEST_REDACT", PATTERN)
            // Its failures are the subject of this test, and must not count as failures of the test
            // itself.
            .env("KUBENEST_VERDICTS", home.path().join(VERDICTS))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("it must be piped")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self {
            child,
            lines,
            name,
            home,
        })
    }

    async fn line(&mut self) -> Result<String> {
        let line = wait::at_most(LONG, self.lines.next_line())
            .await
            .context("it took too long")??;
        match line {
            Some(line) => Ok(line),
            None => anyhow::bail!("it ended: {}", self.end().await?.1),
        }
    }

    /// Waits for the end; returns its status and standard error.
    async fn end(&mut self) -> Result<(ExitStatus, String)> {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().context("it ends once")?;
        stderr.read_to_string(&mut text).await?;
        Ok((self.child.wait().await?, text))
    }

    async fn signal(&self, signal: &str) -> Result<()> {
        let id = self.child.id().context("it has ended")?.to_string();
        Command::new("kill").args(["-s", signal, &id]).run().await?;
        Ok(())
    }

    /// All bundles, in the order of their creation.
    fn bundles(&self) -> Result<Vec<Bundle>> {
        let mut bundles = Vec::new();
        for entry in fs::read_dir(self.home.path())? {
            let folder = entry?.path();
            if let Ok(text) = fs::read(folder.join("index.json")) {
                let index = serde_json::from_slice(&text)?;
                bundles.push(Bundle { folder, index });
            }
        }
        bundles.sort_by_key(|bundle| bundle.index["made"].to_string());
        Ok(bundles)
    }

    /// Checks the verdicts of its cases, in order. An error of the harness that a body returns is
    /// no failed test.
    fn check_verdicts(&self) -> Result<()> {
        let mut files = files(&self.home.path().join(VERDICTS));
        // What the test asked for is noted beside them, in a file of another kind.
        files.retain(|file| file.extension().is_some_and(|kind| kind == "json"));
        files.sort();
        let verdicts: Vec<Value> = files
            .iter()
            .map(|file| anyhow::Ok(serde_json::from_slice(&fs::read(file)?)?))
            .collect::<Result<_>>()?;
        let verdicts: Vec<_> = verdicts.iter().map(|verdict| &verdict["verdict"]).collect();
        let red = "failed";
        assert_eq!(verdicts, [red, "passed", red, red, red, "setup", red]);
        Ok(())
    }

    /// Checks that nothing of the cluster and no unredacted data is left.
    async fn check_nothing_is_left(&self) -> Result<()> {
        let docker = kubenest::engine::find().await?;
        wait::until("the cluster's end", SOON, async || {
            match remains_of(&docker, &self.name).await {
                Ok(left) if left.is_empty() => Probe::Ready(()),
                Ok(left) => Probe::Pending(left.join(" ")),
                Err(error) => Probe::Pending(format!("{error:#}")),
            }
        })
        .await?;
        let raw = kubenest::settings().cache.join("killed").join(&self.name);
        assert!(!raw.exists(), "'{}' is left", raw.display());
        Ok(())
    }
}

impl Bundle {
    /// All files whose path ends with `end`, as one text.
    fn text(&self, end: &str) -> String {
        let files = files(&self.folder).into_iter();
        let found = files.filter(|file| file.to_string_lossy().ends_with(end));
        let texts: Vec<_> = found
            .map(|file| fs::read_to_string(file).unwrap_or_default())
            .collect();
        texts.concat()
    }

    fn assert_has(&self, file: &str, words: &str) {
        let text = self.text(file);
        assert!(
            text.contains(words),
            "no '{words}' in {file} of {}, which lacks {}",
            self.folder.display(),
            self.missing()
        );
    }

    /// Checks that logs, steps and objects are those of the case with this namespace, which failed
    /// while another case ran.
    fn assert_is_of_one_of_two_cases(&self, namespace: &str) {
        assert_eq!(self.index["case"], namespace);
        for file in ["/kubelet.log", "/index.html"] {
            self.assert_has(file, WORDS_OF_ONE);
        }
        let page = self.text("/index.html");
        assert!(!page.contains(&format!("test: {WORDS_OF_ANOTHER}")));
        let objects = self.folder.join(format!("api/{namespace}.json"));
        assert!(objects.is_file(), "no {}", objects.display());
    }

    fn assert_small(&self) {
        let sizes = files(&self.folder).into_iter();
        let size: u64 = sizes
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum();
        assert!(size < SIZE, "{} has {size} bytes", self.folder.display());
    }

    fn missing(&self) -> String {
        self.index["missing"].to_string()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

/// Checks that no planted secret and no terminal control is in any file.
fn assert_nothing_secret_in(folder: &Path) {
    let files = files(folder);
    assert!(!files.is_empty(), "nothing was kept");
    for file in files {
        let text = fs::read_to_string(&file).expect("it must be text");
        for secret in secrets() {
            assert!(!text.contains(secret), "{secret} is in {}", file.display());
        }
        let control = |c: char| c.is_control() && c != '\n';
        assert!(
            !text.contains(control),
            "{} has control characters",
            file.display()
        );
    }
}

#[tokio::test]
async fn a_kubelet_that_cannot_start_leaves_its_error_and_the_cause() -> Result<()> {
    let mut breaking = BreakingProcess::start("boot")?;
    let (status, said) = wait::at_most(LONG, breaking.end())
        .await
        .context("it took too long")??;
    assert!(!status.success());
    let bundles = breaking.bundles()?;
    let [bundle] = bundles.as_slice() else {
        panic!("{} bundles: {said}", bundles.len())
    };
    let words = "invalid configuration: cgroup";
    bundle.assert_has("kubelet.log", words);
    assert_eq!(bundle.index["reason"], "boot failed");
    assert_eq!(bundle.index["diagnosis"][0]["id"], "kubelet-cgroup-missing");
    for words in [
        "evidence  ",
        &bundle.folder.to_string_lossy(),
        "kubenest diagnose",
    ] {
        assert!(said.contains(words), "no '{words}' in: {said}");
    }
    bundle.assert_small();
    breaking.check_nothing_is_left().await
}

#[tokio::test]
async fn each_failure_of_a_cluster_leaves_its_decisive_line() -> Result<()> {
    let mut breaking = BreakingProcess::start("cases")?;
    let line = breaking.line().await?;
    let one = line.strip_prefix("one ").context(line.clone())?.to_owned();
    assert_eq!(breaking.line().await?, "another ended well: true");
    for case in ["planted", "containerd", "disk"] {
        let line = breaking.line().await?;
        let seconds = line
            .strip_prefix(case)
            .and_then(|rest| rest.split_whitespace().next());
        let seconds: f64 = seconds.with_context(|| line.clone())?.parse()?;
        assert!(seconds < SOON.as_secs_f64(), "evidence took {seconds} s");
    }
    assert!(breaking.line().await?.starts_with("api "));
    let (status, said) = wait::at_most(LONG, breaking.end())
        .await
        .context("it took too long")??;
    assert!(!status.success());
    let bundles = breaking.bundles()?;
    let [beside, planted, containerd, disk, api, broken, node] = bundles.as_slice() else {
        panic!("{} bundles: {said}", bundles.len())
    };
    beside.assert_is_of_one_of_two_cases(&one);
    assert_planted_is_redacted(planted);
    containerd.assert_has("/containerd.log", "status=9/KILL");
    disk.assert_has("/kubelet.log", "no space left on device");
    assert!(
        api.missing().contains("api/kube-system.json"),
        "{}",
        api.missing()
    );
    api.assert_has("/kubelet.log", "connection refused");
    assert!(
        node.missing().contains("exit code 137"),
        "{}",
        node.missing()
    );
    node.assert_has("/kubelet.log", "connection refused");
    assert_eq!(node.index["reason"], "panicked");
    assert_eq!(broken.index["reason"], "harness failed");
    breaking.check_verdicts()?;

    // A case's bundle is only about that case; the cluster's full logs are beside it.
    let planted_words = "planted jwt";
    for log in JOURNALS {
        planted.assert_has(log, planted_words);
        disk.assert_has(log, FIRST_WORDS);
        assert!(
            !disk.text(log).contains(planted_words),
            "{log} of another case"
        );
    }
    let full = breaking
        .home
        .path()
        .join(format!("cluster-{}", breaking.name));
    let full = Bundle {
        folder: full,
        index: Value::Null,
    };
    full.assert_has("/kubelet.log", planted_words);
    assert_nothing_secret_in(breaking.home.path());
    bundles.iter().for_each(Bundle::assert_small);
    breaking.check_nothing_is_left().await
}

/// Checks that the planted lines are in every source, with redacted secrets.
fn assert_planted_is_redacted(bundle: &Bundle) {
    let sources = [
        "/0.log",
        "/files/etc/containerd/config.toml",
        "api/events.json",
        "index.json",
        "index.html",
    ];
    for source in JOURNALS.into_iter().chain(sources) {
        bundle.assert_has(source, "planted jwt [redacted token]");
        bundle.assert_has(source, "planted [redacted by rule] of");
    }
    let objects = bundle.text(".json");
    assert!(
        objects.contains(r#""word": "[redacted data]""#),
        "the Secret is not there"
    );
    // This pod was deleted before the test failed.
    let files = files(&bundle.folder);
    let kept = files
        .iter()
        .find(|file| file.to_string_lossy().contains("_first-speaker_"));
    let kept = fs::read_to_string(kept.expect("a deleted pod's log must be there"));
    assert!(kept.expect("it must be text").contains("red <script>"));
}

#[tokio::test]
async fn a_process_ended_by_sigterm_leaves_evidence_and_nothing_else() -> Result<()> {
    let mut breaking = BreakingProcess::start("wait")?;
    assert_eq!(breaking.line().await?, "ready");
    let asked = Instant::now();
    breaking.signal("TERM").await?;
    let (status, said) = wait::at_most(LONG, breaking.end())
        .await
        .context("it took too long")??;
    let seconds = asked.elapsed().as_secs_f64();
    assert_eq!(status.code(), Some(143), "{said}");
    assert!(seconds < SOON.as_secs_f64(), "it took {seconds} s");
    let bundles = breaking.bundles()?;
    assert_eq!(bundles.len(), 1, "{said}");
    assert_eq!(bundles[0].index["reason"], "interrupted");
    bundles[0].assert_has("/speaker/0.log", "planted jwt [redacted token]");
    bundles[0].assert_has("/kubelet.log", "speaker");
    assert_nothing_secret_in(breaking.home.path());
    breaking.check_nothing_is_left().await
}

/// Both the cancelled boot and the signal handler want to collect evidence; only one may.
#[tokio::test]
async fn a_boot_cancelled_by_ctrl_c_leaves_one_bundle_with_its_nodes() -> Result<()> {
    let mut breaking = BreakingProcess::start("given-up")?;
    let docker = kubenest::engine::find().await?;
    let node = format!("{}-control-plane", breaking.name);
    let (look, words) = (["journalctl", "--unit=containerd"], "starting containerd");
    wait::until(words, LONG, async || {
        match docker.exec(&node, &look, None).await {
            Ok(said) if said.text().contains(words) => Probe::Ready(()),
            Ok(said) => Probe::Pending(said.stderr),
            Err(error) => Probe::Pending(error.report()),
        }
    })
    .await?;
    breaking.signal("INT").await?;
    let (status, said) = wait::at_most(LONG, breaking.end())
        .await
        .context("it took too long")??;
    assert_eq!(status.code(), Some(130), "{said}");
    let bundles = breaking.bundles()?;
    let [bundle] = bundles.as_slice() else {
        panic!("{} bundles: {said}", bundles.len())
    };
    assert_eq!(bundle.index["reason"], "interrupted");
    bundle.assert_has("/containerd.log", words);
    breaking.check_nothing_is_left().await
}

#[tokio::test]
async fn a_process_ended_by_sigkill_leaves_evidence_and_nothing_else() -> Result<()> {
    let mut breaking = BreakingProcess::start("wait")?;
    assert_eq!(breaking.line().await?, "ready");
    let named = find_in_cache(&breaking.name)?;
    let key = named.iter().find(|path| path.ends_with("kubeconfig"));
    assert!(key.is_some(), "{named:?}");
    let killed = Instant::now();
    breaking.child.kill().await?;
    let bundle = wait::until("evidence", SOON, async || {
        // Another process may have finished the evidence first.
        let (_, finished) = evidence::finish(kubenest::settings()).await;
        match (finished, breaking.bundles()) {
            (Err(error), _) => Probe::Failed(error),
            (_, Ok(mut found)) if !found.is_empty() => Probe::Ready(found.remove(0)),
            (_, found) => Probe::Pending(format!("{:?}", found.map(|found| found.len()))),
        }
    })
    .await?;
    println!(
        "evidence {:.1} s after kill -9",
        killed.elapsed().as_secs_f64()
    );
    assert_eq!(bundle.index["reason"], "killed");
    bundle.assert_has("/speaker/0.log", "planted jwt [redacted token]");
    bundle.assert_has("/kubelet.log", "speaker");
    bundle.assert_has("api/events.json", "speaker");
    assert_nothing_secret_in(breaking.home.path());
    bundle.assert_small();
    breaking.check_nothing_is_left().await?;

    // As `kubenest clean` does. It also removes the kubeconfig with the administrator's key.
    let docker = kubenest::engine::find().await?;
    let gone = kubenest::cluster::forget_dead(&[docker]).await?;
    assert!(gone.contains(&breaking.name), "{gone:?}");
    assert_eq!(find_in_cache(&breaking.name)?, Vec::<PathBuf>::new());
    Ok(())
}

/// All files and folders in the cache with a cluster's name, except in engines and built entries.
fn find_in_cache(name: &str) -> Result<Vec<PathBuf>> {
    let cache = &kubenest::settings().cache;
    let mut found = Vec::new();
    for entry in fs::read_dir(cache)? {
        let path = entry?.path();
        let place = path.file_name().unwrap_or_default().to_string_lossy();
        let kept = ["engine", "component", "layer", "tool", "apt"];
        if !kept.iter().any(|kept| place.starts_with(kept)) {
            found.extend(files(&path));
            found.extend(
                fs::read_dir(&path)
                    .into_iter()
                    .flatten()
                    .flatten()
                    .map(|entry| entry.path()),
            );
        }
    }
    found.retain(|path| path.to_string_lossy().contains(name));
    Ok(found)
}
