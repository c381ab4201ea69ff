//! The objects of a cluster, of every kind, as far as they stay the same while nobody changes them.

use std::collections::BTreeSet;

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams},
    discovery::{ApiCapabilities, Discovery, verbs},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use kubenest_base::{Context, Result, digest::sha256_hex};
use kubenest_node::objects::{self, ObjectRef};

/// How many lists are asked for at a time.
const LISTS: usize = 8;
/// Kinds whose objects come and go by themselves, or follow from others: the API's own plural names.
const VOLATILE: [&str; 10] = [
    "apiservices",
    "certificatesigningrequests",
    "componentstatuses",
    "controllerrevisions",
    "csinodes",
    "endpoints",
    "endpointslices",
    "events",
    "ipaddresses",
    "leases",
];
/// What the API server and controllers write into the metadata of every object.
const KEPT_BY_SERVER: [&str; 5] = [
    "managedFields",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "selfLink",
];

/// An object, and what makes it that object and no other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ObjectState {
    pub(crate) object: ObjectRef,
    /// Tells it from another of the same name.
    pub(crate) uid: Option<String>,
    /// The hash of its content without status.
    pub(crate) hash: String,
    /// Of a node, its labels and its spec: they can be put back.
    pub(crate) node: Option<Value>,
    /// It is on its way out.
    pub(crate) ends: bool,
}

impl ObjectState {
    fn of(api: &ApiResource, object: &DynamicObject) -> Option<Self> {
        let meta = &object.metadata;
        let owners = meta.owner_references.iter().flatten();
        // Its controller would make it again, under another name or not.
        if owners
            .into_iter()
            .any(|owner| owner.controller == Some(true))
        {
            return None;
        }
        let node = (api.group.is_empty() && api.kind == "Node")
            .then(|| json!({"labels": meta.labels, "spec": object.data.get("spec")}));
        let content = match &node {
            Some(node) => node.clone(),
            None => content(object)?,
        };
        Some(Self {
            object: ObjectRef {
                resource: api.clone(),
                namespace: meta.namespace.clone(),
                name: meta.name.clone()?,
            },
            uid: meta.uid.clone(),
            hash: sha256_hex(content.to_string().as_bytes()),
            node,
            ends: meta.deletion_timestamp.is_some(),
        })
    }

    pub(crate) fn is_namespace(&self) -> bool {
        self.object.resource.group.is_empty() && self.object.resource.kind == "Namespace"
    }

    /// Removes it, without waiting for its end.
    pub(crate) async fn remove(&self, client: &Client) -> Result<()> {
        self.object.remove(client, self.uid.clone()).await
    }

    /// Its place in the order of removal.
    pub(crate) fn rank(&self) -> u8 {
        match self.object.resource.group.as_str() {
            _ if self.object.is_guard() => 0,
            "apiextensions.k8s.io" => 2,
            _ if self.is_namespace() => 3,
            _ => 1,
        }
    }
}

/// What an object is, without what happens to it.
fn content(object: &DynamicObject) -> Option<Value> {
    let mut content = serde_json::to_value(object).ok()?;
    let fields = content.as_object_mut()?;
    fields.remove("status");
    let meta = fields.get_mut("metadata").and_then(Value::as_object_mut)?;
    for name in KEPT_BY_SERVER {
        meta.remove(name);
    }
    Some(content)
}

/// The objects of a cluster that these parameters select, of every kind that can be listed and
/// deleted.
pub(crate) async fn list(client: &Client, params: &ListParams) -> Result<Vec<ObjectState>> {
    let found = Discovery::new(client.clone()).run_aggregated().await;
    let found = found.context("ask the API server for its kinds")?;
    let kinds = found
        .groups()
        .flat_map(|group| group.recommended_resources());
    let kinds = kinds
        .filter(|(api, can)| is_lasting(api, can))
        .map(|(api, _)| api);
    let lists = stream::iter(kinds.collect::<Vec<_>>()).map(async |api| {
        let listed = Api::<DynamicObject>::all_with(client.clone(), &api);
        let what = || format!("list the {}", api.plural);
        let found = objects::answer(what, listed.list(params)).await?;
        let states = found
            .items
            .iter()
            .filter_map(|item| ObjectState::of(&api, item));
        Result::Ok(states.collect::<Vec<_>>())
    });
    lists.buffer_unordered(LISTS).try_concat().await
}

fn is_lasting(api: &ApiResource, can: &ApiCapabilities) -> bool {
    let is_own = !VOLATILE.contains(&api.plural.as_str());
    is_own && can.supports_operation(verbs::LIST) && can.supports_operation(verbs::DELETE)
}

/// The objects that are there now and were not before, without those that go with their namespace.
pub(crate) fn added_objects<'a>(
    before: &[ObjectState],
    now: &'a [ObjectState],
) -> Vec<&'a ObjectState> {
    let is_new = |one: &&ObjectState| !before.iter().any(|other| one.object == other.object);
    let added: Vec<_> = now.iter().filter(is_new).collect();
    let spaces = added.iter().filter(|one| one.is_namespace());
    let spaces: BTreeSet<_> = spaces.map(|one| &one.object.name).collect();
    let goes_with = |one: &&ObjectState| {
        let namespace = one.object.namespace.as_ref();
        namespace.is_some_and(|namespace| spaces.contains(namespace))
    };
    added.into_iter().filter(|one| !goes_with(one)).collect()
}

/// The objects that are another now, or gone; as they were before.
pub(crate) fn changed_objects<'a>(
    before: &'a [ObjectState],
    now: &[ObjectState],
) -> Vec<&'a ObjectState> {
    let is_as_before = |one: &&ObjectState| {
        let found = now.iter().find(|other| one.object == other.object);
        found.is_some_and(|other| one.hash == other.hash)
    };
    before.iter().filter(|one| !is_as_before(one)).collect()
}
