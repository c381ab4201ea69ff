//! Check `cgroup`: kubelet and runtime use the same cgroup driver, and the controllers that they
//! need are there.

use super::{Check, Facts, Name, When, cri::Answers, every_runtime};
use crate::health::{
    Expected,
    facts::{Fact, Probe, require},
    outcome::Outcome,
};
use kubenest_node::node::{Runtime, cri::CgroupDriver};

pub(super) const CHECK: Check = Check {
    name: Name::Cgroup,
    when: When::KubernetesRuns,
    applies: every_runtime,
    judge,
};

/// The cgroup file system as the node sees it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::health) struct Cgroup {
    v2: bool,
    controllers: Vec<String>,
}

pub(in crate::health) fn read(probe: &Probe) -> Fact<Cgroup> {
    let text = probe.part("cgroup")?;
    let (kind, controllers) = text.split_once('\n').ok_or("no cgroup file system")?;
    let controllers = controllers.split_whitespace().map(str::to_owned).collect();
    Ok(Cgroup {
        v2: kind == "cgroup2fs",
        controllers,
    })
}

/// The cgroup driver of the runtime: what the runtime reports or, before containerd 2.0, the
/// configuration of its default runtime.
pub(in crate::health) fn driver(cri: &Answers) -> Fact<CgroupDriver> {
    if let Some(driver) = require(&cri.cgroup_driver)? {
        return Ok(*driver);
    }
    let config = require(&cri.config)?;
    let runtime = config.runtimes.get(&config.default_runtime_name);
    let options = runtime.and_then(|runtime| runtime.options.as_ref());
    Ok(
        match options.is_some_and(|options| options.systemd_cgroup) {
            true => CgroupDriver::Systemd,
            false => CgroupDriver::Cgroupfs,
        },
    )
}

fn judge(facts: &Facts, _: &Expected) -> Fact<Outcome> {
    let cgroup = require(&facts.cgroup)?;
    let version = if cgroup.v2 { "v2" } else { "v1" };
    let needed: &[&str] = match cgroup.v2 {
        true => &["cpu", "cpuset", "io", "memory", "pids"],
        false => &[
            "blkio", "cpu", "cpuacct", "cpuset", "devices", "memory", "pids",
        ],
    };
    let has = |name: &&&str| {
        cgroup
            .controllers
            .iter()
            .any(|controller| controller == **name)
    };
    let missing: Vec<_> = needed.iter().filter(|name| !has(name)).copied().collect();
    if !missing.is_empty() {
        let observed = format!("cgroup {version} without {}", missing.join(", "));
        let cure = "delegate these controllers to the node's cgroup, or boot the host with them";
        return Ok(Outcome::failed(observed, cure));
    }
    let driver = match driver(&facts.cri)? {
        CgroupDriver::Systemd => "systemd",
        CgroupDriver::Cgroupfs => "cgroupfs",
    };
    let kubelet = &require(&facts.kubelet)?.cgroup_driver;
    let setting = match facts.runtime {
        Runtime::Containerd => "SystemdCgroup of containerd's runc",
        Runtime::CriO => "cgroup_manager of CRI-O",
    };
    Ok(Outcome::when(
        kubelet == driver,
        format!("{version}, {} {driver}, kubelet {kubelet}", facts.runtime),
        format!("set {setting} and the kubelet's cgroupDriver to the same driver"),
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::health::{
        checks::{
            cri::{OciOptions, OciRuntime},
            tests::{fires, silent},
        },
        facts::tests::printed,
    };

    pub(in super::super) fn good() -> Cgroup {
        read(&printed("@@cgroup\ncgroup2fs\ncpuset cpu io memory pids")).expect("must parse")
    }

    #[test]
    fn the_version_is_the_file_systems() {
        let v1 = read(&printed("@@cgroup\ntmpfs\nblkio cpu cpuacct memory"));
        let v1 = v1.expect("must parse");
        assert_eq!((v1.v2, v1.controllers.len()), (false, 4));
        assert!(good().v2);
        assert!(read(&printed("@@cgroup\n")).is_err());
    }

    #[test]
    fn cgroup_drivers_agree_and_controllers_are_there() {
        fires("cgroup", |facts| {
            facts.cri.cgroup_driver = Ok(Some(CgroupDriver::Cgroupfs))
        });
        fires("cgroup", |facts| {
            facts.cgroup.as_mut().unwrap().controllers.truncate(3)
        });
        let v1 = "blkio cpu cpuacct cpuset devices freezer memory pids systemd";
        let v1 = Cgroup {
            v2: false,
            controllers: v1.split(' ').map(str::to_owned).collect(),
        };
        silent(|facts| facts.cgroup = Ok(v1.clone()));

        // Before 2.0 the configuration of the default runtime says which driver it is.
        let systemd = OciRuntime {
            options: Some(OciOptions {
                systemd_cgroup: true,
            }),
            ..OciRuntime::default()
        };
        let runtimes = BTreeMap::from([("runc".to_owned(), systemd)]);
        silent(|facts| {
            facts.cri.cgroup_driver = Ok(None);
            facts.cri.config.as_mut().unwrap().runtimes = runtimes;
        });
        fires("cgroup", |facts| facts.cri.cgroup_driver = Ok(None));
    }
}
