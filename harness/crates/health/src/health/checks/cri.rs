//! Check `cri`: the runtime answers over CRI, and reports the conditions that the kubelet waits
//! for.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Check, Facts, Name, When, every_runtime};
use crate::health::{
    Expected,
    facts::{Fact, require, within},
    outcome::Outcome,
};
use kubenest_node::node::{
    Node,
    cri::{CgroupDriver, Condition, Cri, Version},
};

pub(super) const CHECK: Check = Check {
    name: Name::Cri,
    when: When::KubernetesRuns,
    applies: every_runtime,
    judge,
};

/// The runtime's answers over CRI.
#[derive(Debug, Clone)]
pub(in crate::health) struct Answers {
    pub(in crate::health) version: Fact<Version>,
    pub(in crate::health) conditions: Fact<Vec<Condition>>,
    pub(in crate::health) config: Fact<ContainerdConfig>,
    /// Where images live, one folder per snapshotter, the default one first.
    pub(in crate::health) image_folders: Fact<Vec<String>>,
    /// `None`: containerd before 2.0 cannot say.
    pub(in crate::health) cgroup_driver: Fact<Option<CgroupDriver>>,
}

/// How containerd runs containers. This is the configuration in effect; the file may have changed
/// since.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::health) struct ContainerdConfig {
    pub(super) default_runtime_name: String,
    pub(super) runtimes: BTreeMap<String, OciRuntime>,
}

/// One entry of containerd's `runtimes` table.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct OciRuntime {
    pub(super) runtime_type: String,
    pub(super) runtime_path: String,
    pub(super) options: Option<OciOptions>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct OciOptions {
    #[serde(rename = "SystemdCgroup")]
    pub(super) systemd_cgroup: bool,
}

/// Asks the runtime all questions at once.
pub(in crate::health) async fn ask(node: &Node) -> Answers {
    let cri = match within(Cri::open(node)).await {
        Ok(cri) => cri,
        Err(why) => {
            return Answers {
                version: Err(why.clone()),
                conditions: Err(why.clone()),
                config: Err(why.clone()),
                image_folders: Err(why.clone()),
                cgroup_driver: Err(why),
            };
        }
    };
    let (version, status, image_folders, cgroup_driver) = tokio::join!(
        within(cri.version()),
        within(cri.status(true)),
        within(cri.image_folders()),
        within(cri.cgroup_driver()),
    );
    Answers {
        version,
        config: require(&status).and_then(|status| ContainerdConfig::parse(&status.info)),
        conditions: status.map(|status| status.conditions().to_vec()),
        image_folders,
        cgroup_driver,
    }
}

fn judge(facts: &Facts, _: &Expected) -> Fact<Outcome> {
    let journal = facts.runtime.journal_cure();
    let (version, conditions) = match (&facts.cri.version, &facts.cri.conditions) {
        (Ok(version), Ok(conditions)) => (version, conditions),
        (Err(why), _) | (_, Err(why)) => return Ok(Outcome::failed(why, journal)),
    };
    let mut observed = format!(
        "{} {} CRI {}",
        version.runtime_name, version.runtime_version, version.runtime_api_version
    );
    let mut ready = true;
    // Other conditions, such as deprecation warnings, stop no pod.
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

impl ContainerdConfig {
    /// Reads the details of a verbose CRI status.
    fn parse(info: &BTreeMap<String, String>) -> Fact<Self> {
        #[derive(Deserialize)]
        struct Config {
            containerd: ContainerdConfig,
        }
        let config = info
            .get("config")
            .ok_or("the CRI status has no configuration")?;
        let config: Config =
            serde_json::from_str(config).map_err(|error| format!("CRI configuration: {error}"))?;
        Ok(config.containerd)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::health::checks::tests::{fires, silent};

    /// The answers of containerd 2.0.2.
    pub(in super::super) fn good() -> Answers {
        let condition = |kind: &str| Condition {
            kind: kind.to_owned(),
            holds: true,
            ..Condition::default()
        };
        let folder = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs";
        Answers {
            version: Ok(Version {
                runtime_name: "containerd".to_owned(),
                runtime_version: "v2.0.2".to_owned(),
                runtime_api_version: "v1".to_owned(),
            }),
            conditions: Ok(vec![condition("RuntimeReady"), condition("NetworkReady")]),
            config: Ok(ContainerdConfig {
                default_runtime_name: "runc".to_owned(),
                runtimes: BTreeMap::new(),
            }),
            image_folders: Ok(vec![folder.to_owned()]),
            cgroup_driver: Ok(Some(CgroupDriver::Systemd)),
        }
    }

    #[test]
    fn cri_needs_an_answer_and_both_conditions() {
        fires("cri", |facts| {
            let network = &mut facts.cri.conditions.as_mut().unwrap()[1];
            network.holds = false;
            network.message = "cni plugin not initialized".to_owned();
        });
        fires("cri", |facts| {
            facts.cri.conditions.as_mut().unwrap().truncate(1)
        });
        fires("cri", |facts| {
            facts.cri.conditions = Err("no answer".to_owned())
        });
        silent(|facts| {
            let kind = "ContainerdHasNoDeprecationWarnings".to_owned();
            let warning = Condition {
                kind,
                ..Condition::default()
            };
            facts.cri.conditions.as_mut().unwrap().push(warning);
        });
    }

    #[test]
    fn runtimes_are_read_from_the_cri_status() {
        let parse = |text: &str| {
            ContainerdConfig::parse(&BTreeMap::from([("config".to_owned(), text.to_owned())]))
        };
        let config = parse(
            r#"{"containerd": {"snapshotter": "overlayfs", "defaultRuntimeName": "runc",
                "runtimes": {"runc": {"runtimeType": "io.containerd.runc.v2",
                    "runtimePath": "/opt/shim", "options": {"SystemdCgroup": true, "IoUid": 0}},
                "bare": {"runtimeType": "io.containerd.runc.v2", "options": null}}}}"#,
        )
        .expect("must parse");
        let runc = &config.runtimes[&config.default_runtime_name];
        assert_eq!(runc.runtime_path, "/opt/shim");
        assert!(runc.options.as_ref().expect("must be there").systemd_cgroup);
        assert_eq!(config.runtimes["bare"].options, None);
        assert!(parse("{}").is_err());
        assert!(ContainerdConfig::parse(&BTreeMap::new()).is_err());
    }
}
