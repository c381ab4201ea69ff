//! Helpers of the kind-node-compat suite: the matrix as it is told, as kind shows it and as the
//! health gate sees it.

use std::{fmt, time::Duration};

use anyhow::{Context, Result, bail};
use kubenest::{
    Case, ErrorKind,
    engine::Docker,
    health::Expected,
    images::SmallImage,
    wait::{self, Probe},
};
use kubenest_fixtures::{kind::Kind, registry::LocalRegistry};
use kubenest_health::health;
use kubenest_recipe::compat::{self, Verdict};

/// The node whose containerd writes its configuration in version 2.
pub const CONTAINERD_1_7: &str = "v1.32.1-containerd-1.7.24";
/// In version 3.
pub const CONTAINERD_2_0: &str = "v1.32.1-containerd-2.0.2";
/// In version 3 too, and what it unpacks for another snapshotter has been seen to fail.
pub const CONTAINERD_2_1: &str = "v1.32.1-containerd-2.1.9";
/// In version 4.
pub const CONTAINERD_2_3: &str = "v1.32.1-containerd-2.3.4";

/// What kind v0.26 says to a configuration of version 3 and later.
pub const NOT_DETECTED: &str = "ERROR: failed to detect containerd snapshotter";
/// What kind v0.27 to v0.31 says to one of version 4.
pub const UNKNOWN_VERSION: &str =
    "ERROR: unknown containerd config version: 4 (supported versions: 2 and 3)";

/// How soon CRI sees an image that is there.
const SEEN: Duration = Duration::from_secs(60);

/// Whether images can be loaded, and if not, the words against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loads {
    /// They can.
    Yes,
    /// They cannot.
    No(String),
}

impl fmt::Display for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Yes => f.write_str("loads"),
            Self::No(words) => write!(f, "fails: {words}"),
        }
    }
}

/// One kind release on the containerd of one node, by three witnesses.
#[derive(Debug, Clone)]
pub struct Cell {
    /// Which release.
    pub kind: String,
    /// Which containerd.
    pub containerd: String,
    /// What kubenest's table says.
    pub told: Loads,
    /// What the real CLI did.
    pub seen: Loads,
    /// What the health gate says to a node that this release is to load into.
    pub gate: Loads,
}

impl Cell {
    /// Whether the witnesses agree; the table also has to know the words.
    fn agrees(&self) -> bool {
        let words = match (&self.told, &self.seen) {
            (Loads::Yes, Loads::Yes) => true,
            (Loads::No(told), Loads::No(seen)) => seen.contains(told),
            _ => false,
        };
        words && (self.gate == Loads::Yes) == (self.seen == Loads::Yes)
    }
}

/// Runs these kind releases against the case's cluster.
pub async fn cells(case: &Case<'_>, kinds: &[&str]) -> Result<Vec<Cell>> {
    let containerd = &case.cluster().versions().containerd;
    let mut cells = Vec::new();
    for kind in kinds {
        let seen = seen(case, kind).await?;
        if seen != Loads::Yes {
            case.note_failure_shown();
        }
        cells.push(Cell {
            kind: (*kind).to_owned(),
            containerd: containerd.clone(),
            told: told(kind, containerd)?,
            seen,
            gate: gate(case, kind).await?,
        });
    }
    case.note_observed(
        table(&cells, |cell| &cell.told),
        table(&cells, |cell| &cell.seen),
    );
    Ok(cells)
}

/// Fails with all tables when a cell is not what the table says.
///
/// # Panics
/// The witnesses differ.
pub fn assert_agreed(cells: &[Cell]) {
    let differ: Vec<_> = cells.iter().filter(|cell| !cell.agrees()).collect();
    assert!(
        differ.is_empty(),
        "the table is not what happens\ntold:\n{}\nseen:\n{}\nby the gate:\n{}",
        table(cells, |cell| &cell.told),
        table(cells, |cell| &cell.seen),
        table(cells, |cell| &cell.gate),
    );
}

fn table(cells: &[Cell], column: impl Fn(&Cell) -> &Loads) -> String {
    let rows = cells.iter().map(|cell| {
        let Cell {
            kind, containerd, ..
        } = cell;
        format!("kind {kind:7} containerd {containerd:7} {}", column(cell))
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn told(kind: &str, containerd: &str) -> Result<Loads> {
    match compat::loader(&kind.parse()?, &containerd.parse()?) {
        Verdict::KnownGood => Ok(Loads::Yes),
        Verdict::KnownBad { says, .. } => Ok(Loads::No(says)),
        Verdict::Unknown { why } => bail!("the table has no such cell: {why}"),
    }
}

async fn seen(case: &Case<'_>, release: &str) -> Result<Loads> {
    let cluster = case.cluster();
    let kind = Kind::release(release).await?;
    let mark = format!("loaded by kind {release} in {}", case.namespace());
    let image = SmallImage::load(cluster.docker(), &mark).await?;
    let loaded = kind.load(cluster, image.reference()).await?;
    let cri = case.node().cri().await?;
    // CRI hears of what others imported a moment later.
    let sees = wait::until("CRI to see the image", SEEN, async || {
        match cri.image(image.reference()).await {
            Ok(Some(_)) => Probe::Ready(true),
            Ok(None) if loaded.status.success() => Probe::Pending("it does not".into()),
            Ok(None) => Probe::Ready(false),
            Err(error) => Probe::Failed(error),
        }
    });
    let there = match sees.await {
        Err(error) if error.kind() == ErrorKind::Timeout => false,
        sees => sees?,
    };
    image.remove().await?;
    let last = loaded.stderr.trim().lines().last().unwrap_or_default();
    Ok(match (loaded.status.success(), there) {
        (true, true) => Loads::Yes,
        (true, false) => Loads::No("kind succeeds, and the node has no image".into()),
        (false, _) => Loads::No(last.to_owned()),
    })
}

async fn gate(case: &Case<'_>, release: &str) -> Result<Loads> {
    let expected = Expected::default().with_loader(release.parse()?);
    match health::gate_runtime(case.cluster().nodes(), &expected).await {
        Ok(_) => Ok(Loads::Yes),
        Err(error) if is_loaders(&error) => Ok(Loads::No(error.report())),
        Err(error) => Err(error.into()),
    }
}

/// Whether the check of the loader refused, and no other.
pub fn is_loaders(error: &kubenest::Error) -> bool {
    let report = error.report();
    error.kind() == ErrorKind::Refused
        && report.contains("health check 'loader' failed")
        && !report.contains("; also ")
}

/// Publishes an image with a content of its own as `team/node:v1`, and returns its id and its
/// digest. The engine does not have it afterwards.
pub async fn publish(
    docker: &Docker,
    registry: &LocalRegistry,
    mark: &str,
) -> Result<(String, String)> {
    let image = SmallImage::load(docker, mark).await?;
    let found = docker.image(image.reference()).await?;
    let id = found.context("the image just loaded is gone")?.id;
    let published = registry
        .publish(image.reference(), "team/node", "v1")
        .await?;
    image.remove().await?;
    let (_, digest) = published.split_once('@').context("not by digest")?;
    Ok((id, digest.to_owned()))
}
