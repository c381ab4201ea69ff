//! The evidence of a slow, paused or frozen node still has its journals.
#![expect(clippy::print_stdout, reason = "how long it took, for people")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use harness_selfcheck::{RECIPE, docker};
use kubenest::{Cluster, ClusterSpec, evidence::Bundle};

/// Limits the node, with its whole control plane, to a twentieth of a core.
const THROTTLE: [&str; 5] = ["update", "--cpu-period", "100000", "--cpu-quota", "5000"];
const UNTHROTTLE: [&str; 5] = ["update", "--cpu-period", "100000", "--cpu-quota", "-1"];

#[tokio::test]
async fn a_node_that_cannot_answer_leaves_its_journals() -> Result<()> {
    let cluster = ClusterSpec::single_node()
        .with_recipe(RECIPE)?
        .boot()
        .await?;
    let node = cluster.control_plane().name().to_owned();
    let engine = cluster.docker().clone();
    let on_node = async |command: &[&str]| docker(&engine, &[command, &[&node]].concat()).await;

    on_node(&THROTTLE).await?;
    let throttled = evidence("throttled", &cluster).await;
    on_node(&UNTHROTTLE).await?;
    assert_has_journals(throttled?)?;

    on_node(&["pause"]).await?;
    let paused = evidence("paused", &cluster).await;
    on_node(&["unpause"]).await?;
    assert_has_journals(paused?)?;

    // The engine does not know that the node is frozen, so its commands in the node never end.
    let id = on_node(&["inspect", "--format", "{{.Id}}"]).await?;
    let freezer = Freezer::of(&id)?;
    freezer.set(true)?;
    let frozen = evidence("frozen", &cluster).await;
    freezer.set(false)?;
    assert_has_journals(frozen?)?;
    Ok(cluster.down().await?)
}

async fn evidence(what: &str, cluster: &Cluster) -> Result<Bundle> {
    let begin = Instant::now();
    let kept = cluster.evidence().await?;
    println!(
        "{what}: {:.1} s, {:?}",
        begin.elapsed().as_secs_f64(),
        kept.missing
    );
    Ok(kept)
}

fn assert_has_journals(kept: Bundle) -> Result<()> {
    let folder = fs::read_dir(kept.folder.join("nodes"))?.next();
    let node = folder.context("no node is in it")??.path();
    for (journal, words) in [
        ("containerd.log", "containerd successfully booted"),
        ("kubelet.log", "kubelet"),
    ] {
        let text = fs::read_to_string(node.join(journal)).unwrap_or_default();
        ensure!(
            text.contains(words),
            "no '{words}' in {journal}: {:?}",
            kept.missing
        );
    }
    Ok(fs::remove_dir_all(&kept.folder)?)
}

/// Freezes all processes of a container, in cgroups of either version.
struct Freezer {
    file: PathBuf,
    words: [&'static str; 2],
}

impl Freezer {
    fn of(id: &str) -> Result<Self> {
        let kinds = [
            ("freezer/", "freezer.state", ["THAWED", "FROZEN"]),
            ("", "cgroup.freeze", ["0", "1"]),
        ];
        let found = kinds.into_iter().find_map(|(below, file, words)| {
            let root = Path::new("/sys/fs/cgroup").join(below);
            let file = group_of(&root, id, 4)?.join(file);
            file.is_file().then_some(Self { file, words })
        });
        found.with_context(|| format!("no cgroup of {id}"))
    }

    fn set(&self, frozen: bool) -> Result<()> {
        Ok(fs::write(&self.file, self.words[usize::from(frozen)])?)
    }
}

/// A frozen node could not be removed.
impl Drop for Freezer {
    fn drop(&mut self) {
        self.set(false).ok();
    }
}

fn group_of(folder: &Path, id: &str, depth: usize) -> Option<PathBuf> {
    let folders = || {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
    };
    let own = folders().find(|path| path.to_string_lossy().contains(id));
    own.or_else(|| {
        let below = depth.checked_sub(1)?;
        folders().find_map(|folder| group_of(&folder, id, below))
    })
}
