//! What `docker login` left: the user's name and password for a registry.

use std::{collections::HashMap, fs};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bollard::auth::DockerCredentials;
use serde::Deserialize;

use crate::{process::Command, settings::DockerEnv};

/// The part of Docker's `config.json` that is about logins.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    auths: HashMap<String, Login>,
    creds_store: Option<String>,
    cred_helpers: HashMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    /// base64 of `name:password`.
    auth: String,
    identitytoken: Option<String>,
}

/// What a credential helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    username: String,
    secret: String,
}

/// The login for the registry of an image, if the user has one. A registry that wants one and
/// gets none says so itself.
pub(super) async fn of(env: &DockerEnv, reference: &str) -> Option<DockerCredentials> {
    let host = host(reference)?;
    let text = fs::read(env.config_dir.as_ref()?.join("config.json")).ok()?;
    let config: Config = serde_json::from_slice(&text).ok()?;
    match config
        .cred_helpers
        .get(host)
        .or(config.creds_store.as_ref())
    {
        Some(helper) => from_helper(helper, host).await,
        None => from_config(&config, host),
    }
}

fn from_config(config: &Config, host: &str) -> Option<DockerCredentials> {
    // Old clients wrote the address with its scheme.
    let login = config.auths.iter().find(|(name, _)| {
        let name = name
            .trim_start_matches("https://")
            .trim_start_matches("http://");
        name.split('/').next() == Some(host)
    });
    let login = login?.1;
    let decoded = BASE64_STANDARD.decode(&login.auth).unwrap_or_default();
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, password) = decoded.split_once(':').unwrap_or_default();
    Some(DockerCredentials {
        username: Some(username.to_owned()),
        password: Some(password.trim_end_matches('\0').to_owned()),
        identitytoken: login.identitytoken.clone(),
        serveraddress: Some(host.to_owned()),
        ..Default::default()
    })
}

async fn from_helper(helper: &str, host: &str) -> Option<DockerCredentials> {
    // The name becomes a program's: it must not lead elsewhere.
    if !helper
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    {
        return None;
    }
    let helper = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin_bytes(host);
    let found: Secret = serde_json::from_str(&helper.run().await.ok()?.stdout).ok()?;
    let mut login = DockerCredentials {
        serveraddress: Some(host.to_owned()),
        ..Default::default()
    };
    if found.username == "<token>" {
        login.identitytoken = Some(found.secret);
    } else {
        (login.username, login.password) = (Some(found.username), Some(found.secret));
    }
    Some(login)
}

/// The registry's host in a reference, when it names one.
fn host(reference: &str) -> Option<&str> {
    let (host, _) = reference.split_once('/')?;
    (host.contains(['.', ':']) || host == "localhost").then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn login(config: &str, reference: &str) -> Option<DockerCredentials> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), config).unwrap();
        let env = DockerEnv {
            config_dir: Some(dir.path().to_owned()),
            ..DockerEnv::default()
        };
        of(&env, reference).await
    }

    #[tokio::test]
    async fn a_login_is_found_by_the_registrys_host_only() {
        let config = r#"{"auths":{"https://reg.test:5000/v2/":{"auth":"bWU6cGE6c3M="}}}"#;
        let found = login(config, "reg.test:5000/team/node:a").await.unwrap();
        assert_eq!(found.username.as_deref(), Some("me"));
        assert_eq!(found.password.as_deref(), Some("pa:ss"));
        for other in ["reg.test/node:a", "node:a", "evil/reg.test:5000"] {
            assert_eq!(login(config, other).await, None, "{other}");
        }
    }

    #[tokio::test]
    async fn a_helper_cannot_lead_to_another_program() {
        let config = r#"{"credsStore":"../../bin/sh"}"#;
        assert_eq!(login(config, "reg.test/node:a").await, None);
    }

    #[tokio::test]
    async fn without_a_login_there_is_none() {
        for config in ["{}", "not json", r#"{"auths":{}}"#] {
            assert_eq!(login(config, "reg.test/node:a").await, None);
        }
    }
}
