//! The kind of an engine: whether nodes can run on it at all, and with which runc.

use std::time::{Duration, SystemTime};

use bollard::models::{SystemInfo, SystemVersion};
use jiff::Timestamp;

use super::{Docker, explain::Explain};
use kubenest_base::{Error, Result, wait};

/// How long an engine may take to describe itself; a healthy one does so at once.
const ANSWER: Duration = Duration::from_secs(20);

/// Properties of an engine that decide whether nodes can run on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nature {
    /// Its name and version, such as `Docker 28.0.4` or `Podman 5.4.0`.
    pub name: String,
    /// It is Podman, which answers as Docker does.
    pub podman: bool,
    /// It runs without root, in a user namespace.
    pub rootless: bool,
    /// Root in its containers is another user outside (`userns-remap`).
    pub remapped: bool,
    /// The version of its runc, if the engine reports it.
    pub runc: Option<String>,
    /// The engine's time and this machine's time, if the engine reports its own.
    pub clock: Option<(SystemTime, SystemTime)>,
}

impl Docker {
    /// What kind of engine this is.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn nature(&self) -> Result<Nature> {
        let what = || "ask the engine about itself".to_owned();
        wait::within("the engine to tell about itself", ANSWER, async {
            let version = self.raw().version().await.explain(what)?;
            let info = self.raw().info().await.explain(what)?;
            Ok(Nature::of(&version, &info, SystemTime::now()))
        })
        .await
    }
}

impl Nature {
    fn of(version: &SystemVersion, info: &SystemInfo, now: SystemTime) -> Self {
        let components = version.components.as_deref().unwrap_or_default();
        let component = |name: &str| components.iter().find(|found| found.name == name);
        let podman = component("Podman Engine");
        let number = match podman {
            Some(podman) => format!("Podman {}", podman.version),
            None => format!("Docker {}", version.version.as_deref().unwrap_or_default()),
        };
        let options = info.security_options.as_deref().unwrap_or_default();
        // An option is `name=userns`, with further fields after commas.
        let has = |name: &str| {
            let mut words = options.iter().flat_map(|option| option.split(','));
            words.any(|word| word.strip_prefix("name=") == Some(name))
        };
        let told = info.system_time.as_deref();
        let told = told.and_then(|time| time.parse::<Timestamp>().ok());
        Self {
            name: number,
            podman: podman.is_some(),
            rootless: has("rootless"),
            remapped: has("userns"),
            runc: component("runc").map(|runc| runc.version.clone()),
            clock: told.map(|told| (told.into(), now)),
        }
    }

    /// Refuses an engine on which no node can run.
    ///
    /// # Errors
    /// [`Refused`](kubenest_base::ErrorKind::Refused): the engine is Podman, runs without root, or
    /// remaps root of its containers. The cure names engines that can run nodes.
    pub fn require_nodes_can_run(&self) -> Result<()> {
        let why = match self {
            Self { podman: true, .. } => {
                "it is not Docker's, and what guards and boots clusters here is not tried on it"
            }
            Self { rootless: true, .. } => {
                "it runs without root, and a kubelet in its user namespace needs what is not set \
                 up here (delegated cgroups, KubeletInUserNamespace)"
            }
            Self { remapped: true, .. } => {
                "it unpacks images for another root, and a node, which needs the machine's own, \
                 ends at once: its set-uid programs, mount above all, become that other user"
            }
            _ => return Ok(()),
        };
        let mode = match self {
            Self { rootless: true, .. } => " (rootless)",
            Self { remapped: true, .. } => " (userns-remap)",
            _ => "",
        };
        let name = &self.name;
        Err(Error::refused(format!(
            "nodes are not supported on this engine, {name}{mode}: {why}"
        ))
        .cure(
            "use a Docker engine that runs as root and without userns-remap: \
             DOCKER_HOST=unix:///var/run/docker.sock, or as root KUBENEST_ENGINE=embedded",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubenest_base::ErrorKind;

    fn nature(version: &str, info: &str) -> Nature {
        let version = serde_json::from_str(version).unwrap();
        let info = serde_json::from_str(info).unwrap();
        Nature::of(&version, &info, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn an_ordinary_engine_is_fine() {
        let nature = nature(
            r#"{"Version":"28.0.4","Components":[{"Name":"Engine","Version":"28.0.4"},
                {"Name":"runc","Version":"1.2.5","Details":{"GitCommit":"v1.2.5-0-g59923ef"}}]}"#,
            r#"{"SecurityOptions":["name=seccomp,profile=builtin","name=cgroupns"],
                "SystemTime":"2026-11-29T10:00:00.25Z"}"#,
        );
        assert_eq!(nature.name, "Docker 28.0.4");
        assert_eq!(nature.runc.as_deref(), Some("1.2.5"));
        assert!(!nature.podman && !nature.rootless && !nature.remapped);
        let (engine, _) = nature.clock.unwrap();
        let since = engine.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_millis() % 1000, 250);
        nature.require_nodes_can_run().unwrap();
    }

    #[test]
    fn engines_on_which_no_node_runs_are_refused_with_the_cure() {
        let remapped = nature(
            r#"{"Version":"26.1.5"}"#,
            r#"{"SecurityOptions":["name=seccomp,profile=builtin","name=userns"]}"#,
        );
        let rootless = nature(
            r#"{"Version":"28.0.4"}"#,
            r#"{"SecurityOptions":["name=seccomp,profile=builtin","name=rootless"]}"#,
        );
        let podman = nature(
            r#"{"Version":"4.3.1","Components":[{"Name":"Podman Engine","Version":"4.3.1"}]}"#,
            r#"{"SecurityOptions":["name=seccomp,profile=default"]}"#,
        );
        for (engine, told) in [
            (rootless, "Docker 28.0.4 (rootless): it runs without root"),
            (podman, "Podman 4.3.1: it is not Docker's"),
            (
                remapped,
                "Docker 26.1.5 (userns-remap): it unpacks images for another root",
            ),
        ] {
            let error = engine.require_nodes_can_run().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(told), "{error}");
            assert!(
                error
                    .cure_text()
                    .unwrap()
                    .contains("KUBENEST_ENGINE=embedded")
            );
        }
    }
}
