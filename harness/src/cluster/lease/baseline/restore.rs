//! Undoes what earlier tests have left in a cluster.

use std::time::Duration;

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Map, Value, json};

use super::{
    Baseline,
    machine::{self, NodeState},
};
use crate::cluster::contents::{self, ObjectState};
use kubenest_base::{
    Error, Result, progress,
    wait::{self, Probe},
};
use kubenest_node::{node::Node, objects::answer};

/// How long a cluster may take to be as it was.
const RESTORED: Duration = Duration::from_secs(60);

impl Baseline {
    /// Undoes what can be undone safely: objects and images that were not there are removed,
    /// services that were stopped are started, taints and labels of nodes are put back.
    ///
    /// # Errors
    /// The cluster is not as it was: the error names what earlier tests have changed.
    pub(in crate::cluster::lease) async fn restore(
        &self,
        cluster: &str,
        nodes: &[Node],
        client: &Client,
    ) -> Result<()> {
        let mut done = Vec::new();
        let what = format!("cluster '{cluster}' to be as it was");
        let started = try_join_all(nodes.iter().map(|node| self.start_units(node))).await?;
        done.extend(started.into_iter().flatten());
        // A runtime or an API server that has just been started answers a moment later.
        let first = wait::until(&what, RESTORED, async || {
            match Self::now(nodes, client).await {
                Ok(now) => Probe::Ready(now),
                Err(error) => match self.refuse_changed_disks(nodes).await {
                    Ok(()) => Probe::Pending(error.report()),
                    Err(changed) => Probe::Failed(changed),
                },
            }
        });
        let first = first.await?;
        self.refuse_lasting(&first)?;
        if !self.differences(&first).is_empty() {
            done.extend(self.undo(&first, nodes, client).await?);
            self.wait_until_same(&what, nodes, client).await?;
        }
        if !done.is_empty() {
            progress!(
                "cluster '{cluster}' is as it was again: {}",
                done.join(", ")
            );
        }
        Ok(())
    }

    async fn wait_until_same(&self, what: &str, nodes: &[Node], client: &Client) -> Result<()> {
        wait::until(what, RESTORED, async || {
            match Self::now(nodes, client).await {
                Ok(now) => match (self.lasting_changes(&now), self.differences(&now)) {
                    (lasting, _) if !lasting.is_empty() => Probe::Failed(changed(lasting)),
                    (_, none) if none.is_empty() => Probe::Ready(()),
                    (_, some) => Probe::Pending(some.join(", ")),
                },
                Err(error) => Probe::Pending(error.report()),
            }
        })
        .await
    }

    /// Starts the services of a node that ran, and returns what was done.
    async fn start_units(&self, node: &Node) -> Result<Vec<String>> {
        let Some(before) = self.nodes.get(node.name()) else {
            return Err(unknown_node(node));
        };
        let now = machine::units(node).await?;
        let stopped = machine::stopped_units(before, &now);
        if stopped.is_empty() {
            return Ok(Vec::new());
        }
        let argv = ["systemctl", "start", "--"].into_iter();
        let argv: Vec<_> = argv.chain(stopped.iter().copied()).collect();
        node.exec_ok(&argv).await?;
        let started = stopped.iter();
        Ok(started
            .map(|unit| format!("started {unit} on node '{node}'"))
            .collect())
    }

    /// Refuses a cluster with changes that cannot be undone.
    fn refuse_lasting(&self, now: &Self) -> Result<()> {
        let mut found = self.lasting_changes(now);
        let objects = contents::changed_objects(&self.objects, &now.objects).into_iter();
        let objects = objects.filter(|object| object.node.is_none() || !now.has(object));
        found.extend(objects.map(|object| format!("{} was changed", object.object)));
        refuse(found)
    }

    /// Refuses a cluster that does not answer, because of what was done to the disks of a node.
    async fn refuse_changed_disks(&self, nodes: &[Node]) -> Result<()> {
        for node in nodes {
            let before = self
                .nodes
                .get(node.name())
                .ok_or_else(|| unknown_node(node))?;
            let found = machine::changed_disks(before, &NodeState::of_disks(node).await?);
            refuse(on_node(node.name(), found).collect())?;
        }
        Ok(())
    }

    /// What was done to nodes that cannot be undone.
    fn lasting_changes(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (name, before) in &self.nodes {
            let state = now.nodes.get(name).cloned().unwrap_or_default();
            found.extend(on_node(name, machine::lasting_changes(before, &state)));
        }
        found
    }

    fn has(&self, object: &ObjectState) -> bool {
        self.objects
            .iter()
            .any(|other| other.object == object.object)
    }

    /// Undoes what can be undone, and returns what was done.
    async fn undo(&self, now: &Self, nodes: &[Node], client: &Client) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let mut added = contents::added_objects(&self.objects, &now.objects);
        added.sort_by_key(|object| object.rank());
        for object in added {
            if object.is_namespace() {
                end_pods(client, &object.object.name).await?;
            }
            // A namespace that a case has left is removed already.
            if !object.ends {
                object.remove(client).await?;
                done.push(format!("removed {}", object.object));
            }
        }
        for object in contents::changed_objects(&self.objects, &now.objects) {
            put_back(client, object, now).await?;
            done.push(format!(
                "put back the labels and taints of {}",
                object.object
            ));
        }
        for node in nodes {
            let before = self
                .nodes
                .get(node.name())
                .ok_or_else(|| unknown_node(node))?;
            let state = now
                .nodes
                .get(node.name())
                .ok_or_else(|| unknown_node(node))?;
            for image in machine::added_images(before, state) {
                node.cri().await?.remove_image(image).await?;
                done.push(format!(
                    "removed image '{}' from node '{node}'",
                    name_of(state, image)
                ));
            }
        }
        Ok(done)
    }

    /// What is not as it was.
    fn differences(&self, now: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let added = contents::added_objects(&self.objects, &now.objects).into_iter();
        found.extend(added.map(|object| format!("{} is there", object.object)));
        let changed = contents::changed_objects(&self.objects, &now.objects).into_iter();
        found.extend(changed.map(|object| format!("{} is another", object.object)));
        for (name, before) in &self.nodes {
            let state = now.nodes.get(name).cloned().unwrap_or_default();
            let stopped = machine::stopped_units(before, &state.units).into_iter();
            let stopped = stopped.map(|unit| format!("{unit} does not run"));
            let images = machine::added_images(before, &state).into_iter();
            let images = images.map(|image| format!("image '{}' is there", name_of(&state, image)));
            let all = machine::lasting_changes(before, &state).into_iter();
            let all = all.chain(stopped).chain(images);
            found.extend(all.map(|what| format!("{what} on node '{name}'")));
        }
        found
    }
}

/// Ends the pods of a namespace that goes: their grace is for users, and there are none.
async fn end_pods(client: &Client, namespace: &str) -> Result<()> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let params = DeleteParams::default().grace_period(0);
    let what = || format!("remove the pods of namespace '{namespace}'");
    answer(what, api.delete_collection(&params, &ListParams::default())).await?;
    Ok(())
}

/// Puts back the labels and taints of a node.
async fn put_back(client: &Client, before: &ObjectState, now: &Baseline) -> Result<()> {
    let found = now
        .objects
        .iter()
        .find(|other| other.object == before.object);
    let states = before
        .node
        .as_ref()
        .zip(found.and_then(|found| found.node.as_ref()));
    let Some((before_node, now_node)) = states else {
        return Ok(());
    };
    let patch = json!({
        "metadata": {"labels": merge_back(&before_node["labels"], &now_node["labels"])},
        "spec": merge_back(&before_node["spec"], &now_node["spec"]),
    });
    let what = || format!("put back {}", before.object);
    let api = before.object.api(client);
    let params = PatchParams::default();
    answer(
        what,
        api.patch(&before.object.name, &params, &Patch::Merge(&patch)),
    )
    .await?;
    Ok(())
}

/// The merge patch that makes `before` of `now`, field by field.
fn merge_back(before: &Value, now: &Value) -> Value {
    let mut patch: Map<String, Value> = before.as_object().cloned().unwrap_or_default();
    for name in now.as_object().into_iter().flatten().map(|(name, _)| name) {
        patch.entry(name).or_insert(Value::Null);
    }
    Value::Object(patch)
}

fn name_of<'a>(state: &'a NodeState, image: &'a str) -> &'a str {
    let names = state
        .images
        .get(image)
        .and_then(|names| names.iter().next());
    names.map_or(image, String::as_str)
}

fn unknown_node(node: &Node) -> Error {
    Error::setup(format!("node '{node}' was not there"))
}

/// These changes, with the node that they were made on.
fn on_node(node: &str, found: Vec<String>) -> impl Iterator<Item = String> {
    let found = found.into_iter();
    found.map(move |what| format!("{what} on node '{node}'"))
}

/// Refuses changes that cannot be undone, if there are any.
fn refuse(found: Vec<String>) -> Result<()> {
    match found.is_empty() {
        true => Ok(()),
        false => Err(changed(found)),
    }
}

/// The error for changes that cannot be undone: the first of them, and how many there are.
fn changed(found: Vec<String>) -> Error {
    const SHOWN: usize = 5;
    let rest = found.len().saturating_sub(SHOWN);
    let mut text = found.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
    if rest > 0 {
        text.push_str(&format!(", and {rest} more"));
    }
    Error::setup(text)
}
