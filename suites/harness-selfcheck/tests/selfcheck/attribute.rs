//! Tests made by `#[kubenest::test]`: what their bodies get, and how they end.

use std::{fmt, path::Path};

use anyhow::{Result, ensure};
use harness_selfcheck::{RECIPE, good_node, nodes_by_kubeconfig};
use kubenest::{
    Case, Cluster, ClusterSpec, Preparation,
    k8s_openapi::api::core::v1::{ConfigMap, ServiceAccount},
    kube::{Api, Client},
};
use kubenest_base::process::Command;
use kubenest_fixtures::leased;
use rstest::{fixture, rstest};

#[kubenest::test(spec = good_node)]
async fn a_body_gets_all_that_it_asks_for(
    case: Case,
    cluster: Cluster,
    mut client: Client,
) -> Result<()> {
    ensure!(case.cluster().name() == cluster.name());
    // The parameter is a variable as any other.
    for mine in [std::mem::replace(&mut client, cluster.client()), client] {
        let accounts = Api::<ServiceAccount>::namespaced(mine, case.namespace());
        accounts.get("default").await?;
    }
    Ok(())
}

#[kubenest::test(spec = ClusterSpec::single_node().with_recipe(RECIPE))]
async fn a_cluster_alone_is_for_cases_of_its_own(cluster: Cluster) {
    let namespace = async |case: &Case<'_>| Ok(case.namespace().to_owned());
    let first = cluster.case(namespace).await.expect("a case must begin");
    let second = cluster.case(namespace).await.expect("a case must begin");
    assert_ne!(first, second);
    cluster.down().await.expect("a lease must be released");
}

#[kubenest::test(spec = good_node, worker_threads = 1 + 1)]
async fn a_runtime_has_the_threads_asked_for(_: &Client) {
    let metrics = tokio::runtime::Handle::current().metrics();
    assert_eq!(metrics.num_workers(), 2);
}

/// A client of the test's own.
struct Nodes(Vec<String>);

async fn nodes(kubeconfig: &Path) -> Result<Nodes> {
    Ok(Nodes(nodes_by_kubeconfig(kubeconfig).await?))
}

#[kubenest::test(spec = good_node, client = nodes)]
async fn a_client_is_made_as_the_test_says(case: &Case<'_>, nodes: Nodes) {
    assert_eq!(nodes.0, [case.node().name()]);
}

/// What the next test finds in its cluster.
fn with_colours() -> Preparation {
    Preparation::new("colours")
        .apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: colours}, data: {sky: blue}}")
}

#[kubenest::test(spec = good_node, prepared = with_colours, exclusive)]
async fn a_cluster_is_prepared_and_had_alone(case: Case) -> Result<()> {
    let maps = Api::<ConfigMap>::namespaced(case.client(), "default");
    ensure!(maps.get("colours").await?.data == Some([("sky".into(), "blue".into())].into()));
    Ok(())
}

#[rstest]
#[tokio::test]
async fn a_fixture_leases_the_same(
    #[future(awt)]
    #[with(good_node().expect("the recipe must be known"))]
    leased: Cluster,
) -> Result<()> {
    let again = kubenest::lease(&good_node()?).await?;
    ensure!(again.name() == leased.name());
    Ok(())
}

#[fixture]
fn colour() -> &'static str {
    "blue"
}

#[kubenest::test(spec = good_node)]
#[rstest]
#[case::of_the_sky("sky")]
#[case::of_the_sea("sea")]
async fn cases_of_rstest_share_the_cluster(
    case: Case,
    #[case] name: &str,
    colour: &str,
) -> Result<()> {
    let data = [(name.to_owned(), colour.to_owned())].into();
    let mut map = ConfigMap {
        data: Some(data),
        ..ConfigMap::default()
    };
    map.metadata.name = Some("colours".into());
    ensure!(case.create(&map).await?.data == map.data);
    Ok(())
}

#[kubenest::test(spec = good_node)]
#[should_panic(expected = "as it should")]
async fn a_body_may_have_to_panic(case: Case) {
    panic!("{} ends as it should", case.namespace());
}

#[kubenest::test(spec = good_node)]
#[ignore = "run by the test below"]
#[should_panic]
async fn fails_without_a_panic(_: Case) -> Result<(), fmt::Error> {
    Ok(())
}

#[kubenest::test(spec = good_node)]
#[ignore = "run by the test below"]
#[should_panic(expected = "cold")]
async fn fails_with_another_panic(_: Case) {
    panic!("too hot");
}

#[kubenest::test(spec = good_node)]
#[ignore = "run by the test below"]
async fn fails_by_an_error(_: Case) -> Result<(), fmt::Error> {
    Err(fmt::Error)
}

#[kubenest::test(spec = ClusterSpec::single_node().with_recipe("v0"))]
#[ignore = "run by the test below"]
#[should_panic]
async fn fails_without_a_cluster(_: Case) {}

#[tokio::test]
async fn a_test_ends_as_its_body_does() -> Result<()> {
    for (test, expected) in [
        (
            "fails_without_a_panic",
            "Error: the test did not panic, as it should\n",
        ),
        (
            "fails_with_another_panic",
            "Error: the test should panic with \"cold\", and did with \"too hot\"\n",
        ),
        (
            "fails_by_an_error",
            "Error: an error occurred when formatting an argument\n",
        ),
        (
            "fails_without_a_cluster",
            "Error: make the spec of this test: no recipe is named v0\ncure: use one of ",
        ),
    ] {
        let test = format!("attribute::{test}");
        let run = Command::new(std::env::current_exe()?).args([&test, "--exact", "--ignored"]);
        let run = run.env("KUBENEST_VERDICTS", "").output().await?;
        ensure!(run.stdout.contains(expected), "{}", run.stdout);
        ensure!(run.stdout.contains("1 failed"), "{}", run.stdout);
    }
    Ok(())
}
