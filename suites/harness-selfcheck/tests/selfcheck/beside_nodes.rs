//! Containers beside the nodes of a cluster: those of testcontainers, and a registry.

use std::time::Duration;

use anyhow::{Context, Result};
use harness_selfcheck::{RECIPE, docker, good_node};
use kubenest::{Case, ClusterSpec, images::SmallImage};
use kubenest_fixtures::registry::LocalRegistry;
use testcontainers::{GenericImage, ImageExt, core::IntoContainerPort};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// The port of the container.
const PORT: u16 = 8080;

#[kubenest::test(spec = good_node)]
async fn a_container_of_testcontainers_has_a_name_for_pods(case: Case) -> Result<()> {
    let engine = case.cluster().docker();
    let image = SmallImage::load(engine, "from beside the nodes").await?;
    let (name, tag) = image.reference().rsplit_once(':').context("it has a tag")?;
    let serve = ["httpd", "-f", "-p", "8080", "-h", "/"];
    let request = GenericImage::new(name, tag)
        .with_exposed_port(PORT.tcp())
        .with_cmd(serve);
    let container = case.start_container("database", request).await?;

    // By the test, at a port of this machine that nobody beyond it reaches.
    let port = container.get_host_port_ipv4(PORT).await?;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /mark HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    assert!(answer.trim_end().ends_with(image.mark()), "{answer}");
    let about = engine.inspect(container.id()).await?;
    let bindings = about["NetworkSettings"]["Ports"]["8080/tcp"].as_array();
    for binding in bindings.context("the port is published")? {
        assert_eq!(binding["HostIp"], "127.0.0.1");
    }

    // By a pod, at the name.
    let look = format!("/bin/busybox wget -q -O - http://database:{PORT}/mark");
    let mut pod = image.pod("reader", image.reference());
    let spec = pod.spec.as_mut().context("a pod has a spec")?;
    spec.containers[0].command = Some(["/bin/busybox", "sh", "-c", &look].map(Into::into).into());
    case.cluster().images().load(image.reference()).await?;
    case.create(&pod).await?;
    case.logs_until("reader", image.mark(), DEADLINE).await?;

    // It goes with the cluster at the latest.
    let labelled = format!("label=dev.kubenest.cluster={}", case.cluster().name());
    let ours = ["ps", "--quiet", "--no-trunc", "--filter", &labelled];
    assert!(docker(engine, &ours).await?.contains(container.id()));
    container.rm().await?;
    Ok(())
}

/// Registries that exist nowhere else: both have the same mirror, and the nodes a login for one.
const KNOWN: &str = "known.example.com";
const UNKNOWN: &str = "unknown.example.com";

#[tokio::test]
async fn nodes_pull_from_a_mirror_with_their_login() -> Result<()> {
    let engine = kubenest::engine::find().await?;
    let mut registry = LocalRegistry::start(&engine).await?;
    let ended = pull_through(&mut registry).await;
    registry.stop().await?;
    ended
}

async fn pull_through(registry: &mut LocalRegistry) -> Result<()> {
    let engine = kubenest::engine::find().await?;
    let image = SmallImage::load(&engine, "from a mirror").await?;
    registry
        .publish(image.reference(), "team/small", "1")
        .await?;
    let (user, password) = LocalRegistry::LOGIN;
    let mirror = format!("http://{}", registry.login_address());
    let cluster = ClusterSpec::single_node()
        .with_recipe(RECIPE)?
        .with_registry_mirror(KNOWN, &mirror)?
        .with_registry_mirror(UNKNOWN, &mirror)?
        .with_registry_login(KNOWN, user, password)?
        .boot()
        .await?;
    registry
        .with_login(&format!("kubenest-{}", cluster.name()))
        .await?;
    let pulled = cluster
        .case(async |case| {
            for from in [KNOWN, UNKNOWN] {
                let mut pod = image.pod(from, &format!("{from}/team/small:1"));
                let spec = pod.spec.as_mut().context("a pod has a spec")?;
                spec.containers[0].image_pull_policy = Some("Always".to_owned());
                case.create(&pod).await?;
            }
            case.logs_until(KNOWN, image.mark(), DEADLINE).await?;
            let refused = case.pod_ready(UNKNOWN, Duration::from_secs(1)).await;
            let said = refused.expect_err("it has no login").report();
            assert!(said.contains("Pull"), "{said}");
            Ok(())
        })
        .await;
    // The network of the cluster has the registry on it.
    docker(
        &engine,
        &[
            "network",
            "disconnect",
            "--force",
            &format!("kubenest-{}", cluster.name()),
            registry.container(),
        ],
    )
    .await?;
    cluster.down().await?;
    image.remove().await?;
    pulled
}
