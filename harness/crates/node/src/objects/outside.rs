//! What a case makes outside its namespace: labelled as the case's own, and removed with it.

use std::{
    fmt::Debug,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::future::join_all;
use k8s_openapi::{ClusterResourceScope, api::core::v1::Namespace};
use kube::{
    Api, Client, Resource,
    api::PostParams,
    core::{ApiResource, ObjectMeta},
};
use serde::{Serialize, de::DeserializeOwned};

use super::{ObjectRef, answer, answered};
use kubenest_base::{
    Error, Result,
    wait::{self, Probe},
};

/// The label of objects outside a case's namespace. Its value is the case's namespace.
pub const CASE: &str = "dev.kubenest.case";

/// How long the removal of an object by an earlier case may take.
const REMOVAL: Duration = Duration::from_secs(60);

/// Whose an object is before a case makes or changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// There is none yet.
    Absent,
    /// It is the case's own, or that of a case that has ended.
    Own,
    /// It was there before, and belongs to no case.
    Shared,
}

/// The objects that a case has made outside its namespace.
#[derive(Debug)]
pub struct Outside {
    case: String,
    made: Mutex<Vec<(ObjectRef, Option<String>)>>,
}

impl Outside {
    /// Nothing yet, for the case with this namespace.
    pub fn of(case: &str) -> Self {
        Self {
            case: case.to_owned(),
            made: Mutex::default(),
        }
    }

    /// The namespace of the case.
    pub(super) fn case(&self) -> &str {
        &self.case
    }

    /// Says whose an object is. Waits while one that an earlier case made is being removed.
    ///
    /// # Errors
    /// It belongs to another case that still runs; its removal does not end; or the API server does
    /// not answer.
    pub(super) async fn claim(&self, client: &Client, object_ref: &ObjectRef) -> Result<Claim> {
        let api = object_ref.api(client);
        let what = format!("the removal of {object_ref}");
        wait::until(&what, REMOVAL, async || {
            let found = answer(
                || format!("look for {object_ref}"),
                api.get_metadata_opt(&object_ref.name),
            );
            let metadata = match found.await {
                Ok(Some(found)) => found.metadata,
                Ok(None) => return Probe::Ready(Claim::Absent),
                Err(error) => return Probe::Failed(error),
            };
            match owner(&metadata) {
                _ if metadata.deletion_timestamp.is_some() => {
                    let held = metadata.finalizers.unwrap_or_default().join(", ");
                    Probe::Pending(format!("it is being removed; finalizers: {held}"))
                }
                None => Probe::Ready(Claim::Shared),
                Some(case) if case == self.case => Probe::Ready(Claim::Own),
                Some(case) => match is_running(client, case).await {
                    Ok(false) => Probe::Ready(Claim::Own),
                    Ok(true) => Probe::Failed(conflict(
                        object_ref,
                        &format!("'{case}', another test that runs now"),
                    )),
                    Err(error) => Probe::Failed(error),
                },
            }
        })
        .await
    }

    /// Creates an object of the whole cluster as the case's own.
    ///
    /// # Errors
    /// The API server refuses it, or another case that still runs has made it: failures of the
    /// test. Or the API server does not answer.
    pub async fn create<K>(&self, client: &Client, object: &K) -> Result<K>
    where
        K: Resource<Scope = ClusterResourceScope> + Clone + Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default,
    {
        let mut object_ref = ObjectRef {
            resource: ApiResource::erase::<K>(&K::DynamicType::default()),
            namespace: None,
            name: object.meta().name.clone().unwrap_or_default(),
        };
        let has_name = !object_ref.name.is_empty();
        if has_name {
            self.claim(client, &object_ref).await?;
        }
        let mut labelled = object.clone();
        let labels = labelled.meta_mut().labels.get_or_insert_default();
        labels.insert(CASE.to_owned(), self.case.clone());
        let (api, params) = (Api::<K>::all(client.clone()), PostParams::default());
        let created = api.create(&params, &labelled);
        let created = match answered(|| format!("create {object_ref}"), created).await {
            Ok(created) => created,
            Err(refused) => {
                // Another case may have made it in between; then that is the better error.
                if has_name {
                    self.claim(client, &object_ref).await?;
                }
                return Err(refused);
            }
        };
        object_ref.name = created.meta().name.clone().unwrap_or_default();
        self.add(object_ref, created.meta());
        Ok(created)
    }

    /// Records that the case has made this object, which has its label.
    pub(super) fn add(&self, object_ref: ObjectRef, metadata: &ObjectMeta) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|(known, _)| *known != object_ref);
        made.push((object_ref, metadata.uid.clone()));
    }

    /// Removes all of them without waiting for their end. Returns what could not be removed, and
    /// why.
    pub async fn remove(&self, client: &Client) -> Vec<Error> {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let (guards, others): (Vec<_>, Vec<_>) = made
            .into_iter()
            .partition(|(object_ref, _)| object_ref.is_guard());
        let mut failed = Vec::new();
        for group in [guards, others] {
            let removals = group
                .iter()
                .map(|(object_ref, uid)| object_ref.remove(client, uid.clone()));
            failed.extend(join_all(removals).await.into_iter().filter_map(Result::err));
        }
        failed
    }
}

/// Two tests that make the same object outside their namespaces.
pub(super) fn conflict(object_ref: &ObjectRef, owner: &str) -> Error {
    Error::refused(format!("{object_ref} belongs to {owner}"))
        .cure(
            "prepare the cluster with it, so that the tests share it, or give it a name of the \
             test's own, such as one with the case's namespace in it",
        )
        .asserted()
}

/// The case that has made an object.
fn owner(metadata: &ObjectMeta) -> Option<&str> {
    metadata.labels.as_ref()?.get(CASE).map(String::as_str)
}

/// Whether the case with this namespace has not ended.
async fn is_running(client: &Client, case: &str) -> Result<bool> {
    let api = Api::<Namespace>::all(client.clone());
    let found = answer(
        || format!("look for namespace '{case}'"),
        api.get_metadata_opt(case),
    );
    let found = found.await?;
    Ok(found.is_some_and(|found| found.metadata.deletion_timestamp.is_none()))
}
