//! The operator on a real node, with a real kubelet to use what it makes.

use std::{collections::BTreeMap, time::Duration};

use downstream::copy_of;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kubenest::{Cluster, cluster::probe_pod};
use kubenest_fixtures::cluster;
use rstest::rstest;
use serde_json::json;

#[rstest]
#[tokio::test]
async fn a_pod_starts_from_the_copy(#[future(awt)] cluster: Cluster) -> anyhow::Result<()> {
    cluster
        .case(async |case| {
            let operator = downstream::run(case.client(), case.namespace().to_owned());
            let operator = tokio::spawn(operator);
            let source = case.create(&source()).await?;

            // The kubelet starts no container whose environment is not there.
            let mut reader = probe_pod(case.node(), "reader").await?;
            let from = json!({"configMapKeyRef": {"name": copy_of("colours"), "key": "sky"}});
            let env = json!([{"name": "SKY", "valueFrom": from}]);
            reader
                .spec
                .as_mut()
                .expect("a pod must have a spec")
                .containers[0]
                .env = serde_json::from_value(env)?;
            case.create::<Pod>(&reader).await?;
            case.pod_ready("reader", Duration::from_secs(60)).await?;

            let copy = case.api::<ConfigMap>().get(&copy_of("colours")).await?;
            assert_eq!(copy.data, source.data);
            operator.abort();
            Ok(())
        })
        .await?;
    Ok(cluster.down().await?)
}

fn source() -> ConfigMap {
    let mut source = ConfigMap::default();
    source.metadata.name = Some("colours".into());
    source.metadata.labels = Some(BTreeMap::from([("copy".into(), "yes".into())]));
    source.data = Some(BTreeMap::from([("sky".into(), "blue".into())]));
    source
}
