//! Helpers of the kind-node-compat suite: the matrix of kind and containerd according to kubenest's
//! table, to the real kind and to the health gate.

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

/// A node whose containerd writes its configuration in version 2.
pub const CONTAINERD_1_7: &str = "v1.32.1-containerd-1.7.24";
/// A node with configuration version 3.
pub const CONTAINERD_2_0: &str = "v1.32.1-containerd-2.0.2";
/// A node with configuration version 3, whose imports for another snapshotter are known to fail.
pub const CONTAINERD_2_1: &str = "v1.32.1-containerd-2.1.9";
/// A node with configuration version 4.
pub const CONTAINERD_2_3: &str = "v1.32.1-containerd-2.3.4";

/// A node of a later release with that version.
pub const CONTAINERD_2_4: &str = "v1.32.1-containerd-2.4.2";

/// The error of kind v0.26 for a configuration of version 3 or later.
pub const NOT_DETECTED: &str = "ERROR: failed to detect containerd snapshotter";
/// The error of kind v0.27 to v0.31 for a configuration of version 4.
pub const UNKNOWN_VERSION: &str =
    "ERROR: unknown containerd config version: 4 (supported versions: 2 and 3)";

/// How long CRI may take to see an imported image.
const SEEN: Duration = Duration::from_secs(60);

/// Whether images can be loaded, and the error if not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loads {
    /// They can be loaded.
    Yes,
    /// They cannot be loaded; the error.
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

/// One kind release on the containerd of one node, judged in three ways.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The kind release.
    pub kind: String,
    /// The containerd release.
    pub containerd: String,
    /// The verdict of kubenest's table.
    pub told: Loads,
    /// The result of the real CLI.
    pub seen: Loads,
    /// The verdict of the health gate when this kind release is expected to load images.
    pub gate: Loads,
}

impl Cell {
    /// Whether the three agree; the table must also have the right error message.
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
        let seen = load_with_kind(case, kind).await?;
        if seen != Loads::Yes {
            case.note_failure_shown();
        }
        cells.push(Cell {
            kind: (*kind).to_owned(),
            containerd: containerd.clone(),
            told: table_verdict(kind, containerd)?,
            seen,
            gate: gate_verdict(case, kind).await?,
        });
    }
    case.note_observed(
        table(&cells, |cell| &cell.told),
        table(&cells, |cell| &cell.seen),
    );
    Ok(cells)
}

/// Fails with all three tables if they disagree in a cell.
///
/// # Panics
/// A cell differs.
pub fn assert_agreement(cells: &[Cell]) {
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

fn table_verdict(kind: &str, containerd: &str) -> Result<Loads> {
    match compat::loader(&kind.parse()?, &containerd.parse()?) {
        Verdict::KnownGood => Ok(Loads::Yes),
        Verdict::KnownBad { says, .. } => Ok(Loads::No(says)),
        Verdict::Unknown { why } => bail!("the table has no such cell: {why}"),
    }
}

async fn load_with_kind(case: &Case<'_>, release: &str) -> Result<Loads> {
    let cluster = case.cluster();
    let kind = Kind::release(release).await?;
    let mark = format!("loaded by kind {release} in {}", case.namespace());
    let image = SmallImage::load(cluster.docker(), &mark).await?;
    let loaded = kind.load(cluster, image.reference()).await?;
    let cri = case.node().cri().await?;
    // CRI sees images that other clients imported with a short delay.
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

async fn gate_verdict(case: &Case<'_>, release: &str) -> Result<Loads> {
    let expected = Expected::default().with_loader(release.parse()?);
    match health::gate_runtime(case.cluster().nodes(), &expected).await {
        Ok(_) => Ok(Loads::Yes),
        Err(error) if is_refused_by_loader(&error) => Ok(Loads::No(error.report())),
        Err(error) => Err(error.into()),
    }
}

/// Whether only the loader check refused.
pub fn is_refused_by_loader(error: &kubenest::Error) -> bool {
    let report = error.report();
    error.kind() == ErrorKind::Refused
        && report.contains("health check 'loader' failed")
        && !report.contains("; also ")
}

/// Publishes an image with unique content as `team/node:v1`, and returns its id and digest. The
/// engine does not keep the image.
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
