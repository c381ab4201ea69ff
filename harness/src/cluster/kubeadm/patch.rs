//! The user's changes of kubeadm's documents: read, checked against what kubeadm and kubelet
//! accept, and merged.
//!
//! Within this module extra arguments are lists of names and values, as in v1beta4. A value of
//! `null` removes an argument, as it removes a key.

use semver::Version;
use serde_json::{Map, Value, json};

use super::{
    Api,
    fields::{self, Fault},
};
use crate::cluster::merge::merge;
use kubenest_base::{Error, Result};
use kubenest_recipe::compat;

/// The kinds of kubeadm's documents, and the versions in which a patch may be written.
const KINDS: [(&str, &[&str]); 5] = [
    ("ClusterConfiguration", KUBEADM),
    ("InitConfiguration", KUBEADM),
    ("JoinConfiguration", KUBEADM),
    ("KubeletConfiguration", &["kubelet.config.k8s.io/v1beta1"]),
    (
        "KubeProxyConfiguration",
        &["kubeproxy.config.k8s.io/v1alpha1"],
    ),
];
const KUBEADM: &[&str] = &["kubeadm.k8s.io/v1beta4", "kubeadm.k8s.io/v1beta3"];

/// The fields with lists of arguments, which are mappings in v1beta3.
const ARGUMENTS: [&str; 2] = ["extraArgs", "kubeletExtraArgs"];

/// Reads one of the user's changes. Its version is dropped, because it is translated to the version
/// that kubeadm reads.
pub(in crate::cluster) fn read(yaml: &str) -> Result<Value> {
    let mut patch: Value = serde_saphyr::from_str(yaml)
        .map_err(|cause| Error::input("the kubeadm patch is no YAML").because(cause))?;
    let kind = patch["kind"].as_str().unwrap_or_default().to_owned();
    let Some((_, versions)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        let kinds = KINDS.map(|(kind, _)| kind);
        return Err(Error::input(format!("the kubeadm patch has kind '{kind}'"))
            .cure(format!("give it one of {}", kinds.join(", "))));
    };
    let version = patch
        .as_object_mut()
        .and_then(|patch| patch.remove("apiVersion"));
    if let Some(version) = version
        && !version
            .as_str()
            .is_some_and(|told| versions.contains(&told))
    {
        let version = version
            .as_str()
            .map_or_else(|| version.to_string(), str::to_owned);
        return Err(Error::input(format!(
            "the kubeadm patch of {kind} has apiVersion '{version}'"
        ))
        .cure(format!("leave it out, or write {}", versions.join(" or "))));
    }
    list_arguments(&mut patch, &kind)?;
    Ok(patch)
}

/// Refuses changes that kubeadm of this Kubernetes would silently drop, or with which its kubelet
/// would not start.
pub(in crate::cluster) fn check_fit(patches: &[Value], kubernetes: &Version) -> Result<()> {
    let api = Api::of(kubernetes);
    for patch in patches {
        let kind = patch["kind"].as_str().unwrap_or_default();
        if let Some(fault) = fields::fault(kind, patch, api, kubernetes) {
            return Err(refusal(&fault, kind, api, kubernetes));
        }
        for (path, arguments) in arguments(patch) {
            if api == Api::V1beta3 {
                refuse_repeated(path, arguments, kubernetes)?;
            }
            if path.ends_with("kubeletExtraArgs") {
                for name in given_names(arguments) {
                    compat::kubelet_flag(kubernetes, name).refuse_known_bad()?;
                }
            }
        }
    }
    Ok(())
}

/// Merges a change into a document.
pub(super) fn apply(document: &mut Value, patch: &Value) {
    merge(document, patch, join_lists);
}

/// Turns extra arguments into mappings, as in v1beta3.
pub(super) fn map_arguments(value: &mut Value) {
    let Value::Object(fields) = value else { return };
    for (key, field) in fields {
        match field {
            Value::Array(list) if ARGUMENTS.contains(&key.as_str()) => {
                let pairs = list.iter().filter_map(|argument| {
                    Some((
                        argument["name"].as_str()?.to_owned(),
                        argument["value"].clone(),
                    ))
                });
                *field = Value::Object(pairs.collect());
            }
            _ => map_arguments(field),
        }
    }
}

/// Joins two lists: a list of named items keeps the items that the user does not name, other lists
/// keep the items that the user does not repeat.
fn join_lists(name: &str, ours: &[Value], theirs: &[Value]) -> Option<Vec<Value>> {
    let key = match name {
        "extraArgs" | "kubeletExtraArgs" | "extraEnvs" | "extraVolumes" => Some("name"),
        "bootstrapTokens" => Some("token"),
        "certSANs" | "serverCertSANs" | "peerCertSANs" | "ignorePreflightErrors" => None,
        _ => return None,
    };
    let same = |a: &Value, b: &Value| match key {
        Some(key) => a[key] == b[key],
        None => a == b,
    };
    let kept = ours
        .iter()
        .filter(|one| !theirs.iter().any(|other| same(one, other)));
    let taken_away = |one: &&Value| one.get("value").is_some_and(Value::is_null);
    let given = theirs.iter().filter(|one| !taken_away(one));
    Some(kept.chain(given).cloned().collect())
}

/// Turns all extra arguments into lists with text values.
fn list_arguments(value: &mut Value, path: &str) -> Result<()> {
    let Value::Object(fields) = value else {
        return Ok(());
    };
    for (key, field) in fields {
        let path = format!("{path}.{key}");
        if !ARGUMENTS.contains(&key.as_str()) {
            list_arguments(field, &path)?;
            continue;
        }
        let arguments: Vec<(Value, Value)> = match field {
            Value::Null => continue,
            Value::Object(map) => {
                let map = std::mem::take(map).into_iter();
                map.map(|(name, value)| (name.into(), value)).collect()
            }
            Value::Array(list) => {
                let pair = |one: &Value| (one["name"].clone(), one["value"].clone());
                list.iter().map(pair).collect()
            }
            _ => return Err(no_arguments(&path)),
        };
        let texts = arguments.into_iter().map(|(name, value)| {
            let name = name.as_str().filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| no_arguments(&path))?;
            let value = match value {
                Value::Null | Value::String(_) => value,
                Value::Bool(_) | Value::Number(_) => Value::String(value.to_string()),
                _ => return Err(no_arguments(&format!("{path} '{name}'"))),
            };
            Ok(json!({"name": name, "value": value}))
        });
        *field = Value::Array(texts.collect::<Result<_>>()?);
    }
    Ok(())
}

fn no_arguments(path: &str) -> Error {
    Error::input(format!(
        "{path} of the kubeadm patch is no list of arguments"
    ))
    .cure("write {name: value}, or a list of {name: NAME, value: VALUE}")
}

/// Every list of arguments in a change, with its path.
fn arguments(patch: &Value) -> Vec<(&str, &[Value])> {
    fn search<'p>(fields: &'p Map<String, Value>, found: &mut Vec<(&'p str, &'p [Value])>) {
        for (key, field) in fields {
            match field {
                Value::Array(list) if ARGUMENTS.contains(&key.as_str()) => found.push((key, list)),
                Value::Object(fields) => search(fields, found),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    if let Value::Object(fields) = patch {
        search(fields, &mut found);
    }
    found
}

/// The names of the arguments that are set, not removed.
fn given_names(arguments: &[Value]) -> impl Iterator<Item = &str> {
    let given = arguments.iter().filter(|one| !one["value"].is_null());
    given.filter_map(|one| one["name"].as_str())
}

fn refuse_repeated(path: &str, arguments: &[Value], kubernetes: &Version) -> Result<()> {
    let names: Vec<&str> = given_names(arguments).collect();
    let twice = names
        .iter()
        .enumerate()
        .find(|(at, name)| names[..*at].contains(name));
    match twice {
        Some((_, name)) => Err(Error::input(format!(
            "{path} of the kubeadm patch gives '{name}' twice, and kubeadm {kubernetes} reads \
             v1beta3, which has each argument once"
        ))
        .cure("give it once, or use Kubernetes 1.31 or newer")),
        None => Ok(()),
    }
}

fn refusal(fault: &Fault, kind: &str, api: Api, kubernetes: &Version) -> Error {
    match fault {
        Fault::Unknown { path, known } => Error::input(format!(
            "{kind} has no '{path}': Kubernetes {kubernetes} would drop it without a word"
        ))
        .cure(format!("one of {}", known.join(", "))),
        Fault::OfOtherApi { path, instead } => Error::input(format!(
            "kubeadm {kubernetes} reads {api}, which has no '{path}' in {kind}"
        ))
        .cure(*instead),
    }
}
