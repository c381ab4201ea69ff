//! Host checks: whether this machine can run nodes at all, asked before anything is built or
//! booted.
//!
//! The facts are collected first (`collect`); each check is a pure function of them.

mod collect;
mod disk;
mod engine;
mod facts;
mod kernel;
mod network;
mod quotas;

use std::sync::Arc;

use self::facts::Facts;
pub use self::{collect::free_inotify_instances, quotas::INSTANCES_FLOOR};
use crate::health::{Outcome, Report};
use kubenest_base::{settings::Settings, wait::Patience};

type Judge = fn(&Facts) -> Outcome;

/// The checks of every machine.
const CHECKS: [(&str, Judge); 7] = [
    ("engine", engine::engine),
    ("engine-kind", engine::kind),
    ("cache", disk::cache),
    ("disk", disk::disk),
    ("clock", engine::clock),
    ("patience", tell_patience),
    ("proxy", network::proxy),
];

/// The checks of Linux only: elsewhere the engine runs in a virtual machine of its own, which
/// cannot be examined from here.
const LINUX_CHECKS: [(&str, Judge); 10] = [
    ("cgroup", kernel::cgroup),
    ("capabilities", kernel::capabilities),
    ("inotify", quotas::inotify),
    ("quotas", quotas::quotas),
    ("apparmor", engine::apparmor),
    ("subnets", network::subnets),
    ("iptables", network::iptables),
    ("ipv6", network::ipv6),
    ("kmsg", kernel::kmsg),
    ("modules", kernel::modules),
];

/// Checks this machine and the engine that a boot with these settings would use. If that is the
/// embedded engine, it is started.
pub async fn examine(settings: &Arc<Settings>) -> Report {
    judge(&Facts::collect(settings).await)
}

fn judge(facts: &Facts) -> Report {
    let linux = LINUX_CHECKS.iter().filter(|_| cfg!(target_os = "linux"));
    let findings = CHECKS
        .iter()
        .chain(linux)
        .map(|(name, check)| check(facts).on("host", name));
    Report {
        findings: findings.collect(),
    }
}

/// The factor is only reported: no value of it keeps nodes from running.
fn tell_patience(facts: &Facts) -> Outcome {
    let Patience { factor, reason } = &facts.patience;
    Outcome::passed(format!("deadlines are multiplied by {factor:.1}, {reason}"))
}

#[cfg(test)]
mod tests {
    use super::{
        facts::tests::{disk, good},
        *,
    };
    use kubenest_base::Error;

    #[test]
    fn an_ordinary_machine_passes() {
        let report = judge(&good());
        assert!(report.require(&[]).is_ok());
        insta::assert_snapshot!(report);
    }

    #[test]
    fn each_trouble_is_told_with_its_cure() {
        let mut facts = good();
        facts.settings =
            Err(Error::input("KUBENEST_CACHE=c is relative").cure("KUBENEST_CACHE=/c"));
        facts.disks = vec![disk("/c", 100), disk("/var/lib/docker", 91)];
        facts.proxy.set = vec!["HTTPS_PROXY".into()];
        let engine = facts.engine.as_mut().expect("there is one");
        engine.nature.rootless = true;
        engine.nature.runc = Some("1.3.3".into());
        engine.nature.clock = Some((facts.now, facts.now + std::time::Duration::from_secs(90)));
        engine.cgroup_version = "1".into();
        let machine = &mut facts.machine;
        machine.default_kubernetes = Some(semver::Version::new(1, 35, 1));
        machine.inotify.used = Some([(0, (118, 3000))].into());
        machine.key_users = "    0: 9 8/8 190/200 19000/20000\n".into();
        machine.apparmor = "lxc-101_</var/lib/lxc> (enforce)\n".into();
        machine.iptables.legacy = "nat\n".into();
        (machine.ipv6, machine.kmsg) = (false, false);
        (machine.overlay, machine.br_netfilter) = (false, false);
        insta::assert_snapshot!(judge(&facts));
    }
}
