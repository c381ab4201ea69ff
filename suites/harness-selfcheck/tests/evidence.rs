//! What is kept of failures: the line that tells it, soon, within bounds, without secrets, and
//! nothing of the cluster after it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use harness_selfcheck::{
    left_of,
    planted::{FIRST_WORDS, PATTERN, WORDS_OF_ANOTHER, WORDS_OF_ONE, secrets},
    unique_name,
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

/// Until evidence is there; it takes about two seconds on an idle machine.
const SOON: Duration = Duration::from_secs(60);
/// All of a boot and its cases, on a busy machine.
const LONG: Duration = Duration::from_secs(240);
/// What is read of a node's journal.
const JOURNALS: [&str; 4] = [
    "/kubelet.log",
    "/containerd.log",
    "/journal.log",
    "/kernel.log",
];
/// The folder of verdicts, beside bundles.
const VERDICTS: &str = "verdicts";
/// Bytes of a bundle.
const SIZE: u64 = 16 << 20;

/// A process that breaks its cluster.
struct Breaking {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    name: String,
    home: TempDir,
}

/// What was kept.
struct Bundle {
    folder: PathBuf,
    index: Value,
}

impl Breaking {
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
            // Its failures are what the test is about, not the test's own.
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

    /// Its status, and what it wrote to standard error.
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

    /// The bundles there are, in the order they were made.
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

    /// How its cases ended, in that order: what the harness could not do is no failure of the
    /// body that hands it on.
    fn tells_red_from_broken(&self) -> Result<()> {
        let mut files = files(&self.home.path().join(VERDICTS));
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

    /// Nothing of the cluster is left, and nothing raw.
    async fn leaves_nothing(&self) -> Result<()> {
        let docker = kubenest::engine::find().await?;
        wait::until("the cluster's end", SOON, async || {
            match left_of(&docker, &self.name).await {
                Ok(left) if left.is_empty() => Probe::Ready(()),
                Ok(left) => Probe::Pending(left.join(" ")),
                Err(error) => Probe::Pending(format!("{error:#}")),
            }
        })
        .await?;
        let raw = kubenest_base::settings::settings()
            .cache
            .join("killed")
            .join(&self.name);
        assert!(!raw.exists(), "'{}' is left", raw.display());
        Ok(())
    }
}

impl Bundle {
    /// All files whose path ends so, as one text.
    fn text(&self, end: &str) -> String {
        let files = files(&self.folder).into_iter();
        let found = files.filter(|file| file.to_string_lossy().ends_with(end));
        let texts: Vec<_> = found
            .map(|file| fs::read_to_string(file).unwrap_or_default())
            .collect();
        texts.concat()
    }

    fn tells(&self, file: &str, words: &str) {
        let text = self.text(file);
        assert!(
            text.contains(words),
            "no '{words}' in {file} of {}, which lacks {}",
            self.folder.display(),
            self.missing()
        );
    }

    /// The time, the steps and the objects are those of the case of this namespace, which failed
    /// while another ran.
    fn is_of_one_of_two_cases(&self, namespace: &str) {
        assert_eq!(self.index["case"], namespace);
        for file in ["/kubelet.log", "/index.html"] {
            self.tells(file, WORDS_OF_ONE);
        }
        let page = self.text("/index.html");
        assert!(!page.contains(&format!("test: {WORDS_OF_ANOTHER}")));
        let objects = self.folder.join(format!("api/{namespace}.json"));
        assert!(objects.is_file(), "no {}", objects.display());
    }

    fn is_small(&self) {
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

/// Searches all that was kept for what was planted, and for what steers a terminal.
fn nothing_secret_is_in(folder: &Path) {
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
async fn a_kubelet_that_cannot_start_leaves_its_words_and_the_cause() -> Result<()> {
    let mut breaking = Breaking::start("boot")?;
    let (status, said) = wait::at_most(LONG, breaking.end())
        .await
        .context("it took too long")??;
    assert!(!status.success());
    let bundles = breaking.bundles()?;
    let [bundle] = bundles.as_slice() else {
        panic!("{} bundles: {said}", bundles.len())
    };
    let words = "invalid configuration: cgroup";
    bundle.tells("kubelet.log", words);
    assert_eq!(bundle.index["reason"], "boot failed");
    assert_eq!(bundle.index["diagnosis"][0]["id"], "kubelet-cgroup-missing");
    for words in [
        "evidence  ",
        &bundle.folder.to_string_lossy(),
        "kubenest diagnose",
    ] {
        assert!(said.contains(words), "no '{words}' in: {said}");
    }
    bundle.is_small();
    breaking.leaves_nothing().await
}

#[tokio::test]
async fn each_failure_of_a_cluster_leaves_the_line_that_tells_it() -> Result<()> {
    let mut breaking = Breaking::start("cases")?;
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
    beside.is_of_one_of_two_cases(&one);
    planted_is_found_redacted(planted);
    containerd.tells("/containerd.log", "status=9/KILL");
    disk.tells("/kubelet.log", "no space left on device");
    assert!(
        api.missing().contains("api/kube-system.json"),
        "{}",
        api.missing()
    );
    api.tells("/kubelet.log", "connection refused");
    assert!(
        node.missing().contains("exit code 137"),
        "{}",
        node.missing()
    );
    node.tells("/kubelet.log", "connection refused");
    assert_eq!(node.index["reason"], "panicked");
    assert_eq!(broken.index["reason"], "harness failed");
    breaking.tells_red_from_broken()?;

    // A case's bundle is about that case; the cluster's full logs are beside it.
    let planted_words = "planted jwt";
    for log in JOURNALS {
        planted.tells(log, planted_words);
        disk.tells(log, FIRST_WORDS);
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
    full.tells("/kubelet.log", planted_words);
    nothing_secret_is_in(breaking.home.path());
    bundles.iter().for_each(Bundle::is_small);
    breaking.leaves_nothing().await
}

/// Each source was planted in, and each kind of secret was there.
fn planted_is_found_redacted(bundle: &Bundle) {
    let sources = [
        "/0.log",
        "/files/etc/containerd/config.toml",
        "api/events.json",
        "index.json",
        "index.html",
    ];
    for source in JOURNALS.into_iter().chain(sources) {
        bundle.tells(source, "planted jwt [redacted token]");
        bundle.tells(source, "planted [redacted by rule] of");
    }
    let objects = bundle.text(".json");
    assert!(
        objects.contains(r#""word": "[redacted data]""#),
        "the Secret is not there"
    );
    // It was deleted before the test failed.
    let files = files(&bundle.folder);
    let kept = files
        .iter()
        .find(|file| file.to_string_lossy().contains("_first-speaker_"));
    let kept = fs::read_to_string(kept.expect("a deleted pod's log must be there"));
    assert!(kept.expect("it must be text").contains("red <script>"));
}

#[tokio::test]
async fn a_process_ended_by_sigterm_leaves_evidence_and_nothing_else() -> Result<()> {
    let mut breaking = Breaking::start("wait")?;
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
    bundles[0].tells("/speaker/0.log", "planted jwt [redacted token]");
    bundles[0].tells("/kubelet.log", "speaker");
    nothing_secret_is_in(breaking.home.path());
    breaking.leaves_nothing().await
}

/// Two are about to look at the nodes: whoever gave the boot up, and whoever saw the signal.
#[tokio::test]
async fn a_boot_given_up_by_ctrl_c_leaves_one_bundle_of_nodes_that_were_there() -> Result<()> {
    let mut breaking = Breaking::start("given-up")?;
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
    bundle.tells("/containerd.log", words);
    breaking.leaves_nothing().await
}

#[tokio::test]
async fn a_process_ended_by_sigkill_leaves_evidence_and_nothing_else() -> Result<()> {
    let mut breaking = Breaking::start("wait")?;
    assert_eq!(breaking.line().await?, "ready");
    let named = named_in_cache(&breaking.name)?;
    let key = named.iter().find(|path| path.ends_with("kubeconfig"));
    assert!(key.is_some(), "{named:?}");
    let killed = Instant::now();
    breaking.child.kill().await?;
    let bundle = wait::until("evidence", SOON, async || {
        // Another process may have been first.
        let (_, finished) = evidence::finish().await;
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
    bundle.tells("/speaker/0.log", "planted jwt [redacted token]");
    bundle.tells("/kubelet.log", "speaker");
    bundle.tells("api/events.json", "speaker");
    nothing_secret_is_in(breaking.home.path());
    bundle.is_small();
    breaking.leaves_nothing().await?;

    // As `kubenest clean` does; the administrator's key goes with the cluster.
    let docker = kubenest::engine::find().await?;
    let gone = kubenest::cluster::forget_dead(&[docker]).await?;
    assert!(gone.contains(&breaking.name), "{gone:?}");
    assert_eq!(named_in_cache(&breaking.name)?, Vec::<PathBuf>::new());
    Ok(())
}

/// What of the cache bears a cluster's name, whatever it is, outside engines and built entries.
fn named_in_cache(name: &str) -> Result<Vec<PathBuf>> {
    let cache = &kubenest_base::settings::settings().cache;
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
