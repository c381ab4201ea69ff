//! Check `daemon`: the running runtime is the installed one.

use super::{Check, Facts, Name, When, every_runtime};
use crate::health::{
    Expected,
    facts::{Fact, Probe, require},
    outcome::Outcome,
};
use kubenest_node::node::Runtime;

pub(super) const CHECK: Check = Check {
    name: Name::Daemon,
    when: When::RuntimeRuns,
    applies: every_runtime,
    judge,
};

/// The running process of the runtime.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::health) struct Daemon {
    /// Target of `/proc/<pid>/exe`; ends in ` (deleted)` when the file was replaced.
    pub(super) exe: String,
    pub(super) cwd: String,
    /// The PATH of the process.
    pub(super) path: String,
}

impl Daemon {
    /// The executable's path, also when another file has replaced it.
    pub(super) fn exe_path(&self) -> &str {
        self.exe.strip_suffix(" (deleted)").unwrap_or(&self.exe)
    }
}

pub(in crate::health) fn read(probe: &Probe, runtime: Runtime) -> Fact<Daemon> {
    let mut lines = probe.part("daemon")?.lines().map(str::to_owned);
    let (Some(exe), Some(cwd)) = (lines.next(), lines.next()) else {
        return Err(format!("{}.service has no process", runtime.service()));
    };
    Ok(Daemon {
        exe,
        cwd,
        path: lines.next().unwrap_or_default(),
    })
}

fn judge(facts: &Facts, _: &Expected) -> Fact<Outcome> {
    let daemon = require(&facts.daemon)?;
    let version = &require(&facts.cri.version)?.runtime_version;
    let replaced = daemon.exe != daemon.exe_path();
    let observed = match replaced {
        true => format!(
            "{version} runs, but {} was replaced since",
            daemon.exe_path()
        ),
        false => format!("{version} from {}", daemon.exe),
    };
    let cure = facts.runtime.restart_cure();
    Ok(Outcome::when(!replaced, observed, cure))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::health::{checks::tests::fires, facts::tests::printed};

    pub(in super::super) fn good() -> Daemon {
        Daemon {
            exe: "/usr/local/bin/containerd".to_owned(),
            cwd: "/".to_owned(),
            path: "/usr/local/bin:/usr/bin".to_owned(),
        }
    }

    #[test]
    fn a_daemon_is_read_with_its_path_and_missed_by_its_service() {
        let text = "@@daemon\n/usr/local/bin/containerd (deleted)\n/\n/usr/local/bin:/usr/bin";
        let daemon = read(&printed(text), Runtime::Containerd).expect("must parse");
        assert_eq!(daemon.exe_path(), "/usr/local/bin/containerd");
        assert_eq!(daemon.path, "/usr/local/bin:/usr/bin");
        let missing = |runtime| read(&printed("@@daemon\n"), runtime).unwrap_err();
        insta::assert_snapshot!(missing(Runtime::Containerd), @"containerd.service has no process");
        insta::assert_snapshot!(missing(Runtime::CriO), @"crio.service has no process");
    }

    #[test]
    fn daemon_must_be_the_installed_one() {
        let finding = fires("daemon", |facts| {
            facts.daemon.as_mut().unwrap().exe.push_str(" (deleted)");
        });
        insta::assert_snapshot!(
            finding.observed,
            @"v2.0.2 runs, but /usr/local/bin/containerd was replaced since"
        );
    }
}
