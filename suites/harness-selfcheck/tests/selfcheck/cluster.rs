//! Clusters on the real stack: nodes, network, files, and the removal of everything.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    io::ErrorKind,
    net::SocketAddr,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixListener,
    },
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use harness_selfcheck::{
    RECIPE, docker,
    listeners::{Listener, listeners},
    remains_of, unique_name,
};
use kubenest::{
    Case, Cluster, ClusterSpec, NodeSpec,
    cluster::{self, Listed, Standing},
    k8s_openapi::api::core::v1::{Node as KubeNode, Pod, Service},
    kube::Api,
    node::{Node, NodeStream},
    recipe::Recipe,
    wait::Probe,
};
use kubenest_base::{process::Command, store::Store, wait};
use kubenest_docker::{Scope, sweep};
use kubenest_fixtures::registry::LocalRegistry;
use kubenest_forge::component;
use kubenest_recipe::recipe::Content;
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt, net::TcpStream};

/// The port on which each pod sends its name.
const PORT: u16 = 8080;

const DEADLINE: Duration = Duration::from_secs(90);

#[tokio::test]
async fn three_nodes_share_a_network_and_leave_nothing() -> Result<()> {
    let users_own = users_kubeconfig();
    let cluster = ClusterSpec::with_workers(2)
        .with_recipe(RECIPE)?
        .boot()
        .await?;
    cluster
        .case(async |case| {
            wait_for_ready_nodes(case).await?;
            let pods = start_tellers(case).await?;
            check_pods_reach_each_other(case, &pods).await?;
            check_service_answers_from_both_nodes(case, &pods).await?;
            Ok(())
        })
        .await?;
    check_kubeconfig(&cluster).await?;
    assert_eq!(
        users_kubeconfig(),
        users_own,
        "the user's own kubeconfig was touched"
    );
    check_listeners_are_on_loopback(&cluster).await?;
    check_down_leaves_nothing(cluster).await
}

#[tokio::test]
async fn a_left_cluster_outlives_its_process_until_it_is_removed_by_name() -> Result<()> {
    let engine = kubenest::engine::find().await?;
    let name = unique_name();
    let program = env!("CARGO_BIN_EXE_booting");
    let boot = Command::new(program).args([name.as_str(), "left"]);
    let said = boot.env("KUBENEST_RUN", &name).run().await?.stdout;
    assert!(said.contains(&format!("kubenest down {name}")), "{said}");
    let there = remains_of(&engine, &name).await?;
    for scope in [Scope::Run(&name), Scope::DeadOwners] {
        sweep(&engine, scope).await?;
    }
    assert_eq!(remains_of(&engine, &name).await?, there);
    assert_eq!(
        there.len(),
        5,
        "two nodes, network, volume, mark: {there:?}"
    );
    let worker = engine.container(&format!("{name}-worker")).await?;
    assert!(worker.is_some_and(|worker| worker.running));
    let clusters = cluster::list(&engine).await?;
    let kept =
        |listed: &Listed| (listed.name == name).then_some((listed.nodes, listed.standing.clone()));
    let found: Vec<_> = clusters.iter().filter_map(kept).collect();
    assert_eq!(found, [(2, Standing::Kept)], "{clusters:?}");
    cluster::remove(&engine, &name).await?;
    assert_eq!(remains_of(&engine, &name).await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn a_node_is_as_its_spec_requests() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("note"), "from the host")?;
    let node = NodeSpec::control_plane()
        .with_port(PORT, 0)
        .with_read_only_mount(folder.path().to_string_lossy(), "/from-host");
    let cri = r#"[plugins."io.containerd.grpc.v1.cri"]"#;
    let cluster = ClusterSpec::of([node])
        .with_recipe(RECIPE)?
        .with_kubeadm_patch("{kind: KubeletConfiguration, maxPods: 33}")?
        .with_containerd_patch(&format!("{cri}\nmax_container_log_line_size = 4321"))?
        .boot()
        .await?;
    cluster
        .case(async |case| {
            let node = case.node();
            let configz = format!("/api/v1/nodes/{node}/proxy/configz");
            let configz: Value =
                serde_json::from_str(&kubectl(case, &["get", "--raw", &configz]).await?)?;
            assert_eq!(configz["kubeletconfig"]["maxPods"], 33);

            // The configuration of the running daemon, not that of the file.
            let status = node.cri().await?.status(true).await?;
            let config: Value = serde_json::from_str(&status.info["config"])?;
            assert_eq!(config["maxContainerLogSize"], 4321, "{config}");

            // An empty pipe of the engine does not always end, so /dev/null is used.
            let input = ["readlink", "/proc/self/fd/0"];
            let input = node.exec_with(&input, Vec::new()).await?;
            assert_eq!(input.text(), "/dev/null\n");

            assert_eq!(node.read_file("/from-host/note").await?, b"from the host");
            let written = node.exec(&["touch", "/from-host/note"]).await?;
            assert!(
                written.stderr.contains("Read-only file system"),
                "{written:?}"
            );

            check_host_socket_is_not_in_node(node).await?;
            check_cgroups_of_pods_stay(case).await?;
            check_mapped_port(case).await
        })
        .await?;
    Ok(cluster.down().await?)
}

async fn wait_for_ready_nodes(case: &Case<'_>) -> Result<()> {
    let nodes = Api::<KubeNode>::all(case.client());
    let names: BTreeSet<_> = case.cluster().nodes().iter().map(Node::name).collect();
    assert_eq!(names.len(), 3);
    let ready = |node: &KubeNode| {
        let conditions = node
            .status
            .iter()
            .flat_map(|status| status.conditions.iter().flatten());
        conditions
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
    };
    // On a busy machine a kubelet can report late, and its node is briefly not Ready.
    case.until("all nodes to be Ready", DEADLINE, async || {
        let list = match nodes.list(&Default::default()).await {
            Ok(list) => list,
            Err(error) => return Probe::Pending(error.to_string()),
        };
        let found = list.items.iter().filter(|node| ready(node));
        let found: BTreeSet<_> = found
            .filter_map(|node| node.metadata.name.as_deref())
            .collect();
        match found == names {
            true => Probe::Ready(()),
            false => Probe::Pending(format!("{found:?}")),
        }
    })
    .await?;
    Ok(())
}

/// Starts a teller pod on every node; returns name and address in the order of the nodes.
async fn start_tellers(case: &Case<'_>) -> Result<Vec<(String, String)>> {
    let nodes = case.cluster().nodes();
    for (index, node) in nodes.iter().enumerate() {
        let role = node.role().as_str();
        case.create(&teller(
            case,
            &format!("teller-{index}"),
            node.name(),
            role,
        )?)
        .await?;
    }
    let mut pods = Vec::new();
    for index in 0..nodes.len() {
        let name = format!("teller-{index}");
        let pod = case.pod_ready(&name, DEADLINE).await?;
        let ip = pod
            .status
            .and_then(|status| status.pod_ip)
            .context("a pod has no address")?;
        pods.push((name, ip));
    }
    Ok(pods)
}

/// A pod that sends its name to every client, from an image that every node has.
fn teller(case: &Case<'_>, name: &str, node: &str, role: &str) -> Result<Pod> {
    let version = &case.cluster().versions().kubernetes;
    let port = PORT.to_string();
    let tell = ["nc", "-ll", "-p", &port, "-e", "/bin/busybox", "echo", name];
    let pod = json!({
        "metadata": {"name": name, "labels": {"role": role}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "teller",
                "image": format!("registry.k8s.io/kube-proxy:v{version}"),
                "imagePullPolicy": "Never",
                "command": ["/bin/busybox"],
                "args": tell,
                "ports": [{"containerPort": PORT}],
                "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            }],
        },
    });
    Ok(serde_json::from_value(pod)?)
}

async fn check_pods_reach_each_other(case: &Case<'_>, pods: &[(String, String)]) -> Result<()> {
    for (from, _) in pods {
        for (to, ip) in pods {
            assert_eq!(
                &ask_from_pod(case, from, ip).await?,
                to,
                "what {from} got from {to} at {ip}"
            );
        }
    }
    Ok(())
}

/// Checks that a Service of the pods on the two workers answers on the control plane.
async fn check_service_answers_from_both_nodes(
    case: &Case<'_>,
    pods: &[(String, String)],
) -> Result<()> {
    let service = json!({
        "metadata": {"name": "tellers"},
        "spec": {"selector": {"role": "worker"}, "ports": [{"port": PORT}]},
    });
    case.create(&serde_json::from_value::<Service>(service)?)
        .await?;
    let answers = RefCell::new(BTreeSet::new());
    case.until(
        "both endpoints to answer by the Service's name",
        DEADLINE,
        async || {
            let answer = match ask_from_pod(case, &pods[0].0, "tellers").await {
                Ok(answer) => answer,
                Err(error) => return Probe::Pending(format!("{error:#}")),
            };
            let mut seen = answers.borrow_mut();
            seen.insert(answer);
            if seen.len() == 2 {
                Probe::Ready(())
            } else {
                Probe::Pending(format!("{seen:?}"))
            }
        },
    )
    .await?;
    assert_eq!(
        answers.into_inner(),
        [pods[1].0.clone(), pods[2].0.clone()].into()
    );
    Ok(())
}

/// The answer that a pod gets from a teller or a Service.
async fn ask_from_pod(case: &Case<'_>, from: &str, host: &str) -> Result<String> {
    let port = PORT.to_string();
    let ask = ["/bin/busybox", "nc", "-w", "5", host, &port];
    let exec = ["exec", "--namespace", case.namespace(), from, "--"];
    Ok(kubectl(case, &[exec.as_slice(), &ask].concat())
        .await?
        .trim()
        .to_owned())
}

/// Runs kubectl on the control plane's node.
async fn kubectl(case: &Case<'_>, args: &[&str]) -> Result<String> {
    let admin = ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"];
    Ok(case
        .node()
        .exec_ok(&[admin.as_slice(), args].concat())
        .await?
        .text())
}

async fn check_kubeconfig(cluster: &Cluster) -> Result<()> {
    let path = cluster.kubeconfig();
    assert!(
        path.starts_with(
            kubenest::settings()
                .cache
                .join("clusters")
                .join(cluster.name())
        )
    );
    assert_eq!(fs::metadata(path)?.permissions().mode() & 0o777, 0o600);

    let Content::Parts(parts) = Recipe::named(RECIPE)?.content else {
        anyhow::bail!("'{RECIPE}' has no parts")
    };
    let files = component::provide(&Store::of(kubenest::settings()), &parts.kubernetes)
        .await?
        .files;
    let kubectl = Command::new(files.join("usr/local/bin/kubectl"));
    let nodes = kubectl
        .arg("--kubeconfig")
        .arg(path)
        .args(["get", "nodes", "-o", "name"]);
    let nodes = nodes.run().await?.stdout;
    let expected = cluster
        .nodes()
        .iter()
        .map(|node| format!("node/{node}"))
        .collect();
    assert_eq!(
        nodes.lines().map(str::to_owned).collect::<BTreeSet<_>>(),
        expected
    );
    Ok(())
}

/// Inode, time and content of the user's own kubeconfig, which must not change.
fn users_kubeconfig() -> Option<(u64, i64, Vec<u8>)> {
    let path = kubenest::settings()
        .docker
        .home
        .as_deref()
        .map(|home| home.join(".kube/config"))?;
    let seen = |path: &Path| {
        let metadata = fs::metadata(path)?;
        std::io::Result::Ok((metadata.ino(), metadata.mtime(), fs::read(path)?))
    };
    seen(&path).ok()
}

/// Checks that neither the cluster nor a registry nor the engine listens on other addresses than
/// loopback.
async fn check_listeners_are_on_loopback(cluster: &Cluster) -> Result<()> {
    let inspect = ["inspect", "--format", "{{json .NetworkSettings.Ports}}"];
    let inspect = [&inspect[..], &[cluster.control_plane().name()]].concat();
    let ports: Value = serde_json::from_str(&docker(cluster.docker(), &inspect).await?)?;
    let api = ports["6443/tcp"][0]["HostPort"]
        .as_str()
        .context("the API server has no port")?;
    let registry = LocalRegistry::start(cluster.docker()).await?;
    let address: SocketAddr = registry.address().parse()?;
    let ours = [api.parse()?, address.port()];
    let listeners = listeners()?;
    registry.stop().await?;
    for port in ours {
        let mut at = listeners
            .iter()
            .filter(|listener| listener.at.port() == port);
        assert!(
            at.any(|listener| listener.at.ip().is_loopback()),
            "{port}: {listeners:?}"
        );
    }
    let cache = kubenest::settings()
        .cache
        .to_str()
        .context("a strange path")?;
    for Listener { at, command } in &listeners {
        let ours = ours.contains(&at.port()) || command.contains(cache);
        assert!(!ours || at.ip().is_loopback(), "{at}: {command}");
    }
    Ok(())
}

async fn check_down_leaves_nothing(cluster: Cluster) -> Result<()> {
    let (engine, name) = (cluster.docker().clone(), cluster.name().to_owned());
    let folder = cluster
        .kubeconfig()
        .parent()
        .context("a file has a folder")?
        .to_owned();
    // The nodes' own volumes have neither names nor labels, so they are found by the nodes' mounts.
    let mut inspect = vec!["inspect", "--format", "{{range .Mounts}}{{.Name}} {{end}}"];
    inspect.extend(cluster.nodes().iter().map(|node| node.name()));
    let volumes = docker(&engine, &inspect).await?;
    assert!(volumes.split_whitespace().count() >= 3, "{volumes}");
    assert_eq!(
        remains_of(&engine, &name).await?.len(),
        3 + 1 + 1 + 1,
        "nodes, guard, network and volume"
    );

    cluster.down().await?;

    assert_eq!(remains_of(&engine, &name).await?, Vec::<String>::new());
    let left = docker(&engine, &["volume", "ls", "--quiet"]).await?;
    for volume in volumes.split_whitespace() {
        assert!(
            !left.lines().any(|left| left == volume),
            "volume {volume} is left"
        );
    }
    assert!(!folder.exists(), "'{}' is left", folder.display());
    Ok(())
}

/// In a node `/var/run` is a link to `/run`, which must not lead to the host's `/run`.
async fn check_host_socket_is_not_in_node(node: &Node) -> Result<()> {
    let name = format!("kubenest-{}.sock", std::process::id());
    let on_host = Path::new("/run").join(&name);
    let listener = UnixListener::bind(&on_host)?;
    listener.set_nonblocking(true)?;
    let dialled = node.dial(&format!("/var/run/{name}")).await;
    fs::remove_file(on_host)?;
    assert!(!matches!(dialled, Ok(NodeStream::Direct(_))), "{dialled:?}");
    let came = listener.accept();
    assert!(
        came.is_err_and(|error| error.kind() == ErrorKind::WouldBlock),
        "the host's socket was reached"
    );
    let own = node.dial("/var/run/containerd/containerd.sock").await?;
    assert!(matches!(own, NodeStream::Direct(_)), "{own:?}");
    Ok(())
}

/// Checks that systemd makes a pod's slice in the hierarchy of devices, too, instead of removing the
/// slice around it, where cgroups have version 1.
async fn check_cgroups_of_pods_stay(case: &Case<'_>) -> Result<()> {
    let folder = "/sys/fs/cgroup/devices/kubelet.slice/kubelet-kubepods.slice";
    if case.node().exec(&["test", "-d", folder]).await?.status != 0 {
        return Ok(());
    }
    let (around, slice) = ("kubelet-kubepods-burstable", "podtest.slice");
    let (slice, signature) = (format!("{around}-{slice}"), "ssa(sv)a(sa(sv))");
    let systemd = [
        "org.freedesktop.systemd1",
        "/org/freedesktop/systemd1",
        "org.freedesktop.systemd1.Manager",
    ];
    let start = ["StartTransientUnit", signature, &slice, "replace", "0", "0"];
    let argv = [&["busctl", "call"], systemd.as_slice(), &start].concat();
    case.node().exec_ok(&argv).await?;
    let active = ["systemctl", "is-active", &slice];
    case.until("the slice to be there", DEADLINE, async || {
        match case.node().exec(&active).await {
            Ok(state) if state.text() == "active\n" => Probe::Ready(()),
            Ok(state) => Probe::Pending(state.text()),
            Err(error) => Probe::Failed(error),
        }
    })
    .await?;
    let made = format!("{folder}/{around}.slice/{slice}");
    case.node().exec_ok(&["ls", "-d", &made]).await?;
    Ok(())
}

async fn check_mapped_port(case: &Case<'_>) -> Result<()> {
    let node = case.node();
    let mut pod = teller(case, "teller", node.name(), "mapped")?;
    let container = pod
        .spec
        .as_mut()
        .and_then(|spec| spec.containers.first_mut());
    let port = container.and_then(|container| container.ports.as_mut()?.first_mut());
    port.context("the teller has a port")?.host_port = Some(PORT.into());
    case.create(&pod).await?;
    case.pod_ready("teller", DEADLINE).await?;
    let state = node
        .docker()
        .container(node.name())
        .await?
        .context("the node is gone")?;
    let port = *state.ports.get(&PORT).context("the port is not mapped")?;
    assert_eq!(answer_on_host(port).await?, "teller");
    Ok(())
}

/// The answer on this port of the host.
async fn answer_on_host(port: u16) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let mut answer = String::new();
    wait::at_most(DEADLINE, stream.read_to_string(&mut answer))
        .await
        .context("it took too long")??;
    Ok(answer.trim().to_owned())
}
