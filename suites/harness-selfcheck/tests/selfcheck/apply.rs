//! Applying manifests through a case, and what becomes of the objects outside its namespace.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use harness_selfcheck::good_node;
use kubenest::{
    Case, Cluster, Origin,
    k8s_openapi::{
        api::{
            core::v1::{ConfigMap, Namespace},
            rbac::v1::{ClusterRole, Role},
        },
        apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    },
    kube::{Api, ResourceExt, api::DynamicObject, api::ListParams},
    objects,
};

const DEADLINE: Duration = Duration::from_secs(60);

/// The label of what a case makes outside its namespace.
const CASE: &str = "dev.kubenest.case";

/// An operator's manifests: its role in a file, its kind and the first of that kind in another.
const RBAC: &str = "\
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: duck-keeper}
rules: [{apiGroups: [example.com], resources: [ducks], verbs: [get]}]
---
apiVersion: v1
kind: List
items:
- apiVersion: rbac.authorization.k8s.io/v1
  kind: Role
  metadata: {name: reader}
  rules: []
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: keeper, namespace: pond}}
";
const DUCKS: &str = "\
apiVersion: example.com/v1
kind: Duck
metadata: {name: donald}
spec: {colour: white, size: 3}
---
apiVersion: v1
kind: Namespace
metadata: {name: pond}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: ducks.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Duck, plural: ducks, singular: duck}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {colour: {type: string}, size: {type: integer}}
";

#[kubenest::test(spec = good_node)]
async fn manifests_are_applied_and_removed_with_their_case(cluster: &Cluster) -> Result<()> {
    cluster.case(async |case| check_folder(case).await).await?;
    check_nothing_is_left(cluster).await
}

async fn check_folder(case: &Case<'_>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("1-rbac.yaml"), RBAC)?;
    fs::write(folder.path().join("2-ducks.yaml"), DUCKS)?;
    let applied = case.apply(folder.path()).await?;
    let place = |object: &DynamicObject| {
        let kind = object.types.as_ref().map_or("", |types| &types.kind);
        let namespace = object.namespace().unwrap_or_default();
        format!("{kind} {namespace}/{}", object.name_any())
    };
    let own = case.namespace();
    let found: Vec<_> = applied.iter().map(place).collect();
    let expected = [
        "CustomResourceDefinition /ducks.example.com".to_owned(),
        "Namespace /pond".to_owned(),
        "ClusterRole /duck-keeper".to_owned(),
        format!("Role {own}/reader"),
        "ServiceAccount pond/keeper".to_owned(),
        format!("Duck {own}/donald"),
    ];
    assert_eq!(found, expected);
    for object in &applied {
        let inside = object.namespace().as_deref() == Some(own);
        let label = object.labels().get(CASE).map(String::as_str);
        assert_eq!(label, (!inside).then_some(own), "{object:?}");
    }

    // Applied again, with a change and without the field that was there before.
    let again = DUCKS.replace("colour: white, size: 3", "size: 4");
    let again = case.apply(again.as_str()).await?;
    let duck = again.last().context("a duck")?;
    assert_eq!(duck.data["spec"], serde_json::json!({"size": 4}));
    assert_eq!(
        case.api::<Role>()
            .list(&ListParams::default())
            .await?
            .items
            .len(),
        1
    );
    Ok(())
}

/// All that was made outside the namespace goes, although nobody waited for it.
async fn check_nothing_is_left(cluster: &Cluster) -> Result<()> {
    let client = cluster.client();
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    objects::gone(definitions, "ducks.example.com", DEADLINE).await?;
    objects::gone(Api::<Namespace>::all(client.clone()), "pond", DEADLINE).await?;
    objects::gone(Api::<ClusterRole>::all(client), "duck-keeper", DEADLINE).await?;
    Ok(())
}

#[kubenest::test(spec = good_node)]
async fn an_error_names_the_document_and_its_field(case: Case) -> Result<()> {
    let said = async |text: &str| {
        let error = case.apply(text).await.expect_err("it must be refused");
        assert_eq!(error.origin(), Origin::Test, "{error:?}");
        error.report().replace(case.namespace(), "NAMESPACE")
    };
    let good = "{apiVersion: v1, kind: ConfigMap, metadata: {name: first}}\n---\n";
    assert_begins(
        &said(&format!(
            "{good}apiVersion: example.com/v1\nkind: Duck\nmetadata: {{name: a}}\n"
        ))
        .await,
        "document 2 at line 3: the cluster has no kind Duck of example.com/v1\n\
         cure: apply its CustomResourceDefinition before or together with it",
    );
    // The first document was applied all the same.
    case.api::<ConfigMap>().get("first").await?;
    let unknown = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, dta: {a: b}}";
    let said_of_field = said(unknown).await;
    assert_begins(
        &said_of_field,
        "apply ConfigMap 'NAMESPACE/a' (document 1 at line 1): ",
    );
    assert!(
        said_of_field.contains(".dta: field not declared"),
        "{said_of_field}"
    );
    let invalid = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: a}, spec: {selector: \
                   {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: \
                   {containers: [{name: c}]}}}}";
    let said_of_value = said(invalid).await;
    assert!(
        said_of_value.contains("spec.template.spec.containers[0].image"),
        "{said_of_value}"
    );
    let missing = case.apply(Path::new("no/such/folder")).await;
    let missing = missing.expect_err("there is no such folder").report();
    assert_begins(&missing, "read 'no/such/folder': No such file or directory");
    Ok(())
}

/// Asserts the beginning of a text.
fn assert_begins(said: &str, expected: &str) {
    assert!(said.starts_with(expected), "{said}\nis not\n{expected}");
}

#[kubenest::test(spec = good_node)]
async fn an_object_that_no_case_has_made_is_changed_and_stays(cluster: &Cluster) -> Result<()> {
    cluster
        .case(async |case| check_changes_of_what_is_there(case).await)
        .await?;
    let default = Api::<Namespace>::all(cluster.client())
        .get("default")
        .await?;
    assert_eq!(default.metadata.deletion_timestamp, None);
    Ok(())
}

async fn check_changes_of_what_is_there(case: &Case<'_>) -> Result<()> {
    let text =
        "{apiVersion: v1, kind: Namespace, metadata: {name: default, labels: {seen: by-us}}}";
    let applied = case.apply(text).await?;
    let labels = applied[0].labels();
    assert_eq!(labels.get("seen").map(String::as_str), Some("by-us"));
    assert!(!labels.contains_key(CASE), "{labels:?}");
    Ok(())
}

#[kubenest::test(spec = good_node)]
async fn two_cases_do_not_fight_over_one_object(cluster: &Cluster) -> Result<()> {
    let role = "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, \
                metadata: {name: shared}, rules: []}";
    let first = cluster.case(async |first| {
        first.apply(role).await?;
        let second = cluster
            .case(async |second| Ok(second.apply(role).await.expect_err("it is the first's")));
        let error = Box::pin(second).await?;
        let expected = format!(
            "ClusterRole 'shared' belongs to '{}', another test that runs now\n\
             cure: prepare the cluster with it",
            first.namespace()
        );
        assert!(error.report().contains(&expected), "{error:?}");
        assert_eq!(error.origin(), Origin::Test);
        // It is still the first's.
        let roles = Api::<ClusterRole>::all(first.client());
        let label = roles.get("shared").await?.labels()[CASE].clone();
        assert_eq!(label, first.namespace());
        Ok(())
    });
    first.await?;
    // The next test has it at once, while the first's is being removed or is gone.
    let next = cluster.case(async |next| Ok(next.apply(role).await?.remove(0)));
    assert_eq!(next.await?.name_any(), "shared");
    let roles = Api::<ClusterRole>::all(cluster.client());
    Ok(objects::gone(roles, "shared", DEADLINE).await?)
}
