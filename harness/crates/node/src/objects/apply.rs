//! Server-side apply of manifests of any kind.

use std::{collections::HashMap, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client, Resource,
    api::{DynamicObject, Patch, PatchParams},
    client::Body,
    core::{ApiResource, GroupVersionKind, Request, Status},
    discovery::{self, Scope},
    runtime::wait::{Condition, conditions::is_crd_established},
};
use serde_json::Value;

use super::{
    Manifest, ObjectRef, answered, cause,
    outside::{CASE, Claim, Outside, conflict},
    refusal, state, until,
};
use kubenest_base::{
    Context, Error, Result,
    wait::{self, Probe},
};

/// The field manager of what is applied.
pub const MANAGER: &str = "kubenest";

/// How long a definition of a kind may take until the API server serves it.
const SERVED: Duration = Duration::from_secs(60);

type Kinds = HashMap<GroupVersionKind, (ApiResource, Scope)>;

/// Applies these objects, in this order. Definitions of kinds are served before the first object
/// after them is applied. Objects that need a namespace and name none get `namespace`.
///
/// With a case, the objects outside its namespace are labelled as its own and recorded for removal,
/// also if a later one fails.
///
/// # Errors
/// A kind is unknown, the API server refuses an object, or another case that still runs has made it:
/// failures of the test, which name the object and where it stands. Or the API server does not
/// answer.
pub async fn apply(
    client: &Client,
    namespace: &str,
    case: Option<&Outside>,
    objects: &[Manifest],
) -> Result<Vec<DynamicObject>> {
    let target = ApplyTarget {
        client,
        namespace,
        case,
    };
    let (mut kinds, mut applied) = (Kinds::new(), Vec::new());
    let definitions = objects.iter().take_while(|object| object.is_definition());
    let (definitions, others) = objects.split_at(definitions.count());
    for object in definitions {
        applied.push(target.one(object, &mut kinds).await?);
    }
    for object in definitions {
        wait_until_served(client, object).await?;
    }
    for object in others {
        applied.push(target.one(object, &mut kinds).await?);
    }
    Ok(applied)
}

/// Where objects are applied, and for whom.
struct ApplyTarget<'a> {
    client: &'a Client,
    namespace: &'a str,
    case: Option<&'a Outside>,
}

impl ApplyTarget<'_> {
    async fn one(&self, manifest: &Manifest, kinds: &mut Kinds) -> Result<DynamicObject> {
        let (resource, scope) = self.resolve(manifest, kinds).await?;
        let namespace = manifest.namespace.as_deref().unwrap_or(self.namespace);
        let object_ref = ObjectRef {
            resource,
            namespace: (scope == Scope::Namespaced).then(|| namespace.to_owned()),
            name: manifest.name.clone(),
        };
        let mut object = manifest.object.clone();
        if let Some(namespace) = &object_ref.namespace {
            object["metadata"]["namespace"] = namespace.as_str().into();
        }
        let what = || format!("apply {object_ref} ({})", manifest.place);
        let case = self
            .case
            .filter(|case| object_ref.namespace.as_deref() != Some(case.case()));
        let Some(case) = case else {
            return Ok(self.send(&object_ref, &object, what).await?.0);
        };
        let claim = case
            .claim(self.client, &object_ref)
            .await
            .with_context(what)?;
        if claim != Claim::Shared {
            // Indexing makes the labels where there are none.
            object["metadata"]["labels"][CASE] = case.case().into();
        }
        let (applied, is_new) = self.send(&object_ref, &object, what).await?;
        if claim == Claim::Absent && !is_new {
            return Err(conflict(
                &object_ref,
                "a test that made it at the same moment",
            ))
            .with_context(what);
        }
        if claim != Claim::Shared {
            case.add(object_ref, &applied.metadata);
        }
        Ok(applied)
    }

    /// The resource and scope of an object's kind, as the API server says.
    async fn resolve(
        &self,
        manifest: &Manifest,
        kinds: &mut Kinds,
    ) -> Result<(ApiResource, Scope)> {
        if let Some(known) = kinds.get(&manifest.kind) {
            return Ok(known.clone());
        }
        let what = || format!("look for the kind of {}", manifest.place);
        let found = answered(what, discovery::pinned_kind(self.client, &manifest.kind)).await;
        let (resource, capabilities) = found.map_err(|error| unknown(error, manifest))?;
        let found = (resource, capabilities.scope);
        kinds.insert(manifest.kind.clone(), found.clone());
        Ok(found)
    }

    /// Sends an object, and says whether there was none before.
    async fn send(
        &self,
        object_ref: &ObjectRef,
        object: &Value,
        what: impl Fn() -> String,
    ) -> Result<(DynamicObject, bool)> {
        let path = DynamicObject::url_path(&object_ref.resource, object_ref.namespace.as_deref());
        let params = PatchParams::apply(MANAGER).validation_strict();
        let request = Request::new(path).patch(&object_ref.name, &params, &Patch::Apply(object));
        let request = request.with_context(&what)?;
        let sent = async {
            let response = self.client.send(request.map(Body::from)).await?;
            let code = response.status();
            let bytes = response.into_body().collect_bytes().await?;
            if code.is_success() {
                let object = serde_json::from_slice(&bytes).map_err(kube::Error::SerdeError)?;
                return Ok((object, code == http::StatusCode::CREATED));
            }
            let status = serde_json::from_slice::<Status>(&bytes).unwrap_or_else(|_| {
                let text = String::from_utf8_lossy(&bytes);
                Status::failure(text.trim(), "Unknown").with_code(code.as_u16())
            });
            Err(kube::Error::Api(status.boxed()))
        };
        answered(what, sent).await
    }
}

/// The error for an object of a kind that the API server does not know.
fn unknown(error: Error, manifest: &Manifest) -> Error {
    let group_has_none = matches!(cause(&error), Some(kube::Error::Discovery(_)));
    if !group_has_none && refusal(&error) != Some(404) {
        return error;
    }
    let (kind, version) = (&manifest.kind.kind, manifest.kind.api_version());
    let text = format!(
        "{}: the cluster has no kind {kind} of {version}",
        manifest.place
    );
    let error = Error::not_found(text).asserted();
    error.cure("apply its CustomResourceDefinition before or together with it")
}

/// Waits until the API server serves all versions of a kind that this object defines.
async fn wait_until_served(client: &Client, definition: &Manifest) -> Result<()> {
    let name = &definition.name;
    let what = format!("CustomResourceDefinition '{name}' to be Established");
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let spec = until(api, name, &what, SERVED, |found| match found {
        Some(found) if is_crd_established().matches_object(Some(found)) => {
            Probe::Ready(found.spec.clone())
        }
        found => Probe::Pending(state(&serde_json::to_value(found).unwrap_or_default())),
    })
    .await?;
    for version in spec.versions.iter().filter(|version| version.served) {
        let kind = GroupVersionKind::gvk(&spec.group, &version.name, &spec.names.kind);
        let what = format!("kind {} of {} to be served", kind.kind, kind.api_version());
        // Discovery follows the condition after a moment.
        wait::until(&what, SERVED, async || {
            Probe::from_result(discovery::pinned_kind(client, &kind).await)
        })
        .await?;
    }
    Ok(())
}
