//! Asks a daemon whether it answers and whether it reaches its containerd.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use kubenest_base::{Context, Error, Result, wait};

/// Longest wait for an answer. It is long so that a slow daemon is not taken for a broken one.
const ANSWER: Duration = Duration::from_secs(20);

/// The versions of a running engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versions {
    /// Of the Docker daemon.
    pub docker: String,
    /// Of its containerd.
    pub containerd: String,
}

#[derive(Deserialize)]
struct VersionAnswer {
    #[serde(rename = "Version")]
    version: String,
    #[serde(rename = "Components", default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Version")]
    version: String,
}

/// Checks that the daemon is healthy: it answers, and it reaches its containerd.
pub(super) async fn check(socket: &Path) -> Result<Versions> {
    get(socket, "/_ping").await?;
    versions(&get(socket, "/version").await?)
}

/// Makes one request with HTTP/1.0, where the end of the connection ends the answer.
async fn get(socket: &Path, path: &str) -> Result<Vec<u8>> {
    let name = || format!("ask the Docker daemon at '{}' for {path}", socket.display());
    let answer = wait::within("the Docker daemon's answer", ANSWER, async {
        let mut stream = UnixStream::connect(socket).await.with_context(name)?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .await
            .with_context(name)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.with_context(name)?;
        Ok(answer)
    })
    .await?;
    body(&answer).map(<[u8]>::to_vec).ok_or_else(|| {
        let status = answer.split(|b| *b == b'\r').next().unwrap_or_default();
        Error::setup(format!("{}: {}", name(), String::from_utf8_lossy(status)))
    })
}

fn body(answer: &[u8]) -> Option<&[u8]> {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let ok = answer.starts_with(b"HTTP/1.0 200 ") || answer.starts_with(b"HTTP/1.1 200 ");
    ok.then(|| &answer[head + 4..])
}

/// The versions in the daemon's answer. The daemon leaves out containerd when that does not answer.
fn versions(answer: &[u8]) -> Result<Versions> {
    let answer: VersionAnswer =
        serde_json::from_slice(answer).context("read the Docker daemon's version")?;
    let containerd = answer
        .components
        .into_iter()
        .find(|c| c.name == "containerd");
    let containerd = containerd
        .ok_or_else(|| Error::setup("the Docker daemon answers, but its containerd does not"))?;
    Ok(Versions {
        docker: answer.version,
        containerd: containerd.version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_without_containerd_is_not_healthy() {
        let engine = r#"{"Version":"26.1.5","Components":[{"Name":"Engine","Version":"26.1.5"}]}"#;
        let error = versions(engine.as_bytes()).unwrap_err();
        assert!(
            error.to_string().contains("its containerd does not"),
            "{error}"
        );
        let both = engine.replace("]", r#",{"Name":"containerd","Version":"1.7.24"}]"#);
        assert_eq!(versions(both.as_bytes()).unwrap().containerd, "1.7.24");
    }

    #[test]
    fn only_a_whole_good_answer_has_a_body() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\nOK"), Some(&b"OK"[..]));
        assert_eq!(body(b"HTTP/1.0 500 No\r\n\r\nOK"), None);
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nA:"), None);
    }
}
