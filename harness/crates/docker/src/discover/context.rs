//! Docker contexts: which engine the user's `docker context use` picked, and its TLS files.

use std::{
    fs,
    io::ErrorKind::NotFound,
    path::{Path, PathBuf},
};

use kubenest_base::digest::sha256_hex;
use serde::Deserialize;

use kubenest_base::{Context as _, Error, Result};

/// The endpoint that a named context holds.
#[derive(Debug, PartialEq)]
pub(super) struct Context {
    /// The address in the form of `DOCKER_HOST`.
    pub(super) host: String,
    /// Folder with `ca.pem`, `cert.pem` and `key.pem`, when the context has TLS files.
    pub(super) tls: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "currentContext", default)]
    current: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Meta {
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    docker: Option<DockerEndpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEndpoint {
    #[serde(default)]
    host: String,
    #[serde(rename = "SkipTLSVerify", default)]
    skip_verify: bool,
}

/// The name of the context that `config.json` says is in use, if it names one.
pub(super) fn current(config_dir: &Path) -> Result<Option<String>> {
    let path = config_dir.join("config.json");
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == NotFound => return Ok(None),
        Err(e) => return Err(e).with_context(|| format!("read '{}'", path.display())),
    };
    let config: Config = serde_json::from_slice(&text).map_err(|e| {
        Error::setup(format!(
            "'{}' is not a Docker client configuration",
            path.display()
        ))
        .because(e)
        .cure("repair or remove the file, or set DOCKER_HOST")
    })?;
    Ok(Some(config.current).filter(|name| !name.is_empty()))
}

/// Reads a context by name.
pub(super) fn load(config_dir: &Path, name: &str) -> Result<Context> {
    let id = sha256_hex(name.as_bytes());
    let cure = "`docker context ls` shows the contexts; `docker context use default` leaves them";
    let path = config_dir.join("contexts/meta").join(&id).join("meta.json");
    let text = fs::read(&path).map_err(|e| {
        Error::setup(format!("Docker context '{name}' cannot be read"))
            .because(e)
            .cure(cure)
    })?;
    let meta: Meta = serde_json::from_slice(&text).map_err(|e| {
        Error::setup(format!(
            "Docker context '{name}' is damaged ('{}')",
            path.display()
        ))
        .because(e)
        .cure(cure)
    })?;
    let endpoint = meta
        .endpoints
        .docker
        .filter(|endpoint| !endpoint.host.is_empty());
    let Some(endpoint) = endpoint else {
        return Err(Error::setup(format!("Docker context '{name}' names no engine")).cure(cure));
    };
    if endpoint.skip_verify {
        return Err(Error::setup(format!(
            "Docker context '{name}' skips the check of its engine"
        ))
        .cure(format!(
            "`docker context update {name}` with a ca and without skip-tls-verify"
        )));
    }
    let tls = config_dir.join("contexts/tls").join(&id).join("docker");
    Ok(Context {
        host: endpoint.host,
        tls: tls.is_dir().then_some(tls),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes a context as `docker context create` does.
    pub(in crate::discover) fn write(dir: &Path, id: &str, meta: &str) {
        let folder = dir.join("contexts/meta").join(id);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("meta.json"), meta).unwrap();
    }

    // sha256 of "far", by `printf far | sha256sum`.
    pub(in crate::discover) const FAR: &str =
        "512eea46ceb3921dff4363c7069d89d4964d1d9fccaa0f411851a7aa60a5c868";

    #[test]
    fn a_context_is_found_by_the_hash_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let meta = r#"{"Name":"far","Metadata":{},
            "Endpoints":{"docker":{"Host":"tcp://10.0.0.9:2376","SkipTLSVerify":false}}}"#;
        write(dir.path(), FAR, meta);
        let found = load(dir.path(), "far").unwrap();
        assert_eq!(
            found,
            Context {
                host: "tcp://10.0.0.9:2376".into(),
                tls: None
            }
        );

        let tls = dir.path().join("contexts/tls").join(FAR).join("docker");
        fs::create_dir_all(&tls).unwrap();
        assert_eq!(load(dir.path(), "far").unwrap().tls, Some(tls));
    }

    #[test]
    fn a_context_without_a_usable_engine_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let message = || load(dir.path(), "far").unwrap_err().to_string();
        assert_eq!(message(), "Docker context 'far' cannot be read");
        write(dir.path(), FAR, "{");
        assert!(message().starts_with("Docker context 'far' is damaged"));
        write(dir.path(), FAR, r#"{"Endpoints":{"kubernetes":{}}}"#);
        assert_eq!(message(), "Docker context 'far' names no engine");
        let unchecked = r#"{"Endpoints":{"docker":{"Host":"tcp://h:1","SkipTLSVerify":true}}}"#;
        write(dir.path(), FAR, unchecked);
        assert_eq!(
            message(),
            "Docker context 'far' skips the check of its engine"
        );
    }

    #[test]
    fn the_current_context_comes_from_config_json() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(current(dir.path()).unwrap(), None);
        let config = dir.path().join("config.json");
        fs::write(&config, r#"{"auths":{},"currentContext":"far"}"#).unwrap();
        assert_eq!(current(dir.path()).unwrap().as_deref(), Some("far"));
        fs::write(&config, r#"{"auths":{}}"#).unwrap();
        assert_eq!(current(dir.path()).unwrap(), None);
        fs::write(&config, "not json").unwrap();
        assert!(current(dir.path()).is_err());
    }
}
