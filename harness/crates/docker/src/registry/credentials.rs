//! The user's name and password for a registry, as `docker login` stored them.

use std::{collections::HashMap, fs, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bollard::auth::DockerCredentials;
use serde::Deserialize;

use kubenest_base::{
    Context, Error, ErrorKind, Result, process::Command, reference::registry_and_path,
    settings::DockerEnv,
};

/// The key of Docker Hub's login, both in the file and for credential helpers, whatever registry
/// name an image has.
const HUB: &str = "https://index.docker.io/v1/";
/// Host names of Docker Hub in image references, and in files that other tools than Docker write.
const HUB_HOSTS: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// How long a credential helper may take. A helper that asks for a passphrase in a window that
/// nobody sees would never end.
const HELPER: Duration = Duration::from_secs(20);

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

/// The login for the registry of an image, if the user has one. Without a login the registry itself
/// says when it demands one.
pub(super) async fn of(env: &DockerEnv, reference: &str) -> Option<DockerCredentials> {
    let text = fs::read(env.config_dir.as_ref()?.join("config.json")).ok()?;
    let config: Config = serde_json::from_slice(&text).ok()?;
    let server = server(reference);
    let helper = config.cred_helpers.get(server);
    if let Some(helper) = helper.or(config.creds_store.as_ref()) {
        match from_helper(helper, server).await {
            Ok(login) => return Some(login),
            Err(error) => tracing::debug!("the login for '{server}': {}", error.report()),
        }
    }
    from_config(&config, server)
}

fn from_config(config: &Config, server: &str) -> Option<DockerCredentials> {
    // Old clients wrote the address with its scheme.
    let login = config
        .auths
        .iter()
        .find(|(name, _)| server_of(host_in(name)) == server);
    let login = login?.1;
    let decoded = BASE64_STANDARD.decode(&login.auth).unwrap_or_default();
    let decoded = String::from_utf8(decoded).ok()?;
    let (username, password) = decoded.split_once(':').unwrap_or_default();
    if username.is_empty() && login.identitytoken.is_none() {
        // When a helper is used, Docker writes only an empty entry into the file.
        return None;
    }
    Some(DockerCredentials {
        username: Some(username.to_owned()),
        password: Some(password.trim_end_matches('\0').to_owned()),
        identitytoken: login.identitytoken.clone(),
        serveraddress: Some(server.to_owned()),
        ..Default::default()
    })
}

async fn from_helper(helper: &str, server: &str) -> Result<DockerCredentials> {
    // The name becomes part of a program's name, so it must not hold a path.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !helper.bytes().all(plain) {
        return Err(Error::input(format!(
            "'{helper}' names no credential helper"
        )));
    }
    let found = ask(&format!("docker-credential-{helper}"), server, HELPER).await?;
    let mut login = DockerCredentials {
        serveraddress: Some(server.to_owned()),
        ..Default::default()
    };
    if found.username == "<token>" {
        login.identitytoken = Some(found.secret);
    } else {
        (login.username, login.password) = (Some(found.username), Some(found.secret));
    }
    Ok(login)
}

async fn ask(program: &str, server: &str, bound: Duration) -> Result<Secret> {
    let asked = Command::new(program)
        .arg("get")
        .stdin_bytes(server)
        .within(bound);
    let answer = asked.run().await;
    if let Err(error) = &answer
        && error.kind() == ErrorKind::Timeout
    {
        tracing::warn!("{error}; going on without its login for '{server}'");
    }
    serde_json::from_str(&answer?.stdout).with_context(|| format!("read the answer of {program}"))
}

/// The key of the login for an image: the host of its registry, or Docker Hub's key when the
/// reference names no registry.
fn server(reference: &str) -> &str {
    registry_and_path(reference).map_or(HUB, |(registry, _)| server_of(registry))
}

/// The name of a host's login.
fn server_of(host: &str) -> &str {
    if HUB_HOSTS.contains(&host) { HUB } else { host }
}

/// The host in a key of the file. Old clients wrote the key as an address.
fn host_in(name: &str) -> &str {
    let name = name
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    name.split('/').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

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
    async fn docker_hubs_login_has_a_name_of_its_own() {
        for name in ["https://index.docker.io/v1/", "docker.io"] {
            let config = format!(r#"{{"auths":{{"{name}":{{"auth":"bWU6cGE6c3M="}}}}}}"#);
            for reference in [
                "kindest/node:v1",
                "kindest/node@sha256:0",
                "busybox",
                "docker.io/library/busybox:1",
                "index.docker.io/library/busybox:1",
            ] {
                let found = login(&config, reference).await.expect(reference);
                assert_eq!(found.username.as_deref(), Some("me"));
                assert_eq!(found.serveraddress.as_deref(), Some(HUB));
            }
            assert_eq!(login(&config, "ghcr.io/a/b:1").await, None);
        }
    }

    #[tokio::test]
    async fn a_helper_cannot_lead_to_another_program() {
        let config = r#"{"credsStore":"../../bin/sh"}"#;
        assert_eq!(login(config, "reg.test/node:a").await, None);
    }

    #[tokio::test]
    async fn a_helper_that_has_none_leaves_it_to_the_file() {
        let with = |auth: &str| {
            format!(r#"{{"credsStore":"of-nobody","auths":{{"reg.test":{{"auth":"{auth}"}}}}}}"#)
        };
        assert_eq!(login(&with(""), "reg.test/node:a").await, None);
        let found = login(&with("bWU6cGE6c3M="), "reg.test/node:a").await;
        assert_eq!(found.unwrap().username.as_deref(), Some("me"));
    }

    #[tokio::test]
    async fn a_helper_that_waits_for_a_person_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let helper = dir.path().join("docker-credential-hang");
        fs::write(&helper, "#!/bin/sh\nexec tail -f /dev/null\n").unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o700)).unwrap();
        let asked = ask(
            helper.to_str().unwrap(),
            "reg.test",
            Duration::from_millis(50),
        );
        assert_eq!(asked.await.err().unwrap().kind(), ErrorKind::Timeout);
    }

    #[tokio::test]
    async fn without_a_login_there_is_none() {
        for config in ["{}", "not json", r#"{"auths":{}}"#] {
            assert_eq!(login(config, "reg.test/node:a").await, None);
        }
    }
}
