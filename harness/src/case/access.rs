//! Other ways to the API server: with a service account's rights, and by kubeconfig files.

use std::{fs, io::Write, path::PathBuf};

use k8s_openapi::api::{authentication::v1::TokenRequest, core::v1::ServiceAccount};
use kube::{Client, api::PostParams};
use serde_json::{Value, json};
use tempfile::TempPath;

use super::Case;
use crate::cluster::kubeconfig;
use kubenest_base::{Context, Error, Result};
use kubenest_evidence as evidence;
use kubenest_node::objects;

/// How long a token is valid: longer than any test.
const LIFETIME: i64 = 2 * 60 * 60;

impl Case<'_> {
    /// A client with the rights of a service account in the case's namespace, for tests of RBAC:
    /// what its roles do not allow is refused with status 403. Its namespace is the case's. As any
    /// client of kube, it works in the current runtime.
    ///
    /// # Errors
    /// There is no such service account, which is a failure of the test; or the API server does not
    /// answer.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// use kubenest::{k8s_openapi::api::core::v1::Secret, kube::{self, Api}};
    ///
    /// let client = case.client_as("operator").await?;
    /// let secrets = Api::<Secret>::default_namespaced(client).list(&Default::default()).await;
    /// assert!(matches!(secrets, Err(kube::Error::Api(status)) if status.code == 403));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn client_as(&self, service_account: &str) -> Result<Client> {
        let file = self.write_kubeconfig(Some(&self.token(service_account).await?))?;
        let config = kubeconfig::config(&file).await?;
        Client::try_from(config).context("make a Kubernetes client")
    }

    /// A kubeconfig file with administrator's rights, whose default namespace is the case's: for
    /// programs, and for clients of other versions of kube than [`kubenest::kube`](crate::kube).
    /// Only this user can read it, and it ends with the case.
    ///
    /// Where the engine is on another machine, its address leads through this process, as that of
    /// [`Cluster::kubeconfig`](crate::Cluster::kubeconfig).
    ///
    /// # Errors
    /// It cannot be written.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// let kubeconfig = case.kubeconfig()?;
    /// let mut operator = std::process::Command::new("target/debug/operator")
    ///     .env("KUBECONFIG", kubeconfig)
    ///     .spawn()?;
    /// # operator.kill()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn kubeconfig(&self) -> Result<PathBuf> {
        self.write_kubeconfig(None)
    }

    /// As [`kubeconfig`](Case::kubeconfig), with the rights of a service account in the case's
    /// namespace.
    ///
    /// # Errors
    /// As [`client_as`](Case::client_as), and when it cannot be written.
    pub async fn kubeconfig_as(&self, service_account: &str) -> Result<PathBuf> {
        self.write_kubeconfig(Some(&self.token(service_account).await?))
    }

    /// A token of a service account. It is removed from all that is shown.
    async fn token(&self, service_account: &str) -> Result<String> {
        self.note_step(format!(
            "ask for a token of service account {service_account}"
        ));
        // Read from JSON, because whether a spec is optional depends on the release of Kubernetes
        // that the user has chosen for k8s-openapi.
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [], "expirationSeconds": LIFETIME},
        });
        let request: TokenRequest =
            serde_json::from_value(request).context("make the request for a token")?;
        let (api, params) = (self.api::<ServiceAccount>(), PostParams::default());
        let asked = api.create_token_request(service_account, &params, &request);
        let what = || format!("ask for a token of service account '{service_account}'");
        let answer = objects::answered(what, asked).await?;
        let answer = serde_json::to_value(answer).with_context(what)?;
        let token = answer["status"]["token"].as_str().unwrap_or_default();
        let token = token.to_owned();
        let secret = json!({"kind": "Secret", "stringData": {"token": token}});
        evidence::hide([&secret]);
        Ok(token)
    }

    fn write_kubeconfig(&self, token: Option<&str>) -> Result<PathBuf> {
        let own = self.cluster().kubeconfig();
        let text = fs::read_to_string(own).with_context(|| format!("read '{}'", own.display()))?;
        let text = for_case(&text, self.namespace(), token)?;
        let written = || -> std::io::Result<TempPath> {
            let mut file = tempfile::Builder::new();
            file.prefix(self.namespace()).suffix(".kubeconfig");
            // Only its owner can read a file made in this way.
            let mut file = file.tempfile_in(own.parent().unwrap_or(own))?;
            file.write_all(text.as_bytes())?;
            Ok(file.into_temp_path())
        };
        let file = written().context("write a kubeconfig")?;
        let path = file.to_path_buf();
        self.kubeconfigs.borrow_mut().push(file);
        Ok(path)
    }
}

/// The cluster's kubeconfig with another namespace as default and, with a token, another user.
fn for_case(text: &str, namespace: &str, token: Option<&str>) -> Result<String> {
    let mut config: Value = serde_saphyr::from_str(text).context("read a kubeconfig")?;
    let mut each = |list: &str, entry: &str, change: &dyn Fn(&mut Value)| -> Result<()> {
        let entries = config[list].as_array_mut();
        let entries =
            entries.ok_or_else(|| Error::setup(format!("the kubeconfig has no {list}")))?;
        entries
            .iter_mut()
            .for_each(|named| change(&mut named[entry]));
        Ok(())
    };
    each("contexts", "context", &|context| {
        context["namespace"] = namespace.into()
    })?;
    if let Some(token) = token {
        each("users", "user", &|user| *user = json!({"token": token}))?;
    }
    serde_saphyr::to_string(&config).context("write a kubeconfig")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADMIN: &str = "\
apiVersion: v1
kind: Config
current-context: kubenest-a
clusters:
- name: a
  cluster: {server: 'https://127.0.0.1:1', certificate-authority-data: QQ==}
contexts:
- name: kubenest-a
  context: {cluster: a, user: admin}
users:
- name: admin
  user: {client-certificate-data: QQ==, client-key-data: QQ==}
";

    #[test]
    fn a_kubeconfig_of_a_case_has_its_namespace() {
        let config = for_case(ADMIN, "case-1", None).unwrap();
        let config: Value = serde_saphyr::from_str(&config).unwrap();
        assert_eq!(config["contexts"][0]["context"]["namespace"], "case-1");
        assert_eq!(config["users"][0]["user"]["client-key-data"], "QQ==");
    }

    #[test]
    fn with_a_token_it_has_no_certificate() {
        let config = for_case(ADMIN, "case-1", Some("t")).unwrap();
        let config: Value = serde_saphyr::from_str(&config).unwrap();
        assert_eq!(
            config["users"][0],
            json!({"name": "admin", "user": {"token": "t"}})
        );
        assert_eq!(
            config["clusters"][0]["cluster"]["certificate-authority-data"],
            "QQ=="
        );
        let error = for_case("{users: []}", "case-1", None).unwrap_err();
        assert_eq!(error.report(), "the kubeconfig has no contexts");
    }
}
