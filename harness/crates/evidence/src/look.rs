//! Looks at a node: runs a script in it, and reads the script's output as parts.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    notes::About,
    part::{Kind, Part, PartId, Parts},
};
use kubenest_base::{Error, Result, wait};
use kubenest_diagnosis::clean;
use kubenest_docker::{ContainerSpec, Docker, labels::BOOT};
use kubenest_node::node::Runtime;

/// The script that runs in a node.
pub const LOOK: &str = include_str!("look.sh");
/// The most bytes that one look may print.
const BYTES: usize = 64 << 20;
/// The most bytes of one part, by its kind; the script has the same bounds.
const PART: usize = 4 << 20;
const POD: usize = 512 << 10;
const DOCUMENT: usize = 16 << 20;
/// Fraction of a look's time after which a node counts as slow. Its journals are then also read
/// from another container.
const SLOW: u32 = 4;
/// How long the removal of the other container may take.
const ENDING: Duration = Duration::from_secs(8);
/// The journals that every bundle of a failure must have while the node's disk can be read.
const JOURNALS: [&str; 4] = [
    "containerd.log",
    "kubelet.log",
    "full/containerd.log",
    "full/kubelet.log",
];

/// The arguments of the script: for the time of the running cases, or for all logs where no case
/// runs.
pub(super) fn argv(about: &About) -> Vec<String> {
    let (since, namespaces) = (about.since_seconds(), about.namespaces());
    ["bash", "-c", LOOK, "look", &since, &namespaces]
        .map(str::to_owned)
        .to_vec()
}

/// As [`argv`], for the journals alone.
fn argv_of_journals(about: &About) -> Vec<String> {
    [argv(about), vec!["journals".to_owned()]].concat()
}

/// Looks at a node from the inside, or at the volumes of a stopped node.
pub(super) async fn look(docker: &Docker, about: &About, node: &str, deadline: Duration) -> Parts {
    let mut found = Parts::default();
    let node_of = Beside {
        docker,
        cluster: &about.cluster.name,
        node,
    };
    let state = wait::within("the engine's answer", deadline, docker.container(node)).await;
    let output = match state {
        Ok(Some(state)) if state.running => {
            return look_inside(&node_of, about, deadline).await;
        }
        Ok(Some(state)) => {
            let code = state.exit_code;
            found.miss("node", node, &format!("it does not run (exit code {code})"));
            let runtime = Runtime::of_labels(&state.labels);
            node_of.files(runtime, deadline, &mut found).await;
            node_of.run(&argv(about), deadline).await
        }
        Ok(None) => Err(Error::not_found(format!("no container '{node}'"))),
        Err(error) => Err(error),
    };
    add_output(node, output, &mut found);
    found
}

/// Looks at a running node. A slow or frozen node keeps all of its time; meanwhile its journals are
/// read from another container, which only a slow disk can delay.
async fn look_inside(node: &Beside<'_>, about: &About, deadline: Duration) -> Parts {
    let whole = wait::Deadline::begin(deadline);
    let argv = argv(about);
    let inside = node.docker.exec_bounded(node.node, &argv, BYTES, deadline);
    let mut inside = Box::pin(inside);
    let soon = wait::at_most(deadline / SLOW, &mut inside).await;
    let mut found = Parts::default();
    let mut beside = Parts::default();
    let journals = argv_of_journals(about);
    match soon {
        Some(output) => {
            let ended = matches!(output, Ok((_, true)));
            add_output(node.node, output, &mut found);
            // The script printed too much, or the node is paused or frozen and there is only the
            // engine's error.
            if !ended || found.found.is_empty() {
                let from_beside = node.run(&journals, whole.rest()).await;
                add_output(node.node, from_beside, &mut beside);
            }
        }
        None => {
            let (output, from_beside) = tokio::join!(inside, node.run(&journals, whole.rest()));
            add_output(node.node, output, &mut found);
            add_output(node.node, from_beside, &mut beside);
        }
    }
    complete(&mut found, node.node, beside);
    found
}

fn add_output(node: &str, output: Result<(Vec<u8>, bool)>, found: &mut Parts) {
    match output {
        Ok((output, whole)) => {
            read_output(node, &output, found);
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
}

/// A node whose files are read from outside: by the engine, and from another container.
struct Beside<'a> {
    docker: &'a Docker,
    cluster: &'a str,
    node: &'a str,
}

impl Beside<'_> {
    /// Reads the files that are in none of the node's volumes.
    async fn files(&self, runtime: Runtime, deadline: Duration, found: &mut Parts) {
        for path in [runtime.config_file(), "/kind/kubeadm.conf"] {
            let file = self.docker.get_file(self.node, path);
            match wait::within("a file", deadline, file).await {
                Ok(bytes) => found.add(Kind::NodeFile(path.to_owned()).of(self.node), bytes),
                Err(error) => found.miss(path, self.node, &error.report()),
            }
        }
    }

    /// Runs a look in another container, which has the node's volumes.
    async fn run(&self, argv: &[String], deadline: Duration) -> Result<(Vec<u8>, bool)> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let whole = wait::Deadline::begin(deadline);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The name holds the process number, because another process may look at the node too.
        let name = format!("{}-reader-{}-{count}", self.node, std::process::id());
        let start = async {
            let about = self.docker.inspect(self.node).await?;
            let mut labels = self.docker.labels("reader").cluster(self.cluster).map();
            let boot = about["Config"]["Labels"][BOOT].as_str();
            labels.extend(boot.map(|boot| (BOOT.to_owned(), boot.to_owned())));
            let reader = ContainerSpec {
                name: name.clone(),
                image: about["Image"].as_str().unwrap_or_default().to_owned(),
                labels,
                entrypoint: Some(vec!["sleep".into(), "60".into()]),
                volumes_from: Some(self.node.to_owned()),
                ..ContainerSpec::default()
            };
            self.docker.run(&reader).await
        };
        let started = wait::within("a look from beside", deadline, start).await;
        let output = match started {
            Ok(_) => {
                let rest = whole.rest();
                self.docker.exec_bounded(&name, argv, BYTES, rest).await
            }
            Err(error) => Err(error),
        };
        let removal = self.docker.remove_container(&name);
        if let Err(error) = wait::within("the reader's end", ENDING, removal).await {
            // A failed removal is only logged: a sweep removes the container later, and its output
            // must not be lost.
            tracing::debug!("{}", error.report());
        }
        output
    }
}

/// Adds the parts that were read from outside to those that the node returned itself. Of a part
/// that both have, the longer one is kept.
fn complete(found: &mut Parts, node: &str, beside: Parts) {
    for part in beside.found {
        match found.found.iter_mut().find(|own| own.id == part.id) {
            Some(own) if own.bytes.len() >= part.bytes.len() => {}
            Some(own) => *own = part,
            None => found.found.push(part),
        }
    }
    let has = |name: &str| {
        let id = PartId::by_name(node, name);
        id.is_some_and(|id| found.get(&id).is_some())
    };
    let had: Vec<&str> = JOURNALS.into_iter().filter(|name| has(name)).collect();
    found
        .missing
        .retain(|missing| !had.contains(&missing.name.as_str()));
    // When the journals are there, it does not matter which of the two readers failed.
    if !had.contains(&"kubelet.log") {
        found.missing.extend(beside.missing);
    }
}

/// Reads the output of the script. Of a last line that was cut off, the part that arrived is used.
pub(super) fn read_output(node: &str, output: &[u8], found: &mut Parts) {
    let ended = output
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    read_cut_off(node, &output[ended..], found);
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
        let Some(id) = PartId::by_name(node, name) else {
            found.miss(short(name), node, "a strange name");
            continue;
        };
        let Ok(bytes) = BASE64_STANDARD.decode(encoded) else {
            found.miss(name, node, "it is not whole");
            continue;
        };
        let limit = match &id.kind {
            Kind::PodLog(_) => POD,
            _ if id.is_document() => DOCUMENT,
            _ => PART,
        };
        let late = matches!(status, "124" | "137");
        if late {
            found.miss(name, node, "stopped after 8 s");
        } else if status != "0" {
            let said = String::from_utf8_lossy(&bytes);
            let last = kubenest_base::process::last_lines(&said, 3);
            found.miss(name, node, &format!("status {status}: {}", clean(&last)));
        }
        if !bytes.is_empty() && (status == "0" || (late && !id.is_document())) {
            let cut = bytes.len() >= limit;
            found.found.push(Part { id, bytes, cut });
        }
    }
}

/// Reads a part that was cut off while the script printed it.
fn read_cut_off(node: &str, line: &[u8], found: &mut Parts) {
    let line = String::from_utf8_lossy(line);
    let (Some((name, encoded)), false) = (line.split_once(' '), line.ends_with(' ')) else {
        return;
    };
    let encoded = encoded.split(' ').next().unwrap_or_default();
    let id = PartId::by_name(node, name).filter(|id| !id.is_document());
    let bytes = BASE64_STANDARD.decode(&encoded[..encoded.len() / 4 * 4]);
    let (Some(id), Ok(mut bytes)) = (id, bytes) else {
        return;
    };
    // The last line is dropped, because it may hold half of a secret.
    let whole = bytes.iter().rposition(|byte| *byte == b'\n');
    bytes.truncate(whole.map_or(0, |at| at + 1));
    if !bytes.is_empty() {
        found.miss(name, node, "it was cut off; its end is missing");
        let cut = false;
        found.found.push(Part { id, bytes, cut });
    }
}

fn short(text: &str) -> &str {
    text.get(..80).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{notes::CaseNotes, part::Journal};

    #[test]
    fn what_a_look_prints_is_read_and_what_is_broken_is_told() {
        let mut found = Parts::default();
        let said = b"kubelet.log aGVsbG8= 0\nplugins.txt bm8gY3Ry 127\nempty.txt  0\n\
            late.txt aGVsbG8= 124\n../up aGVsbG8= 0\na/../../b aGVsbG8= 0\nbad.txt %% 0\n\
            api/x.json e30= 0\nconfigz/n2.json e30= 0\npods/a_b_c/d/0.log aGVsbG8= 0\nhalf aGVs";
        read_output("n1", said, &mut found);
        let paths: Vec<String> = found.found.iter().map(|part| part.id.path()).collect();
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
        assert_eq!(found.found[0].bytes, b"hello");
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
    fn what_arrived_of_a_part_stays_but_for_its_last_line() {
        let mut found = Parts::default();
        // This is "one\ntwo", cut in the base64 of the last letter.
        read_output(
            "n1",
            b"disk.txt aGVsbG8= 0\nkubelet.log b25lCnR3b",
            &mut found,
        );
        let kubelet = Kind::Journal(Journal::Kubelet).of("n1");
        assert_eq!(found.get(&kubelet).unwrap().bytes, b"one\n");
        assert_eq!(found.missing[0].error, "it was cut off; its end is missing");
        assert_eq!(found.found.len(), 2);
        for broken in ["api/x.json e30K", "a.txt", "a.txt ", "a.txt %%%%"] {
            let mut none = Parts::default();
            read_output("n1", broken.as_bytes(), &mut none);
            assert!(none.found.is_empty(), "{broken}");
        }
    }

    #[test]
    fn what_a_slow_node_lacks_comes_from_beside_it() {
        let gathered = |said: &str| {
            let mut found = Parts::default();
            read_output("n1", said.as_bytes(), &mut found);
            found
        };
        let mut found = gathered(
            "containerd.log aGVs 124\nkubelet.log aGVsbG8= 0\nservices.txt aGVsbG8= 124\n",
        );
        found.miss("look", "n1", "it took too long");
        let mut beside = gathered(
            "containerd.log aGVsbG8= 0\nkubelet.log aGVs 0\nfull/kubelet.log aGVsbG8= 0\n",
        );
        beside.miss("look", "n1", "not told: the journals are there");
        complete(&mut found, "n1", beside);
        let text = |name: &str| {
            let id = PartId::by_name("n1", name).unwrap();
            String::from_utf8_lossy(&found.get(&id).unwrap().bytes).into_owned()
        };
        for name in ["containerd.log", "kubelet.log", "full/kubelet.log"] {
            assert_eq!(text(name), "hello", "{name}");
        }
        let missing: Vec<&str> = found
            .missing
            .iter()
            .map(|missing| missing.name.as_str())
            .collect();
        assert_eq!(missing, ["services.txt", "look"]);

        let mut nothing = Parts::default();
        let mut beside = Parts::default();
        beside.miss("look", "n1", "no engine");
        complete(&mut nothing, "n1", beside);
        assert_eq!(nothing.missing[0].error, "no engine");
    }

    #[test]
    fn the_script_reads_what_every_runtime_has() {
        let reads = |word: &str| LOOK.split_whitespace().any(|it| it == word);
        for runtime in Runtime::ALL {
            assert!(reads(&format!("--unit={}", runtime.service())), "{runtime}");
            let file = runtime.config_file();
            let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            assert!(reads(file) || reads(&format!("{folder}/*")), "{runtime}");
        }
    }

    #[test]
    fn a_namespace_is_an_argument_and_never_part_of_the_script() {
        let mut about = About::default();
        about.cases.push(CaseNotes {
            namespace: "a; rm".into(),
            ..CaseNotes::default()
        });
        assert_eq!(argv(&about)[4..], ["0.000000", "a; rm"]);
        assert_eq!(argv(&About::default())[4..], ["", ""]);
    }
}
