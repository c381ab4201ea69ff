//! Looks at a node: one gRPC connection, one probe script, one question to the kubelet.

use std::time::{Duration, SystemTime};

use futures::future::join_all;
use kube::Client;

use super::{
    Expected,
    facts::{Clock, ContainerdConfig, Daemon, Disk, Facts, Probe, Seen, driver, seen},
    image_volume,
    kubelet::Kubelet,
    loader,
    shim::{Generation, Shim, candidates, limit},
};
use kubenest_base::{Context, Error, Result, wait::Deadline};
use kubenest_node::node::{
    Node,
    containerd::Plugin,
    cri::{CgroupDriver, Condition, Cri, Version},
};

/// How long one look may take; a node that needs longer is sick.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything the checks want to know about a node. What cannot be had says why; without a
/// `client` there is no kubelet to ask.
pub(super) async fn collect(node: &Node, client: Option<&Client>, expected: &Expected) -> Facts {
    let (answers, (probe, clock), kubelet) =
        tokio::join!(ask_daemon(node), probe(node), within(configz(node, client)));
    let probe = probe
        .as_ref()
        .map(|text| Probe::parse(text))
        .map_err(Clone::clone);
    let probe = probe.as_ref();
    let daemon = probe.map_err(Clone::clone).and_then(Probe::daemon);
    let driver = driver(&answers.cri_driver, &answers.config);
    let dump = probe.map_err(Clone::clone).and_then(Probe::dump);
    let snapshotter = loader::loaded_for(&dump, &answers.image_folders);
    // One after the other: the smallest image there is would be the one just imported.
    let tried = async {
        let image_volume = match expected.image_volumes {
            true => image_volume::look(node, &driver).await,
            false => Err("the spec asks for no image volumes".to_owned()),
        };
        let import = match expected.loader {
            Some(_) => loader::import(node, &snapshotter).await,
            None => Err("nothing is loaded by kind".to_owned()),
        };
        (image_volume, import)
    };
    let (shims, disk, (image_volume, import)) = tokio::join!(
        shims(node, &answers.config, &daemon, &answers.version),
        disk(node, &answers.image_folders),
        tried,
    );
    Facts {
        version: answers.version,
        conditions: answers.conditions,
        image_folders: answers.image_folders,
        cri_driver: answers.cri_driver,
        plugins: answers.plugins,
        overlay: probe.map_err(Clone::clone).and_then(Probe::overlay),
        cgroup: probe.map_err(Clone::clone).and_then(Probe::cgroup),
        inotify: probe.map_err(Clone::clone).and_then(Probe::inotify),
        config: answers.config,
        daemon,
        shims,
        disk,
        clock,
        kubelet: kubelet.and_then(|text| Kubelet::parse(&text)),
        kubelet_flags: probe.map_err(Clone::clone).and_then(Probe::kubelet_flags),
        image_volume,
        dump,
        import,
    }
}

struct Answers {
    version: Seen<Version>,
    conditions: Seen<Vec<Condition>>,
    config: Seen<ContainerdConfig>,
    image_folders: Seen<Vec<String>>,
    cri_driver: Seen<Option<CgroupDriver>>,
    plugins: Seen<Vec<Plugin>>,
}

async fn ask_daemon(node: &Node) -> Answers {
    let connected = async { tokio::try_join!(node.containerd(), Cri::open(node)) };
    let (daemon, cri) = match within(connected).await {
        Ok(connected) => connected,
        Err(why) => {
            return Answers {
                version: Err(why.clone()),
                conditions: Err(why.clone()),
                config: Err(why.clone()),
                image_folders: Err(why.clone()),
                cri_driver: Err(why.clone()),
                plugins: Err(why),
            };
        }
    };
    let (version, status, image_folders, cri_driver, plugins) = tokio::join!(
        within(cri.version()),
        within(cri.status(true)),
        within(cri.image_folders()),
        within(cri.cgroup_driver()),
        within(daemon.plugins()),
    );
    let config = seen(&status).and_then(|status| ContainerdConfig::parse(&status.info));
    let conditions = status.map(|status| status.conditions().to_vec());
    Answers {
        version,
        conditions,
        config,
        image_folders,
        cri_driver,
        plugins,
    }
}

/// The probe's text, and the clock it read somewhere between start and end of the call.
async fn probe(node: &Node) -> (Seen<String>, Seen<Clock>) {
    let before = SystemTime::now();
    let text = within(run(node, &["sh", "-c", include_str!("probe.sh")])).await;
    let (before, after) = (seconds(before), seconds(SystemTime::now()));
    let there = text.as_ref().map_err(Clone::clone);
    let clock = there
        .and_then(|text| Probe::parse(text).clock())
        .map(|there| Clock {
            skew: there - f64::midpoint(before, after),
            error: (after - before) / 2.0,
        });
    (text, clock)
}

/// Every distinct shim the daemon would start, with what it says about itself.
async fn shims(
    node: &Node,
    config: &Seen<ContainerdConfig>,
    daemon: &Seen<Daemon>,
    version: &Seen<Version>,
) -> Seen<Vec<Shim>> {
    let (config, daemon, version) = (seen(config)?, seen(daemon)?, seen(version)?);
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

async fn disk(node: &Node, folders: &Seen<Vec<String>>) -> Seen<Disk> {
    let folder = seen(folders)?
        .first()
        .ok_or("the runtime names no image file system")?;
    let argv = [
        "stat",
        "--file-system",
        "--format",
        "%S %b %a %c %d",
        folder,
    ];
    Disk::parse(&within(node.exec_ok(&argv)).await?.text())
}

/// What a kubelet is in effect configured to.
pub(super) async fn configz(node: &Node, client: Option<&Client>) -> Result<String> {
    let client = client.ok_or_else(|| Error::setup("no Kubernetes runs yet"))?;
    let path = format!("/api/v1/nodes/{}/proxy/configz", node.name());
    let request = http::Request::get(path)
        .body(Vec::new())
        .context("kubelet configz")?;
    client
        .request_text(request)
        .await
        .context("kubelet configz")
}

/// A script tells by what it prints, not by its status.
async fn run(node: &Node, argv: &[&str]) -> Result<String> {
    Ok(node.exec(argv).await?.text())
}

/// A fact from a fallible call.
async fn within<T>(call: impl Future<Output = Result<T>>) -> Seen<T> {
    let deadline = Deadline::begin(PATIENCE);
    let answered = deadline.give(call).await;
    let result = answered.unwrap_or_else(|| Err(Error::timeout(deadline.silence())));
    result.map_err(in_one_line)
}

/// Everything that an error knows.
pub(super) fn in_one_line(error: Error) -> String {
    error.report().replace('\n', "; ")
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
