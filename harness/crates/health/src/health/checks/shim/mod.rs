//! Check `shim`: every runc shim that containerd would start answers in a format that containerd
//! reads; CRI-O's monitor and OCI runtime run.

mod generation;

use std::time::Duration;

use futures::future::join_all;

pub(super) use self::generation::Generation;
use super::{
    Check, Facts, Name, When,
    cri::{Answers, OciRuntime},
    crio,
    daemon::Daemon,
    every_runtime,
};
use crate::health::{
    Expected,
    facts::{Fact, require, within},
    outcome::Outcome,
};
use kubenest_base::wait;
use kubenest_docker::ExecOutput;
use kubenest_node::node::{Node, Runtime};

pub(super) const CHECK: Check = Check {
    name: Name::Shim,
    when: When::RuntimeRuns,
    applies: every_runtime,
    judge,
};

/// Seconds that a shim may take to answer: half the deadline of a fact. A hanging shim is killed,
/// so that no process of it stays in the node.
fn limit() -> String {
    wait::scaled(Duration::from_secs(10)).as_secs().to_string()
}

/// The shim that containerd would start for one runtime.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::health) struct Shim {
    pub(super) runtime: String,
    /// The shim that was found; `None` when it is at none of the paths.
    pub(in crate::health) found: Option<FoundShim>,
}

#[derive(Debug, Clone, PartialEq)]
pub(in crate::health) struct FoundShim {
    pub(super) path: String,
    /// The version that it reports; empty when it reports none.
    pub(in crate::health) version: String,
    /// Its answer when it was started as containerd starts it, or why it did not start.
    pub(super) answer: Result<Vec<u8>, String>,
}

/// Every distinct shim that the daemon would start, with the version that it reports.
pub(in crate::health) async fn look(
    node: &Node,
    cri: &Answers,
    daemon: &Fact<Daemon>,
) -> Fact<Vec<Shim>> {
    let (config, version) = (require(&cri.config)?, require(&cri.version)?);
    let daemon = require(daemon)?;
    let mut lookups: Vec<(&str, Vec<String>)> = Vec::new();
    for (name, runtime) in &config.runtimes {
        let places = candidates(runtime, daemon, &version.runtime_version)?;
        // Shims of other projects have generations of their own.
        let runc = runtime.runtime_type.starts_with("io.containerd.runc.")
            || places
                .iter()
                .all(|place| place.contains("/containerd-shim-runc-"));
        if runc && !lookups.iter().any(|(_, known)| *known == places) {
            lookups.push((name, places));
        }
    }
    let daemon = Generation::of(&version.runtime_version);
    let input = daemon.map(Generation::parameters).unwrap_or_default();
    let limit = &limit();
    let found = lookups.iter().map(async |(runtime, places)| {
        let mut argv = vec!["timeout", "--signal=KILL", limit.as_str()];
        argv.extend(["sh", "-c", include_str!("shim.sh"), "shim"]);
        argv.extend(places.iter().map(String::as_str));
        let output = node.docker().exec(node.name(), &argv, Some(input.clone()));
        Shim::parse(runtime, &within(output).await?)
    });
    join_all(found).await.into_iter().collect()
}

impl Shim {
    /// Reads the output of shim.sh.
    fn parse(runtime: &str, output: &ExecOutput) -> Fact<Self> {
        const MARK: &[u8] = b"@@answer\n";
        let ExecOutput {
            status,
            stdout,
            stderr,
            ..
        } = output;
        let runtime = runtime.to_owned();
        if stdout.is_empty() && *status == 0 {
            return Ok(Self {
                runtime,
                found: None,
            });
        }
        let mark = stdout.windows(MARK.len()).position(|part| part == MARK);
        let mark =
            mark.ok_or_else(|| format!("the shim was not tried (status {status}): {stderr}"))?;
        let (told, answer) = (&stdout[..mark], &stdout[mark + MARK.len()..]);
        let told = String::from_utf8_lossy(told);
        let mut lines = told.lines();
        let path = lines.next().unwrap_or_default().to_owned();
        let version = lines.find_map(|line| line.trim().strip_prefix("Version:"));
        let version = version.unwrap_or_default().trim().to_owned();
        let words = || {
            format!(
                "status {status}: {}",
                String::from_utf8_lossy(answer).trim()
            )
        };
        let answer = match status {
            0 => Ok(answer.to_vec()),
            137 => Err(format!(
                "it was killed, as is one that has not answered within {} s",
                limit()
            )),
            _ => Err(words()),
        };
        let found = Some(FoundShim {
            path,
            version,
            answer,
        });
        Ok(Self { runtime, found })
    }
}

/// The paths at which the daemon looks for a runtime's shim, in its order.
///
/// `daemon_version` is the running daemon's.
fn candidates(runtime: &OciRuntime, daemon: &Daemon, daemon_version: &str) -> Fact<Vec<String>> {
    let kind = &runtime.runtime_type;
    if !runtime.runtime_path.is_empty() && honours_runtime_path(daemon_version) {
        return Ok(vec![runtime.runtime_path.clone()]);
    }
    if kind.starts_with('/') {
        return Ok(vec![kind.clone()]);
    }
    let mut words = kind.rsplit('.');
    let (Some(version), Some(name)) = (words.next(), words.next()) else {
        return Err(format!("runtime type '{kind}' names no shim"));
    };
    if kind.contains('/') {
        return Err(format!("runtime type '{kind}' is a relative path"));
    }
    let shim = format!("containerd-shim-{name}-{version}");
    let exe_folder = daemon
        .exe_path()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    let folders = [daemon.cwd.trim_end_matches('/')]
        .into_iter()
        // Go ignores relative entries of PATH.
        .chain(
            daemon
                .path
                .split(':')
                .filter(|folder| folder.starts_with('/')),
        )
        .chain([exe_folder]);
    Ok(folders.map(|folder| format!("{folder}/{shim}")).collect())
}

/// containerd 1.6.0 to 1.6.20 and 1.7.0 drop `runtime_path` on its way to the daemon.
fn honours_runtime_path(daemon_version: &str) -> bool {
    generation::version(daemon_version)
        .is_some_and(|version| version >= (1, 6, 21) && version != (1, 7, 0))
}

fn judge(facts: &Facts, _: &Expected) -> Fact<Outcome> {
    if facts.runtime == Runtime::CriO {
        return crio::judge_programs(facts);
    }
    let version = &require(&facts.cri.version)?.runtime_version;
    let daemon = Generation::of(version)
        .ok_or_else(|| format!("version '{version}' of the daemon has no known generation"))?;
    let mut fine = Vec::new();
    for shim in require(&facts.shims)? {
        match judge_shim(shim, daemon, version)? {
            Ok(observed) => fine.push(observed),
            Err(outcome) => return Ok(outcome),
        }
    }
    if fine.is_empty() {
        return Ok(Outcome::skipped("", "no runtime uses the runc shim"));
    }
    fine.dedup();
    Ok(Outcome::passed(fine.join("; ")))
}

/// Describes a good shim, or returns the outcome that ends the check. The shim's answer decides;
/// the version that it reports may be wrong.
fn judge_shim(shim: &Shim, daemon: Generation, version: &str) -> Fact<Result<String, Outcome>> {
    let Shim { runtime, found } = shim;
    let Some(found) = found else {
        let observed = format!("runtime '{runtime}': none of containerd's places has its shim");
        let cure = "install the containerd-shim-runc-v2 of the daemon beside it";
        return Ok(Err(Outcome::failed(observed, cure)));
    };
    let FoundShim {
        path,
        version: named,
        answer,
    } = found;
    let failed = |what: String| Outcome::failed(what, shim_cure(runtime, version));
    let answer = match answer {
        Ok(answer) => answer,
        Err(words) => {
            let what = format!("shim {named} at {path} fails under daemon {version}: {words}");
            return Ok(Err(failed(what)));
        }
    };
    let form = Generation::of_answer(answer).ok_or_else(|| {
        let answer = String::from_utf8_lossy(answer);
        format!("shim {named} at {path} answers in no known form: {answer:?}")
    })?;
    if form <= daemon {
        return Ok(Ok(format!(
            "shim {named} at {path} answers daemon {version} in {form}"
        )));
    }
    Ok(Err(failed(format!(
        "shim {named} at {path} answers in {form}, daemon {version} reads {daemon}: \
         no pod can start"
    ))))
}

fn shim_cure(runtime: &str, version: &str) -> String {
    let setting = match honours_runtime_path(version) {
        true => "runtime_path",
        false => "runtime_type",
    };
    format!(
        "give the node one generation of both: install the shim of containerd {version}, or set \
         {setting} of runtime '{runtime}' to its absolute path; after an upgrade, {}",
        Runtime::Containerd.restart_cure()
    )
}

#[cfg(test)]
pub(super) mod tests;
