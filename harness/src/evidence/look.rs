//! A look at a node: what the script in it prints, read as parts.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{page::Missing, subject::Window};
use crate::{
    Error, Result,
    diagnosis::clean,
    docker::{ContainerSpec, Docker, Labels, labels::BOOT},
    wait,
};

/// What runs in a node.
pub(crate) const LOOK: &str = include_str!("look.sh");
/// What a look may print in all.
const BYTES: usize = 64 << 20;
/// The script bounds a part; keep in step with it.
const PART: usize = 4 << 20;
const POD: usize = 512 << 10;
const DOCUMENT: usize = 16 << 20;

/// One piece of raw evidence.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Where it goes, below the bundle's folder.
    pub(super) path: String,
    pub(super) bytes: Vec<u8>,
    /// Its beginning is not there.
    pub(super) cut: bool,
}

/// What was found, and what was not.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) parts: Vec<Part>,
    pub(super) missing: Vec<Missing>,
}

impl Gathered {
    pub(super) fn miss(&mut self, name: &str, node: &str, error: &str) {
        self.missing.push(Missing {
            name: name.to_owned(),
            node: node.to_owned(),
            error: error.trim().to_owned(),
        });
    }

    pub(super) fn add(&mut self, path: String, bytes: impl Into<Vec<u8>>) {
        self.parts.push(Part {
            path,
            bytes: bytes.into(),
            cut: false,
        });
    }

    /// The objects of the API.
    pub(super) fn documents(&self) -> Vec<Value> {
        let parts = self
            .parts
            .iter()
            .filter(|part| part.path.starts_with("api/"));
        parts
            .filter_map(|part| serde_json::from_slice(&part.bytes).ok())
            .collect()
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.parts.extend(other.parts);
        self.missing.extend(other.missing);
    }
}

/// The arguments of the script for a case, or for all there is.
pub(super) fn argv(case: Option<&Window>) -> Vec<String> {
    let (folder, namespace) = match case {
        Some(case) => (Window::folder(&case.namespace), case.namespace.clone()),
        None => Default::default(),
    };
    ["bash", "-c", LOOK, "look", &folder, &namespace]
        .map(str::to_owned)
        .to_vec()
}

/// Looks at a node from the inside, or into what a stopped one left in its volumes.
pub(super) async fn look(
    docker: &Docker,
    cluster: &str,
    node: &str,
    case: Option<&Window>,
    deadline: Duration,
) -> Gathered {
    let mut found = Gathered::default();
    let state = wait::within("the engine's answer", deadline, docker.container(node)).await;
    let output = match state {
        Ok(Some(state)) if state.running => {
            docker
                .exec_bounded(node, &argv(case), BYTES, deadline)
                .await
        }
        Ok(Some(state)) => {
            let code = state.exit_code;
            found.miss("node", node, &format!("it does not run (exit code {code})"));
            remains(docker, cluster, node, case, deadline, &mut found).await
        }
        Ok(None) => Err(Error::not_found(format!("no container '{node}'"))),
        Err(error) => Err(error),
    };
    match output {
        Ok((output, whole)) => {
            read(node, &output, &mut found);
            if !whole {
                found.miss(
                    "look",
                    node,
                    "it took too long or said too much; the rest is missing",
                );
            }
        }
        Err(error) => found.miss("look", node, &error.report()),
    }
    found
}

/// A stopped node's volumes, seen from another container; and its own files.
async fn remains(
    docker: &Docker,
    cluster: &str,
    node: &str,
    case: Option<&Window>,
    deadline: Duration,
    found: &mut Gathered,
) -> Result<(Vec<u8>, bool)> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    // Somebody else may be looking, too.
    let name = format!("{node}-reader-{}-{count}", std::process::id());
    let start = async {
        for path in ["/etc/containerd/config.toml", "/kind/kubeadm.conf"] {
            match docker.get_file(node, path).await {
                Ok(bytes) => found.add(format!("nodes/{node}/files{path}"), bytes),
                Err(error) => found.miss(path, node, &error.report()),
            }
        }
        let about = docker.inspect(node).await?;
        let mut labels = Labels::new("reader").cluster(cluster).map();
        let boot = about["Config"]["Labels"][BOOT].as_str();
        labels.extend(boot.map(|boot| (BOOT.to_owned(), boot.to_owned())));
        let reader = ContainerSpec {
            name: name.clone(),
            image: about["Image"].as_str().unwrap_or_default().to_owned(),
            labels,
            entrypoint: Some(vec!["sleep".into(), "60".into()]),
            volumes_from: Some(node.to_owned()),
            ..ContainerSpec::default()
        };
        docker.run(&reader).await
    };
    wait::within("a look from beside", deadline, start).await?;
    let output = docker
        .exec_bounded(&name, &argv(case), BYTES, deadline)
        .await;
    let removal = docker.remove_container(&name);
    if let Err(error) = wait::within("the reader's end", deadline, removal).await {
        // A sweep will: what it has read must not be lost over it.
        tracing::debug!("{}", error.report());
    }
    output
}

/// Reads what the script printed; a line without its end is dropped.
pub(super) fn read(node: &str, output: &[u8], found: &mut Gathered) {
    let ended = output
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    for line in output[..ended]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line = String::from_utf8_lossy(line);
        let mut fields = line.split(' ');
        let (Some(name), Some(encoded), Some(status)) =
            (fields.next(), fields.next(), fields.next())
        else {
            found.miss("look", node, &format!("it said {:?}", short(&line)));
            continue;
        };
        let Some(path) = path(node, name) else {
            found.miss(short(name), node, "a strange name");
            continue;
        };
        let Ok(bytes) = BASE64_STANDARD.decode(encoded) else {
            found.miss(name, node, "it is not whole");
            continue;
        };
        let limit = match name {
            _ if name.starts_with("pods/") => POD,
            _ if path.ends_with(".json") => DOCUMENT,
            _ => PART,
        };
        let late = matches!(status, "124" | "137");
        if late {
            found.miss(name, node, "stopped after 8 s");
        } else if status != "0" {
            let said = String::from_utf8_lossy(&bytes);
            let last = crate::process::last_lines(&said, 3);
            found.miss(name, node, &format!("status {status}: {}", clean(&last)));
        }
        if !bytes.is_empty() && (status == "0" || (late && !path.ends_with(".json"))) {
            let cut = bytes.len() >= limit;
            found.parts.push(Part { path, bytes, cut });
        }
    }
}

/// Where a part goes; none for a name that would lead elsewhere.
fn path(node: &str, name: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    let safe =
        name.bytes().all(plain) && !name.split('/').any(|part| matches!(part, "" | "." | ".."));
    if !safe {
        return None;
    }
    Some(match name.split_once('/') {
        Some(("api", _)) => name.to_owned(),
        Some(("configz", file)) => format!("nodes/{}/configz.json", file.strip_suffix(".json")?),
        Some(("pods", rest)) => format!("pods/{node}/{rest}"),
        _ => format!("nodes/{node}/{name}"),
    })
}

fn short(text: &str) -> &str {
    text.get(..80).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_look_prints_is_read_and_what_is_broken_is_told() {
        let mut found = Gathered::default();
        let said = b"kubelet.log aGVsbG8= 0\nplugins.txt bm8gY3Ry 127\nempty.txt  0\n\
            late.txt aGVsbG8= 124\n../up aGVsbG8= 0\na/../../b aGVsbG8= 0\nbad.txt %% 0\n\
            api/x.json e30= 0\nconfigz/n2.json e30= 0\npods/a_b_c/d/0.log aGVsbG8= 0\nhalf aGVs";
        read("n1", said, &mut found);
        let paths: Vec<&str> = found.parts.iter().map(|part| part.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "nodes/n1/kubelet.log",
                "nodes/n1/late.txt",
                "api/x.json",
                "nodes/n2/configz.json",
                "pods/n1/a_b_c/d/0.log"
            ]
        );
        assert_eq!(found.parts[0].bytes, b"hello");
        let missing: Vec<String> = found
            .missing
            .iter()
            .map(|missing| format!("{}: {}", missing.name, missing.error))
            .collect();
        assert_eq!(
            missing,
            [
                "plugins.txt: status 127: no ctr",
                "late.txt: stopped after 8 s",
                "../up: a strange name",
                "a/../../b: a strange name",
                "bad.txt: it is not whole"
            ]
        );
    }

    #[test]
    fn a_namespace_is_an_argument_and_never_part_of_the_script() {
        let case = Window {
            namespace: "a; rm".into(),
            since_us: 0,
        };
        assert_eq!(argv(Some(&case))[4..], ["/var/log/kubenest/a; rm", "a; rm"]);
        assert_eq!(argv(None)[4..], ["", ""]);
    }
}
