//! What CRI-O makes containers of, in place of containerd's snapshotter and shim: its storage
//! driver and pins, and the OCI runtime and the monitor of the default handler.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Facts;
use crate::health::{
    facts::{Fact, Probe, require},
    outcome::Outcome,
};

/// CRI-O's word for the overlay file system.
const OVERLAY: &str = "overlay";

/// How the running CRI-O is set up, and what its programs say.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::health) struct Crio {
    config: Config,
    programs: Vec<Program>,
}

/// The part of CRI-O's configuration in effect that decides how pods start.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Config {
    storage_driver: String,
    runtime: RuntimeConfig,
    image: ImageConfig,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct RuntimeConfig {
    default_runtime: String,
    runtimes: BTreeMap<String, Handler>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Handler {
    runtime_path: String,
    monitor_path: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct ImageConfig {
    pinned_images: Vec<String>,
}

/// A program that CRI-O starts for each container.
#[derive(Debug, Clone, PartialEq)]
struct Program {
    path: String,
    runs: bool,
    /// The first line that it says of its version, or of its failure.
    says: String,
}

pub(in crate::health) fn read(probe: &Probe) -> Fact<Crio> {
    #[derive(Deserialize)]
    struct Root {
        crio: Config,
    }
    let root: Root = toml::from_str(probe.part("crio")?)
        .map_err(|error| format!("`crio status config`: {error}"))?;
    let programs = probe.part("programs")?.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ');
        let (status, path) = (words.next()?, words.next()?);
        Some(Program {
            path: path.to_owned(),
            runs: status == "0",
            says: words.next().unwrap_or_default().to_owned(),
        })
    });
    Ok(Crio {
        config: root.crio,
        programs: programs.collect(),
    })
}

/// Judges the store of images.
pub(super) fn judge_storage(facts: &Facts) -> Fact<Outcome> {
    let config = &require(&facts.crio)?.config;
    let (driver, pins) = (&config.storage_driver, config.image.pinned_images.len());
    Ok(Outcome::when(
        driver == OVERLAY && pins > 0,
        format!("{driver} (expected {OVERLAY}), {pins} names pinned"),
        "set storage_driver and pinned_images in /etc/crio/crio.conf.d, then systemctl restart crio",
    ))
}

/// Judges the programs of the default handler.
pub(super) fn judge_programs(facts: &Facts) -> Fact<Outcome> {
    let Crio { config, programs } = require(&facts.crio)?;
    let name = &config.runtime.default_runtime;
    let cure = "install it, or name another in /etc/crio/crio.conf.d, then systemctl restart crio";
    let Some(handler) = config.runtime.runtimes.get(name) else {
        return Ok(Outcome::failed(format!("no handler '{name}'"), cure));
    };
    let (mut said, mut all_run) = (Vec::new(), true);
    for path in [&handler.runtime_path, &handler.monitor_path] {
        let program = programs.iter().find(|program| program.path == *path);
        all_run &= program.is_some_and(|program| program.runs);
        said.push(match program {
            Some(program) => format!("{} ({path})", program.says),
            None => format!("'{path}' was not tried"),
        });
    }
    let observed = format!("handler {name}: {}", said.join(", "));
    Ok(Outcome::when(all_run, observed, cure))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::health::{
        Expected,
        checks::{shim, snapshotter, tests::good as good_node},
        facts::tests::printed,
        report::Verdict,
    };
    use kubenest_node::node::Runtime;

    const CONFIG: &str = r#"
[crio]
  root = "/var/lib/containers/storage"
  storage_driver = "overlay"
  [crio.runtime]
    default_runtime = "runc"
    [crio.runtime.runtimes]
      [crio.runtime.runtimes.runc]
        runtime_path = "/usr/sbin/runc"
        monitor_path = "/usr/bin/conmon"
  [crio.image]
    pinned_images = ["registry.k8s.io/pause:3.10"]
"#;
    const PROGRAMS: &str = "0 /usr/sbin/runc runc version 1.1.5\n0 /usr/bin/conmon conmon 2.1.6";

    fn crio(config: &str, programs: &str) -> Fact<Crio> {
        read(&printed(&format!(
            "@@crio\n{config}\n@@programs\n{programs}"
        )))
    }

    pub(in super::super) fn good() -> Fact<Crio> {
        crio(CONFIG, PROGRAMS)
    }

    fn judged(config: &str, programs: &str) -> [(Verdict, String); 2] {
        let mut facts = good_node();
        facts.runtime = Runtime::CriO;
        facts.crio = crio(config, programs);
        [snapshotter::CHECK, shim::CHECK].map(|check| {
            let finding = check.judge("cp-1", &facts, &Expected::default());
            (finding.verdict, finding.observed)
        })
    }

    #[test]
    fn a_good_crio_passes() {
        let [storage, programs] = judged(CONFIG, PROGRAMS);
        assert_eq!(
            (&storage.0, &programs.0),
            (&Verdict::Passed, &Verdict::Passed)
        );
        insta::assert_snapshot!(storage.1, @"overlay (expected overlay), 1 names pinned");
        insta::assert_snapshot!(
            programs.1,
            @"handler runc: runc version 1.1.5 (/usr/sbin/runc), conmon 2.1.6 (/usr/bin/conmon)"
        );
    }

    #[test]
    fn another_driver_and_no_pin_are_failures() {
        for config in [
            CONFIG.replace("overlay", "vfs"),
            CONFIG.replace(r#"["registry.k8s.io/pause:3.10"]"#, "[]"),
        ] {
            assert_eq!(judged(&config, PROGRAMS)[0].0, Verdict::Failed, "{config}");
        }
    }

    #[test]
    fn a_handler_needs_both_of_its_programs() {
        let failed = |config: &str, programs: &str| {
            let [_, (verdict, observed)] = judged(config, programs);
            assert_eq!(verdict, Verdict::Failed);
            observed
        };
        let broken = PROGRAMS.replace("0 /usr/bin/conmon conmon 2.1.6", "127 /usr/bin/conmon none");
        insta::assert_snapshot!(
            failed(CONFIG, &broken),
            @"handler runc: runc version 1.1.5 (/usr/sbin/runc), none (/usr/bin/conmon)"
        );
        assert!(failed(CONFIG, "").contains("was not tried"));
        let other = CONFIG.replace("= \"runc\"", "= \"crun\"");
        insta::assert_snapshot!(failed(&other, PROGRAMS), @"no handler 'crun'");
    }

    #[test]
    fn an_answer_that_is_no_configuration_is_no_fact() {
        assert!(crio("cannot connect", PROGRAMS).is_err());
    }
}
