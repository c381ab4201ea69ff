//! A proxy in front of an engine's socket, which can answer all requests with errors.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result};
use kubenest::engine::Docker;
use kubenest_docker::discover::{Endpoint, Origin};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};

/// The answer of an engine that cannot read its own data.
const ERROR: &str = r#"{"message":"database is locked"}"#;

/// The proxy; dropping it ends it.
pub struct Proxy {
    broken: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    task: JoinHandle<()>,
    /// The engine as seen through the proxy.
    pub engine: Docker,
}

impl Proxy {
    /// Listens at this path, in front of the engine.
    pub async fn before(engine: &Docker, path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        let target = engine
            .socket()
            .context("the engine has no socket")?
            .to_owned();
        let (broken, refused) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let (is_broken, count) = (broken.clone(), refused.clone());
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if is_broken.load(Ordering::SeqCst) {
                    // Counted after the answer was sent.
                    let count = count.clone();
                    tokio::spawn(async move {
                        if refuse(client).await.is_ok() {
                            count.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                    continue;
                }
                let target = target.clone();
                tokio::spawn(async move {
                    let mut engine = UnixStream::connect(target).await?;
                    copy_bidirectional(&mut client, &mut engine).await
                });
            }
        });
        Ok(Self {
            broken,
            refused,
            task,
            engine: Docker::at(
                &Endpoint::unix(path, Origin::Embedded),
                kubenest::settings(),
            )
            .await?,
        })
    }

    /// Sets whether new requests are answered with an error instead of by the engine.
    pub fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    /// The number of requests that were answered with an error.
    pub fn refused_requests(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn refuse(mut client: UnixStream) -> std::io::Result<()> {
    let mut request = vec![0; 1 << 16];
    let _bytes = client.read(&mut request).await?;
    let answer = format!(
        "HTTP/1.0 500 Internal Server Error\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{ERROR}",
        ERROR.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await
}
