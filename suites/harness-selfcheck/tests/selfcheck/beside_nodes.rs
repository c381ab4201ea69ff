//! Containers of testcontainers beside the nodes of a cluster.

use std::time::Duration;

use anyhow::{Context, Result};
use harness_selfcheck::{docker, good_node};
use kubenest::{Case, images::SmallImage};
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
