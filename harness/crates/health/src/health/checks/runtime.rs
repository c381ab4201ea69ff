//! Checks of containerd: does it answer, with the snapshotter, plugins and shim that belong to it.

use super::Outcome;
use crate::health::{
    Expected,
    facts::{Facts, Seen, seen, snapshotter_of},
    shim::{FoundShim, Generation, Shim, honours_runtime_path},
};

const RESTART: &str = "systemctl restart containerd in the node";

/// The socket answers and the conditions the kubelet waits for hold.
pub(super) fn cri(facts: &Facts, _: &Expected) -> Seen<Outcome> {
    let journal = "read `journalctl -u containerd` in the node";
    let (version, conditions) = match (&facts.version, &facts.conditions) {
        (Ok(version), Ok(conditions)) => (version, conditions),
        (Err(why), _) | (_, Err(why)) => return Ok(Outcome::failed(why, journal)),
    };
    let mut observed = format!(
        "{} {} CRI {}",
        version.runtime_name, version.runtime_version, version.runtime_api_version
    );
    let mut ready = true;
    // Other conditions, as deprecation warnings, stop no pod.
    for needed in ["RuntimeReady", "NetworkReady"] {
        let condition = conditions.iter().find(|condition| condition.kind == needed);
        let text = match condition {
            Some(condition) if condition.holds => needed.to_owned(),
            Some(condition) => format!("not {needed}: {}", condition.message),
            None => format!("no condition {needed}"),
        };
        ready &= condition.is_some_and(|condition| condition.holds);
        observed.push_str(", ");
        observed.push_str(&text);
    }
    Ok(Outcome::when(
        ready,
        observed,
        format!("{journal}; the network needs /etc/cni/net.d"),
    ))
}

/// The snapshotter in effect, whatever the configuration file says.
pub(super) fn snapshotter(facts: &Facts, expected: &Expected) -> Seen<Outcome> {
    let in_effect = snapshotter_of(&facts.image_folders)?;
    let wanted = expected.snapshotter();
    Ok(Outcome::when(
        in_effect == wanted,
        format!("{in_effect} (expected {wanted})"),
        // containerd 2.0 migrates a version 2 file's snapshotter only beside a runtimes table.
        format!("set snapshotter = \"{wanted}\" in containerd's config, beside its runtimes"),
    ))
}

/// The plugins that pods need have loaded.
pub(super) fn plugins(facts: &Facts, expected: &Expected) -> Seen<Outcome> {
    let rows = seen(&facts.plugins)?;
    let mut needed = vec![
        ("io.containerd.snapshotter.v1", expected.snapshotter()),
        ("io.containerd.grpc.v1", "cri"),
    ];
    if Generation::of(&seen(&facts.version)?.runtime_version) > Some(Generation::Address) {
        needed.extend([
            ("io.containerd.cri.v1", "images"),
            ("io.containerd.cri.v1", "runtime"),
        ]);
    }
    let trouble: Vec<_> = needed
        .iter()
        .filter_map(
            |&(kind, id)| match rows.iter().find(|row| row.kind == kind && row.id == id) {
                None => Some(format!("{kind}.{id} is missing")),
                Some(row) => row
                    .init_error
                    .as_ref()
                    .map(|error| format!("{kind}.{id} did not load: {}", error.message)),
            },
        )
        .collect();
    if trouble.is_empty() {
        return Ok(Outcome::passed(format!(
            "all {} needed are loaded",
            needed.len()
        )));
    }
    let cure = format!("remove what disables the plugin from containerd's config, then {RESTART}");
    Ok(Outcome::failed(trouble.join("; "), cure))
}

/// The running daemon is the one that is installed.
pub(super) fn daemon(facts: &Facts, _: &Expected) -> Seen<Outcome> {
    let (daemon, version) = (seen(&facts.daemon)?, &seen(&facts.version)?.runtime_version);
    let replaced = daemon.exe != daemon.exe_path();
    let observed = match replaced {
        true => format!(
            "{version} runs, but {} was replaced since",
            daemon.exe_path()
        ),
        false => format!("{version} from {}", daemon.exe),
    };
    Ok(Outcome::when(!replaced, observed, RESTART))
}

/// Every runc shim answers in a form that the running daemon reads.
pub(super) fn shim(facts: &Facts, _: &Expected) -> Seen<Outcome> {
    let version = &seen(&facts.version)?.runtime_version;
    let daemon = Generation::of(version)
        .ok_or_else(|| format!("version '{version}' of the daemon has no known generation"))?;
    let mut fine = Vec::new();
    for shim in seen(&facts.shims)? {
        match judge(shim, daemon, version)? {
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

/// A container that mounts an image gets it mounted.
pub(super) fn image_volume(facts: &Facts, _: &Expected) -> Seen<Outcome> {
    Ok(match seen(&facts.image_volume)? {
        Ok(image) => Outcome::passed(format!("mounts {image}")),
        Err(words) => Outcome::failed(words, "use containerd 2.1 or newer in the node"),
    })
}

/// What is fine about a shim, or the outcome that ends the check. What it answers decides;
/// the version it names may be another's.
fn judge(shim: &Shim, daemon: Generation, version: &str) -> Seen<Result<String, Outcome>> {
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
         {setting} of runtime '{runtime}' to its absolute path; after an upgrade, {RESTART}"
    )
}
