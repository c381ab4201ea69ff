//! The scopes of kinds: objects in a namespace, and objects of the whole cluster.

use std::fmt::Debug;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Client, Resource};
use serde::{Serialize, de::DeserializeOwned};

use super::{Outside, create};
use kubenest_base::Result;

/// The scope of a kind, known from its type: of a namespace, or of the whole cluster. No other type
/// can implement it.
pub trait Scope: sealed::Sealed + Sized {
    /// The objects of a kind of this scope; the namespace matters only where there is one.
    fn api<K: Resource<Scope = Self>>(client: Client, namespace: &str) -> Api<K>
    where
        K::DynamicType: Default;

    /// Creates an object: in the namespace, or as the case's own outside of it.
    #[doc(hidden)]
    fn create<K>(
        client: Client,
        namespace: &str,
        outside: &Outside,
        object: &K,
    ) -> impl Future<Output = Result<K>>
    where
        K: Resource<Scope = Self> + Clone + Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default;
}

impl Scope for NamespaceResourceScope {
    fn api<K: Resource<Scope = Self>>(client: Client, namespace: &str) -> Api<K>
    where
        K::DynamicType: Default,
    {
        Api::namespaced(client, namespace)
    }

    async fn create<K>(client: Client, namespace: &str, _: &Outside, object: &K) -> Result<K>
    where
        K: Resource<Scope = Self> + Clone + Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default,
    {
        create(&client, namespace, object).await
    }
}

impl Scope for ClusterResourceScope {
    fn api<K: Resource<Scope = Self>>(client: Client, _: &str) -> Api<K>
    where
        K::DynamicType: Default,
    {
        Api::all(client)
    }

    async fn create<K>(client: Client, _: &str, outside: &Outside, object: &K) -> Result<K>
    where
        K: Resource<Scope = Self> + Clone + Debug + DeserializeOwned + Serialize,
        K::DynamicType: Default,
    {
        outside.create(&client, object).await
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for k8s_openapi::NamespaceResourceScope {}
    impl Sealed for k8s_openapi::ClusterResourceScope {}
}
