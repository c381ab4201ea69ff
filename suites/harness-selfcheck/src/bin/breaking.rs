//! Breaks a cluster on purpose, as failing tests do, and prints a line at each step.
//!
//! `breaking boot NAME` boots with a kubelet that cannot start; `breaking given-up NAME` boots
//! until Ctrl-C; `breaking cases NAME` runs failing cases, some of them concurrently; `breaking
//! wait NAME` waits in a case to be killed.
#![expect(
    clippy::print_stdout,
    reason = "whoever started it waits for its lines"
)]

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness_selfcheck::{
    RECIPE,
    planted::{FIRST_WORDS, SESAME, WORDS_OF_ANOTHER, WORDS_OF_ONE, lines},
};
use kubenest::{
    Case, Cluster, ClusterSpec,
    k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, Secret},
    kube::{
        self,
        api::{DeleteParams, ListParams, LogParams},
    },
    objects,
    wait::Probe,
};
use serde_json::json;
use tokio::sync::Notify;

const SOON: Duration = Duration::from_secs(60);

/// Logs the lines on standard input where only programs of the node log: in the kernel's log and
/// the journals of kubelet and containerd.
const SAY: &str = include_str!("say.sh");

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, name] = args.as_slice() else {
        bail!("breaking boot|given-up|cases|wait NAME")
    };
    let spec = ClusterSpec::single_node()
        .with_recipe(RECIPE)?
        .with_name(name);
    if mode == "boot" {
        let patch = "{kind: KubeletConfiguration, cgroupRoot: /absent}";
        let error = spec.with_kubeadm_patch(patch)?.boot().await.err();
        bail!("{}", error.context("it booted")?.report());
    }
    if mode == "given-up" {
        // As `kubenest up` handles Ctrl-C.
        tokio::select! {
            booted = spec.boot() => bail!("it was not given up: {booted:?}"),
            _ = tokio::signal::ctrl_c() => bail!("given up"),
        }
    }
    let cluster = spec.boot().await?;
    if mode == "wait" {
        return cluster.case(async |case| wait(case).await).await;
    }
    fail_one_of_two_cases(&cluster).await?;
    run_failing_case("planted", &cluster, async |case| plant(case).await).await;
    run_failing_case("containerd", &cluster, async |case| {
        kill_containerd(case).await
    })
    .await;
    run_failing_case("disk", &cluster, async |case| fill_a_disk(case).await).await;
    cluster
        .control_plane()
        .exec_ok(&["umount", "/var/lib/kubelet/pods"])
        .await?;
    lose_the_node_in_two_cases(&cluster).await
}

/// Two concurrent cases: one begins, then another; the first fails and ends; the other passes.
async fn fail_one_of_two_cases(cluster: &Cluster) -> Result<()> {
    let [has_spoken, has_company, is_over] = [(); 3].map(|()| Notify::new());
    let one = async {
        let result = cluster.case(async |case| {
            say(case, WORDS_OF_ONE).await?;
            case.note_step(WORDS_OF_ONE);
            has_spoken.notify_one();
            has_company.notified().await;
            println!("one {}", case.namespace());
            bail!("the one failed")
        });
        let result: Result<()> = result.await;
        is_over.notify_one();
        result.expect_err("it must fail");
    };
    let another = async {
        has_spoken.notified().await;
        let result = cluster.case(async |case| {
            say(case, WORDS_OF_ANOTHER).await?;
            case.note_step(WORDS_OF_ANOTHER);
            has_company.notify_one();
            is_over.notified().await;
            check_own_evidence(case).await
        });
        result.await
    };
    let ((), another) = tokio::join!(one, another);
    println!("another ended well: {}", another.is_ok());
    another
}

/// Checks that the evidence of the second of two cases is only about that case.
async fn check_own_evidence(case: &Case<'_>) -> Result<()> {
    let folder = case.evidence().await?.folder;
    let read = |path: &str| std::fs::read_to_string(folder.join(path));
    let kubelet = read(&format!("nodes/{}/kubelet.log", case.node().name()))?;
    let page = read("index.html")?;
    let objects = read(&format!("api/{}.json", case.namespace()));
    ensure!(objects.is_ok(), "its objects are not there: {objects:?}");
    for text in [kubelet, page] {
        ensure!(text.contains(WORDS_OF_ANOTHER), "no own words in: {text}");
        ensure!(!text.contains(WORDS_OF_ONE), "words of the first: {text}");
    }
    Ok(())
}

/// Two concurrent cases that lose their node: one returns an error of the harness, the other
/// panics.
async fn lose_the_node_in_two_cases(cluster: &Cluster) -> Result<()> {
    let [has_begun, is_lost, is_over] = [(); 3].map(|()| Notify::new());
    let broken = async {
        let result = cluster.case(async |case| {
            has_begun.notify_one();
            is_lost.notified().await;
            let config = ConfigMap::default();
            case.create(&config).await.context("what the test needs")?;
            Ok(())
        });
        let result = result.await;
        is_over.notify_one();
        result.expect_err("no API server is there");
    };
    let breaking = cluster.case(async |case| {
        has_begun.notified().await;
        stop_the_api_server_and_the_node(case).await?;
        is_lost.notify_one();
        is_over.notified().await;
        panic!("the node is dead")
    });
    tokio::join!(broken, breaking).1
}

/// Runs a failing case, and prints how long its evidence took.
async fn run_failing_case(
    name: &str,
    cluster: &Cluster,
    body: impl AsyncFnOnce(&Case<'_>) -> Result<()>,
) {
    let failed = std::cell::Cell::new(Instant::now());
    let run = cluster.case(async |case| {
        let result = body(case).await;
        failed.set(Instant::now());
        result
    });
    run.await.expect_err("the case must fail");
    println!("{name} {:.1}", failed.get().elapsed().as_secs_f64());
}

async fn wait(case: &Case<'_>) -> Result<()> {
    case.create(&speaker(case, "speaker", &lines())?).await?;
    wait_for_speaker(case, "speaker").await?;
    println!("ready");
    std::future::pending().await
}

async fn plant(case: &Case<'_>) -> Result<()> {
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "planted", "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration":
                json!({"kind": "Secret", "stringData": {"word": SESAME}}).to_string()}},
        "stringData": {"word": SESAME},
    }))?;
    case.create(&secret).await?;
    let config: ConfigMap = serde_json::from_value(json!({
        "metadata": {"name": "planted"}, "data": {"text": lines()}}))?;
    case.create(&config).await?;
    let event: Event = serde_json::from_value(json!({
        "metadata": {"name": "planted"}, "type": "Warning", "reason": "Planted",
        "message": lines(), "lastTimestamp": "2100-01-01T00:00:00Z",
        "involvedObject": {"kind": "Pod", "namespace": case.namespace(), "name": "speaker"}}))?;
    case.create(&event).await?;
    case.create(&speaker(
        case,
        "first-speaker",
        &format!("{SESAME}\nDB_PASSWORD={SESAME}\n{}", lines()),
    )?)
    .await?;
    wait_for_speaker(case, "first-speaker").await?;
    case.api::<Pod>()
        .delete("first-speaker", &DeleteParams::default().grace_period(0))
        .await?;
    objects::gone(case.api::<Pod>(), "first-speaker", SOON).await?;
    say(case, &lines()).await?;
    let config = "sed 's/^/# /' >>/etc/containerd/config.toml";
    case.node()
        .exec_with(&["sh", "-c", config], lines().into_bytes())
        .await?;
    bail!("not as expected: {}", lines())
}

async fn say(case: &Case<'_>, lines: &str) -> Result<()> {
    let lines = format!("{lines}\n").into_bytes();
    case.node().exec_with(&["bash", "-c", SAY], lines).await?;
    Ok(())
}

async fn kill_containerd(case: &Case<'_>) -> Result<()> {
    let kill = [
        "systemctl",
        "kill",
        "--kill-whom=main",
        "--signal=KILL",
        "containerd",
    ];
    case.node().exec_ok(&kill).await?;
    wait_for_journal(case, "containerd", "status=9/KILL", "-1m").await?;
    case.until("containerd to be back", SOON, async || {
        Probe::from_result(case.node().reach_runtime().await)
    })
    .await?;
    bail!("containerd was killed")
}

async fn fill_a_disk(case: &Case<'_>) -> Result<()> {
    // Logged before anything else in this case.
    say(case, FIRST_WORDS).await?;
    let mount = [
        "mount",
        "-t",
        "tmpfs",
        "-o",
        "size=4k,nr_inodes=1",
        "full",
        "/var/lib/kubelet/pods",
    ];
    case.node().exec_ok(&mount).await?;
    case.create(&speaker(case, "no-room", "never")?).await?;
    wait_for_journal(case, "kubelet", "no space left", "-1m").await?;
    bail!("the disk is full")
}

/// Waits until the journal of a unit has these words.
async fn wait_for_journal(case: &Case<'_>, unit: &str, words: &str, since: &str) -> Result<()> {
    let look = r#"journalctl --unit="$1" --since="$3" | grep "$2" | tail -1"#;
    let look = ["sh", "-c", look, "look", unit, words, since];
    case.until(&format!("{unit} to say it"), SOON, async || {
        match case.node().exec(&look).await {
            Ok(said) if !said.stdout.is_empty() => Probe::Ready(()),
            Ok(_) => Probe::Pending("nothing of it".into()),
            Err(error) => Probe::Failed(error),
        }
    })
    .await?;
    Ok(())
}

/// Stops the API server, collects evidence, and then kills the node.
async fn stop_the_api_server_and_the_node(case: &Case<'_>) -> Result<()> {
    let stop = "date +@%s.%6N; mv /etc/kubernetes/manifests/kube-apiserver.yaml /root && \
                pkill -KILL kube-apiserver";
    let since = case.node().exec_ok(&["sh", "-c", stop]).await?.text();
    wait_for_journal(case, "kubelet", "connection refused", since.trim()).await?;
    println!("api {}", case.cluster().evidence().await?.folder.display());
    let (docker, name) = (case.node().docker(), case.node().name());
    docker.kill_container(name, "SIGKILL").await?;
    case.until("the node to be dead", SOON, async || {
        match docker.container(name).await {
            Ok(Some(state)) if state.running => Probe::Pending("it runs".into()),
            Ok(_) => Probe::Ready(()),
            Err(error) => Probe::Failed(error),
        }
    })
    .await?;
    Ok(())
}

/// Waits until the log of a speaker is complete and its events are in the API: a pod is Ready
/// earlier.
async fn wait_for_speaker(case: &Case<'_>, name: &str) -> Result<()> {
    case.pod_ready(name, SOON).await?;
    let (pods, events) = (case.api::<Pod>(), case.api::<Event>());
    case.until("its last word and its events", SOON, async || {
        let about = |event: &Event| event.involved_object.name.as_deref() == Some(name);
        let look = async {
            let log = pods.logs(name, &LogParams::default()).await?;
            let events = events.list(&ListParams::default()).await?.items;
            Ok::<_, kube::Error>((log, events.iter().any(about)))
        };
        match look.await {
            Ok((log, true)) if log.trim_end().ends_with("c2lnbmF0dXJlLW9m") => Probe::Ready(()),
            Ok((log, told)) => Probe::Pending(format!("{} bytes, {told}", log.len())),
            Err(error) => Probe::Pending(error.to_string()),
        }
    })
    .await?;
    Ok(())
}

/// A pod that prints a text, then sequences that try to control a terminal or a browser, and then a
/// token where the runtime splits long lines.
fn speaker(case: &Case<'_>, name: &str, text: &str) -> Result<Pod> {
    let version = &case.cluster().versions().kubernetes;
    let script = include_str!("speaker.sh");
    let pod = json!({
        "metadata": {"name": name},
        "spec": {
            "nodeName": case.node().name(),
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "speaker",
                "image": format!("registry.k8s.io/kube-proxy:v{version}"),
                "imagePullPolicy": "Never",
                "command": ["/bin/busybox", "sh", "-c", script, "speaker", text],
            }],
        },
    });
    Ok(serde_json::from_value(pod)?)
}
