//! What is measured of boots, as the file of `--json` has it.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use kubenest::{Cluster, cluster::Phase};
use serde::{Deserialize, Serialize};

/// One run of the benchmark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// The release of kind.
    pub(crate) kind_version: String,
    pub(crate) setup: Setup,
    pub(crate) kubenest: Vec<Reading>,
    pub(crate) kind: Vec<Reading>,
}

/// What must be the same in two runs for a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    pub(crate) recipe: String,
    pub(crate) nodes: usize,
    /// How many clusters were booted at the same time.
    pub(crate) at_once: usize,
}

/// One boot. Times are since its begin; where there are several nodes, all must be Ready and
/// have a Ready pod, and memory and CPU are the sums over all.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Reading {
    pub(crate) api_ready_seconds: f64,
    pub(crate) node_ready_seconds: f64,
    pub(crate) pod_ready_seconds: f64,
    /// When a test can begin.
    pub(crate) first_line_seconds: f64,
    /// When the command or call that boots has ended.
    pub(crate) done_seconds: f64,
    pub(crate) node_peak_mib: f64,
    /// CPU time of the nodes until the first pod's Ready.
    pub(crate) node_cpu_seconds: f64,
    /// CPU time of the nodes until a test can begin.
    pub(crate) first_line_cpu_seconds: f64,
    /// Of the process that boots, not of the nodes.
    pub(crate) own_peak_mib: f64,
    /// The stages of the boot, one after the other; kind tells none.
    pub(crate) stages: Vec<Stage>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stage {
    pub(crate) name: String,
    pub(crate) seconds: f64,
}

/// A measure's name and its value in a reading; less is better.
pub(crate) type Field = (&'static str, fn(&Reading) -> f64);

pub(crate) const FIRST_LINE: Field = ("first line of a test, s", |r| r.first_line_seconds);
pub(crate) const FIELDS: [Field; 9] = [
    ("API ready, s", |r| r.api_ready_seconds),
    ("node Ready, s", |r| r.node_ready_seconds),
    ("first pod Ready, s", |r| r.pod_ready_seconds),
    FIRST_LINE,
    ("command done, s", |r| r.done_seconds),
    ("node's CPU until the first pod, s", |r| r.node_cpu_seconds),
    ("node's CPU until the first line, s", |r| {
        r.first_line_cpu_seconds
    }),
    ("node's peak memory, MiB", |r| r.node_peak_mib),
    ("own peak memory, MiB", |r| r.own_peak_mib),
];

impl Measurement {
    /// Reads the file of an earlier run.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let what = || format!("read the measurements in '{}'", path.display());
        let bytes = fs::read(path).with_context(what)?;
        let read: Self = serde_json::from_slice(&bytes).with_context(what)?;
        let whole = !read.kubenest.is_empty() && !read.kind.is_empty();
        ensure!(whole, "'{}' has no boots of both", path.display());
        Ok(read)
    }
}

impl Setup {
    /// As "3 nodes, 2 at once".
    pub(crate) fn describe(&self) -> String {
        let s = if self.nodes == 1 { "" } else { "s" };
        format!("{} node{s}, {} at once", self.nodes, self.at_once)
    }

    /// The names of a cluster's node containers, as kind and kubenest choose them.
    pub(crate) fn containers(&self, cluster: &str) -> Vec<String> {
        let workers = (1..self.nodes).map(|number| match number {
            1 => format!("{cluster}-worker"),
            _ => format!("{cluster}-worker{number}"),
        });
        let control_plane = format!("{cluster}-control-plane");
        std::iter::once(control_plane).chain(workers).collect()
    }
}

/// The stages of a cluster's boot.
pub(crate) fn stages(cluster: &Cluster) -> Vec<Stage> {
    let stage = |phase: &Phase| Stage {
        name: phase.name.clone(),
        seconds: phase.seconds,
    };
    cluster.phases().iter().map(stage).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A run whose boots took these times to the first line of a test; kind's took twice as long.
    pub(crate) fn measurement(first_lines: &[f64]) -> Measurement {
        let reading = |seconds: f64| Reading {
            api_ready_seconds: seconds * 0.5,
            node_ready_seconds: seconds * 0.55,
            pod_ready_seconds: seconds * 0.75,
            first_line_seconds: seconds,
            done_seconds: seconds * 0.95,
            node_peak_mib: 350.0,
            node_cpu_seconds: 7.5,
            first_line_cpu_seconds: 9.0,
            own_peak_mib: 30.0,
            stages: Vec::new(),
        };
        let kinds = first_lines.iter().map(|seconds| reading(seconds * 2.0));
        Measurement {
            kind_version: "0.33.0".to_owned(),
            setup: Setup {
                recipe: "v1".to_owned(),
                nodes: 1,
                at_once: 1,
            },
            kubenest: first_lines
                .iter()
                .map(|seconds| reading(*seconds))
                .collect(),
            kind: kinds.collect(),
        }
    }

    #[test]
    fn containers_are_named_as_kind_names_them() {
        let setup = Setup {
            nodes: 3,
            ..measurement(&[1.0]).setup
        };
        assert_eq!(
            setup.containers("a"),
            ["a-control-plane", "a-worker", "a-worker2"]
        );
    }

    #[test]
    fn a_measurement_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let written = serde_json::to_string(&measurement(&[1.5, 2.0])).unwrap();
        fs::write(&path, &written).unwrap();
        let read = Measurement::read(&path).unwrap();
        assert_eq!(read.setup, measurement(&[1.0]).setup);
        let (_, first_line) = FIRST_LINE;
        let first_lines: Vec<_> = read.kubenest.iter().map(first_line).collect();
        assert_eq!(first_lines, [1.5, 2.0]);
        fs::write(&path, written.replace("first_line_seconds", "x")).unwrap();
        let error = format!("{:#}", Measurement::read(&path).unwrap_err());
        assert!(
            error.contains("missing field `first_line_seconds`"),
            "{error}"
        );
    }
}
