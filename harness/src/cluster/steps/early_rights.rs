//! What the control plane's components need before the API server has made its own roles.
//!
//! An API server first waits for a second, then makes the roles of Kubernetes and its classes of
//! priority, and only then says that it is ready. Until then a controller manager may do nothing,
//! although the machine has little to do. So it and the scheduler get every right as soon as the API
//! server serves, and lose them when their own roles are there. No pod of a user's runs meanwhile.

use futures::future::try_join_all;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    rbac::v1::{ClusterRole, ClusterRoleBinding},
};
use kube::{
    Api, Client,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};

use super::creation::{create, ensure_one};
use crate::cluster::SLOW;
use kubenest_base::{
    Result,
    wait::{self, Probe},
};
use kubenest_node::objects;

const NAME: &str = "kubenest:boot";
const GROUP: &str = "rbac.authorization.k8s.io";
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
/// The controllers' own accounts are in this group.
const ACCOUNTS: &str = "system:serviceaccounts:kube-system";
/// The classes of priority that the API server would make, with their values, and what it says of them.
const CLASSES: [(&str, i32, &str); 2] = [
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node \
         if necessary.",
    ),
];

/// Gives the rights and makes the classes; ends when they count.
pub(in crate::cluster) async fn give(client: &Client) -> Result<()> {
    let classes = CLASSES.map(class);
    let classes = classes.iter().map(|class| ensure_one(client, class));
    tokio::try_join!(create(client, rights()), try_join_all(classes))?;
    wait::until("the components' rights", SLOW, async || {
        may_do_anything(client).await
    })
    .await
}

/// Takes the rights away.
pub(in crate::cluster) async fn withdraw(client: &Client) -> Result<()> {
    let params = DeleteParams::default();
    let bindings = Api::<ClusterRoleBinding>::all(client.clone());
    let roles = Api::<ClusterRole>::all(client.clone());
    let what = || format!("take away the rights '{NAME}'");
    objects::answer(what, bindings.delete(NAME, &params)).await?;
    objects::answer(what, roles.delete(NAME, &params)).await?;
    Ok(())
}

fn rights() -> Vec<Value> {
    let version = format!("{GROUP}/v1");
    let subject = |kind: &str, name: &str| json!({"apiGroup": GROUP, "kind": kind, "name": name});
    let role = json!({
        "apiVersion": version,
        "kind": "ClusterRole",
        "metadata": {"name": NAME},
        "rules": [
            {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
            {"nonResourceURLs": ["*"], "verbs": ["*"]},
        ],
    });
    let binding = json!({
        "apiVersion": version,
        "kind": "ClusterRoleBinding",
        "metadata": {"name": NAME},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": NAME},
        "subjects": [
            subject("User", CONTROLLER_MANAGER),
            subject("User", "system:kube-scheduler"),
            subject("Group", ACCOUNTS),
        ],
    });
    vec![role, binding]
}

fn class((name, value, description): (&str, i32, &str)) -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
        "description": description,
    })
}

async fn may_do_anything(client: &Client) -> Probe<()> {
    let any = || Some("*".to_owned());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(CONTROLLER_MANAGER.to_owned()),
            resource_attributes: Some(ResourceAttributes {
                group: any(),
                resource: any(),
                verb: any(),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api = Api::<SubjectAccessReview>::all(client.clone());
    match api.create(&PostParams::default(), &review).await {
        Ok(review) if review.status.as_ref().is_some_and(|it| it.allowed) => Probe::Ready(()),
        Ok(review) => Probe::Pending(format!("{:?}", review.status)),
        Err(error) => Probe::Pending(error.to_string()),
    }
}
