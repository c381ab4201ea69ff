//! Checks of the engine: it answers, nodes can run on it, its clock agrees with this machine's, and
//! its confinement does not stop its runc.

use std::time::{Duration, UNIX_EPOCH};

use semver::Version;

use super::facts::{Engine, Facts};
use crate::health::Outcome;

/// The start of 2025; a clock before it was never set, and no certificate is valid.
const CLOCK_FLOOR: Duration = Duration::from_secs(1_735_689_600);
/// Largest difference of the clocks: beyond it, certificates that a node signs are not valid yet,
/// or labels are out of date.
const SKEW_CEILING: Duration = Duration::from_secs(5);

pub(super) fn engine(facts: &Facts) -> Outcome {
    match &facts.engine {
        Ok(engine) => Outcome::passed(&engine.nature.name),
        Err(error) => Outcome::failed(
            format!("{error:#}"),
            error
                .cure_text()
                .unwrap_or("start a Docker engine, or run as root on Linux"),
        ),
    }
}

/// Whether nodes are supported on an engine of that kind.
pub(super) fn kind(facts: &Facts) -> Outcome {
    let Ok(Engine { nature, .. }) = &facts.engine else {
        return Outcome::skipped("nothing", "there is no engine");
    };
    match nature.require_nodes_can_run() {
        Err(error) => Outcome::failed(error.to_string(), error.cure_text().unwrap_or_default()),
        Ok(()) => Outcome::passed("runs as root"),
    }
}

pub(super) fn clock(facts: &Facts) -> Outcome {
    if facts.now.duration_since(UNIX_EPOCH).unwrap_or_default() < CLOCK_FLOOR {
        let cure = "set the clock: certificates made now would be valid in the past";
        return Outcome::failed("before 2025: never set", cure);
    }
    let clocks = facts.engine.as_ref().ok();
    let Some((engine, here)) = clocks.and_then(|engine| engine.nature.clock) else {
        return Outcome::passed("set; the engine does not tell its own");
    };
    let (ahead, skew) = match engine.duration_since(here) {
        Ok(skew) => ("ahead", skew),
        Err(behind) => ("behind", behind.duration()),
    };
    Outcome::when(
        skew <= SKEW_CEILING,
        match skew <= SKEW_CEILING {
            true => "set, and the engine's is the same".to_owned(),
            false => format!("the engine's is {:.0} s {ahead}", skew.as_secs_f64()),
        },
        "synchronize the clocks of this machine and the engine's (chronyc makestep, timedatectl; \
         of a virtual machine that slept: restart it)",
    )
}

/// An AppArmor profile of an outer container judges by paths, and newer releases of runc write
/// sysctls through a procfs that is mounted nowhere.
pub(super) fn apparmor(facts: &Facts) -> Outcome {
    let profile = facts.machine.apparmor.trim().trim_end_matches('\0');
    if profile.is_empty() {
        return Outcome::passed("no profile confines this process");
    }
    let outer = ["lxc-", "lxd-", "incus-"];
    if !outer.iter().any(|outer| profile.starts_with(outer)) {
        return Outcome::passed(profile);
    }
    let runc = facts.engine.as_ref().ok();
    let runc = runc.and_then(|engine| engine.nature.runc.as_deref());
    match runc {
        Some(runc) if writes_detached(runc) => Outcome::failed(
            format!("profile {profile} of an outer container, and runc {runc}"),
            "it denies runc's writes to sysctls: update lxc or incus on the host, or give the \
             outer container an unconfined profile; an older runc opens CVE-2025-52881 again \
             (https://github.com/opencontainers/runc/issues/4972)",
        ),
        Some(runc) => Outcome::passed(format!("profile {profile}, which runc {runc} can bear")),
        None => Outcome::skipped(
            format!("profile {profile} of an outer container"),
            "the engine does not tell its runc; 1.2.8, 1.3.3 and later are denied their sysctls",
        ),
    }
}

/// Whether this runc writes sysctls through a detached procfs, as it does since the fix of
/// CVE-2025-52881.
fn writes_detached(runc: &str) -> bool {
    // Debian adds `+ds1-1+deb12u1`.
    let plain = runc.split('+').next().unwrap_or(runc);
    let Ok(version) = Version::parse(plain) else {
        return false;
    };
    let first = match (version.major, version.minor) {
        (1, 2) => "1.2.8",
        (1, 3) => "1.3.3",
        _ => "1.4.0-rc.3",
    };
    Version::parse(first).is_ok_and(|first| version >= first)
}

#[cfg(test)]
mod tests {
    use super::{super::facts::tests::good, *};
    use crate::health::Verdict;
    use kubenest_base::Error;
    use kubenest_docker::Nature;

    fn of(change: impl FnOnce(&mut Nature)) -> Facts {
        let mut facts = good();
        change(&mut facts.engine.as_mut().ok().unwrap().nature);
        facts
    }

    #[test]
    fn the_engines_own_cure_is_kept() {
        let facts = Facts {
            engine: Err(Error::setup("no engine").cure("install Docker")),
            ..good()
        };
        assert_eq!(engine(&facts).cure.as_deref(), Some("install Docker"));
        assert_eq!(engine(&good()), Outcome::passed("Docker 28.0.4"));
    }

    #[test]
    fn engines_without_root_are_told_with_the_cure() {
        let rootless = kind(&of(|nature| nature.rootless = true));
        assert_eq!(rootless.verdict, Verdict::Failed);
        assert!(rootless.cure.unwrap().contains("embedded"));
        assert_eq!(kind(&of(|n| n.podman = true)).verdict, Verdict::Failed);
        let remapped = kind(&of(|nature| nature.remapped = true));
        assert_eq!(remapped.verdict, Verdict::Failed);
        assert!(remapped.observed.contains("userns-remap"));
    }

    #[test]
    fn clocks_must_be_set_and_the_same() {
        let never_set = Facts {
            now: UNIX_EPOCH + Duration::from_secs(3600),
            ..good()
        };
        assert_eq!(clock(&never_set).verdict, Verdict::Failed);
        let (now, late) = (good().now, good().now - Duration::from_secs(7200));
        let outcome = clock(&of(|nature| nature.clock = Some((late, now))));
        assert_eq!(outcome.observed, "the engine's is 7200 s behind");
        assert_eq!(outcome.verdict, Verdict::Failed);
        let near = now + Duration::from_secs(4);
        let outcome = clock(&of(|nature| nature.clock = Some((near, now))));
        assert_eq!(outcome.verdict, Verdict::Passed);
        assert_eq!(clock(&of(|n| n.clock = None)).verdict, Verdict::Passed);
    }

    #[test]
    fn an_outer_profile_and_a_newer_runc_do_not_go_together() {
        let judge = |profile: &str, runc: Option<&str>| {
            let mut facts = of(|nature| nature.runc = runc.map(str::to_owned));
            facts.machine.apparmor = profile.to_owned();
            apparmor(&facts).verdict
        };
        let lxc = "lxc-101_</var/lib/lxc>//&:lxc-101_<-var-lib-lxc>:unconfined (enforce)\n";
        for runc in ["1.2.8", "1.3.3", "1.4.0-rc.3", "1.4.0", "1.3.3+ds1-1"] {
            assert_eq!(judge(lxc, Some(runc)), Verdict::Failed, "{runc}");
        }
        for runc in ["1.1.5+ds1-1+deb12u1", "1.2.7", "1.3.2", "1.4.0-rc.2"] {
            assert_eq!(judge(lxc, Some(runc)), Verdict::Passed, "{runc}");
        }
        assert!(matches!(judge(lxc, None), Verdict::Skipped(_)));
        for profile in ["unconfined\n", "docker-default (enforce)\n", ""] {
            assert_eq!(judge(profile, Some("1.3.3")), Verdict::Passed);
        }
    }
}
