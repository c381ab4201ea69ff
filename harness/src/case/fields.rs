//! The verbs of a case for objects whose types the test does not have.

use std::{fmt::Display, time::Duration};

use jsonpath_rust::JsonPath;
use kube::{
    Api, Client,
    api::DynamicObject,
    core::ApiResource,
    discovery::{Discovery, Scope},
};
use serde_json::Value;

use super::Case;
use crate::wait::Probe;
use kubenest_base::{Context, Error, Result};
use kubenest_node::objects;

impl Case<'_> {
    /// Waits until a field of an object has this value. The kind is its name or its plural, with
    /// its group where several groups have one of the name: `Deployment`, `deployments.apps`. The
    /// path is a JSONPath with or without its root (`.status.phase`, `$.status.phase`, and as
    /// kubectl takes it `{.status.phase}`); if it selects several values, one is enough. Values are
    /// compared as text.
    ///
    /// # Errors
    /// The kind is unknown, the path is none, or the field has another value at the deadline: all
    /// failures of the test; the last says what the values were. Or the API server does not answer.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// let minute = std::time::Duration::from_secs(60);
    /// case.wait_for_field("Deployment", "web", ".status.readyReplicas", 2, minute).await?;
    /// let ready = ".status.conditions[?(@.type == 'Ready')].status";
    /// case.wait_for_field("certificates.cert-manager.io", "web", ready, "True", minute).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn wait_for_field(
        &self,
        kind: &str,
        name: &str,
        path: &str,
        value: impl Display,
        deadline: Duration,
    ) -> Result<()> {
        let (path, value) = (with_root(path), value.to_string());
        select(&Value::Null, &path)?;
        let api = self.api_of_kind(kind).await?;
        let what = format!("{path} of {kind} '{name}' to be {value}");
        self.note_step(format!("wait for {what}"));
        let waited = objects::until(
            api,
            name,
            &what,
            deadline,
            |object: Option<&DynamicObject>| {
                let Some(object) = object.and_then(|object| serde_json::to_value(object).ok())
                else {
                    return Probe::Pending("there is none of this name".into());
                };
                let found = match select(&object, &path) {
                    Ok(found) => found,
                    Err(error) => return Probe::Failed(error),
                };
                if found.contains(&value) {
                    return Probe::Ready(());
                }
                let found = match found.is_empty() {
                    true => "it has no such field".to_owned(),
                    false => format!("it is {}", found.join(", ")),
                };
                Probe::Pending(format!("{found}; {}", objects::state(&object)))
            },
        );
        let waited = waited.await;
        self.note_result(&format!("saw {what}"), &waited);
        waited
    }

    /// The objects of a kind that is known by its name only.
    async fn api_of_kind(&self, kind: &str) -> Result<Api<DynamicObject>> {
        let found = kinds(&self.client()).await?;
        let (resource, scope) = resolve(kind, &found)?;
        Ok(match scope {
            Scope::Namespaced => Api::namespaced_with(self.client(), self.namespace(), resource),
            Scope::Cluster => Api::all_with(self.client(), resource),
        })
    }
}

/// All kinds that the cluster has, in the version that it recommends.
async fn kinds(client: &Client) -> Result<Vec<(ApiResource, Scope)>> {
    let found = Discovery::new(client.clone()).run_aggregated();
    let found = objects::answer(|| "list the kinds of the cluster".into(), found).await?;
    let all = found
        .groups()
        .flat_map(|group| group.recommended_resources());
    Ok(all.map(|(resource, able)| (resource, able.scope)).collect())
}

/// The kind of this name, or plural, with or without its group.
fn resolve<'a>(kind: &str, all: &'a [(ApiResource, Scope)]) -> Result<(&'a ApiResource, Scope)> {
    let (name, group) = kind
        .split_once('.')
        .map_or((kind, None), |(name, group)| (name, Some(group)));
    let is = |resource: &ApiResource| {
        let named = [&resource.kind, &resource.plural]
            .iter()
            .any(|own| own.eq_ignore_ascii_case(name));
        named && group.is_none_or(|group| resource.group == group)
    };
    let mut found: Vec<_> = all.iter().filter(|(resource, _)| is(resource)).collect();
    // The kinds without a group are what people mean by a name that others have taken up.
    if found.iter().any(|(resource, _)| resource.group.is_empty()) {
        found.retain(|(resource, _)| resource.group.is_empty());
    }
    match found.as_slice() {
        [(resource, scope)] => Ok((resource, scope.clone())),
        [] => Err(
            Error::not_found(format!("the cluster has no kind '{kind}'"))
                .cure("give the name of the kind, such as `Deployment`, or its plural and group")
                .asserted(),
        ),
        several => {
            let names = several
                .iter()
                .map(|(found, _)| format!("{}.{}", found.plural, found.group));
            let names: Vec<_> = names.collect();
            Err(
                Error::input(format!("'{kind}' may be {}", names.join(" or ")))
                    .cure("name it with its group")
                    .asserted(),
            )
        }
    }
}

/// A path with its root.
fn with_root(path: &str) -> String {
    let path = path.trim();
    let inner = path
        .strip_prefix('{')
        .and_then(|path| path.strip_suffix('}'));
    let path = inner.unwrap_or(path);
    match path.chars().next() {
        Some('$') => path.to_owned(),
        Some('.' | '[') => format!("${path}"),
        _ => format!("$.{path}"),
    }
}

/// The values at a path, as text.
fn select(object: &Value, path: &str) -> Result<Vec<String>> {
    let found = object
        .query(path)
        .with_context(|| format!("'{path}' is no JSONPath"));
    let found = found.map_err(Error::asserted)?;
    let text = |value: &&Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Ok(found.iter().map(text).collect())
}

#[cfg(test)]
mod tests {
    use kube::core::GroupVersionKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_has_a_name_a_plural_and_a_group() {
        let kind = |group, kind, plural| {
            let kind = GroupVersionKind::gvk(group, "v1", kind);
            (
                ApiResource::from_gvk_with_plural(&kind, plural),
                Scope::Namespaced,
            )
        };
        let all = [
            kind("", "Event", "events"),
            kind("events.k8s.io", "Event", "events"),
            kind("apps", "Deployment", "deployments"),
            kind("a.example.com", "Duck", "ducks"),
            kind("b.example.com", "Duck", "ducks"),
        ];
        let said = |name: &str| match resolve(name, &all) {
            Ok((found, _)) => format!("{}/{}", found.group, found.kind),
            Err(error) => error.report(),
        };
        assert_eq!(said("Deployment"), "apps/Deployment");
        assert_eq!(said("deployments.apps"), "apps/Deployment");
        assert_eq!(said("event"), "/Event");
        assert_eq!(said("events.events.k8s.io"), "events.k8s.io/Event");
        assert_eq!(said("Duck.b.example.com"), "b.example.com/Duck");
        insta::assert_snapshot!(said("ducks"), @r"
        'ducks' may be ducks.a.example.com or ducks.b.example.com
        cure: name it with its group
        ");
        insta::assert_snapshot!(said("deployments.extensions"), @r"
        the cluster has no kind 'deployments.extensions'
        cure: give the name of the kind, such as `Deployment`, or its plural and group
        ");
    }

    #[test]
    fn a_path_may_have_its_root_or_not() {
        let object = json!({"status": {"replicas": 2, "phase": "Running", "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "False"}]}});
        let at = |path: &str| select(&object, &with_root(path)).map(|found| found.join(","));
        assert_eq!(at(".status.replicas").unwrap(), "2");
        assert_eq!(at("status.phase").unwrap(), "Running");
        assert_eq!(at("{.status.phase}").unwrap(), "Running");
        assert_eq!(
            at("$.status.conditions[*].type").unwrap(),
            "Ready,Initialized"
        );
        let ready = "{.status.conditions[?(@.type==\"Ready\")].status}";
        assert_eq!(at(ready).unwrap(), "True");
        assert_eq!(at(".status.none").unwrap(), "");
        let error = at(".status[").unwrap_err();
        assert!(
            error.report().starts_with("'$.status[' is no JSONPath: "),
            "{error:?}"
        );
    }
}
