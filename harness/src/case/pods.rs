//! The verbs of a case for containers of pods: logs, commands, and streams to ports.

use std::time::Duration;

use futures::{AsyncReadExt as _, io::AsyncBufRead};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::LogParams};
use tokio::io::DuplexStream;

use super::Case;
use kubenest_base::{
    Error, Result,
    wait::{self, Deadline},
};
use kubenest_docker::ExecOutput;
use kubenest_node::objects::{self, ContainerRef};

/// The pause after a log that has ended or cannot be read yet.
const PAUSE: Duration = Duration::from_millis(200);

impl Case<'_> {
    /// The whole log of a container as text: that of a pod's only container, or with a pair of pod
    /// and container that of the latter.
    ///
    /// # Errors
    /// The container has not started, or the pod has several: failures of the test. Or the API
    /// server does not answer.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// assert!(case.logs("web").await?.contains("listening"));
    /// assert!(case.logs(("web", "sidecar")).await?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn logs<'c>(&self, container: impl Into<ContainerRef<'c>>) -> Result<String> {
        let container = container.into();
        let (pods, params) = (self.api::<Pod>(), log_params(container));
        let log = pods.logs(container.pod, &params);
        objects::answered(|| format!("read the log of {container}"), log).await
    }

    /// Follows the log of a container until it has this text, and returns the log so far. The pod
    /// need not exist yet, and its container may restart.
    ///
    /// # Errors
    /// The pod ends or the deadline passes before that: failures of the test, with the last lines of
    /// the log. Or the API server does not answer.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// let minute = std::time::Duration::from_secs(60);
    /// case.logs_until("operator", "became the leader", minute).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn logs_until<'c>(
        &self,
        container: impl Into<ContainerRef<'c>>,
        text: &str,
        deadline: Duration,
    ) -> Result<String> {
        let container = container.into();
        let what = format!("'{text}' in the log of {container}");
        self.note_step(format!("wait for {what}"));
        let deadline = Deadline::begin(deadline);
        let mut seen = FollowedLog::default();
        let followed = deadline
            .give(follow(self.api(), container, text, &mut seen))
            .await;
        let found = followed.unwrap_or_else(|| {
            let error = deadline.missed(&what, &seen.words());
            Err(match seen.answered {
                true => error.asserted(),
                false => error,
            })
        });
        self.note_result(&format!("saw {what}"), &found);
        found
    }

    /// Runs a command in a container to its end, with an empty standard input, and accepts any exit
    /// status. It may take five minutes.
    ///
    /// # Errors
    /// There is no such container, or the command cannot be started: failures of the test. Or the
    /// API server or kubelet does not answer, or the command does not end.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// let listed = case.exec(("web", "nginx"), &["ls", "/etc/nginx"]).await?;
    /// assert_eq!((listed.status, listed.text().as_str()), (0, "nginx.conf\n"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn exec<'c>(
        &self,
        container: impl Into<ContainerRef<'c>>,
        argv: &[impl AsRef<str>],
    ) -> Result<ExecOutput> {
        let container = container.into();
        let argv: Vec<_> = argv.iter().map(|arg| arg.as_ref().to_owned()).collect();
        self.note_step(format!("run `{}` in {container}", argv.join(" ")));
        objects::exec(&self.api(), container, argv).await
    }

    /// A byte stream to a TCP port of a pod, through the API server and the kubelet. Nothing listens
    /// on this machine, and the port may be open on the pod's 127.0.0.1 only.
    ///
    /// # Errors
    /// There is no such pod, or it does not run: failures of the test. Or the API server does not
    /// answer. If nothing listens at the port, the stream ends at once.
    ///
    /// ```no_run
    /// # async fn example(case: &kubenest::Case<'_>) -> anyhow::Result<()> {
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// let mut stream = case.port_forward("web", 8080).await?;
    /// stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    /// let mut answer = String::new();
    /// stream.read_to_string(&mut answer).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn port_forward(&self, pod: &str, port: u16) -> Result<DuplexStream> {
        let what = format!("reach port {port} of pod '{pod}'");
        self.note_step(&what);
        let (pods, ports) = (self.api::<Pod>(), [port]);
        let mut forwarder =
            objects::answered(|| what.clone(), pods.portforward(pod, &ports)).await?;
        let stream = forwarder.take_stream(port);
        if let Some(error) = forwarder.take_error(port) {
            tokio::spawn(async move {
                if let Some(words) = error.await {
                    tracing::warn!("{what}: {words}");
                }
            });
        }
        stream.ok_or_else(|| Error::setup("the port forward has no stream"))
    }
}

fn log_params(container: ContainerRef<'_>) -> LogParams {
    LogParams {
        container: container.container.map(str::to_owned),
        ..LogParams::default()
    }
}

/// What a follower of a log has seen.
#[derive(Default)]
struct FollowedLog {
    log: Vec<u8>,
    /// Why there is no log.
    trouble: Option<String>,
    /// Whether the API server's last answer is there.
    answered: bool,
}

impl FollowedLog {
    /// The last lines of the log, or why there is none.
    fn words(&self) -> String {
        let log = String::from_utf8_lossy(&self.log);
        let lines: Vec<_> = log.lines().collect();
        match &self.trouble {
            Some(trouble) => trouble.clone(),
            None if lines.is_empty() => "an empty log".to_owned(),
            None => lines[lines.len().saturating_sub(5)..].join("\n"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.log).into_owned()
    }

    /// Reads to the end of a log; ends early and says so once the log has this text.
    async fn read(&mut self, mut log: impl AsyncBufRead + Unpin, text: &str) -> bool {
        let mut part = vec![0; 8192];
        while let Ok(count @ 1..) = log.read(&mut part).await {
            // The text may begin in an earlier part.
            let from = self.log.len().saturating_sub(text.len());
            self.log.extend_from_slice(&part[..count]);
            let is_there = |at: &[u8]| at.starts_with(text.as_bytes());
            if (from..self.log.len()).any(|at| is_there(&self.log[at..])) {
                return true;
            }
        }
        false
    }
}

/// Follows the log of a container, and of those that take its place, until it has this text.
async fn follow(
    pods: Api<Pod>,
    container: ContainerRef<'_>,
    text: &str,
    seen: &mut FollowedLog,
) -> Result<String> {
    let params = LogParams {
        follow: true,
        ..log_params(container)
    };
    loop {
        // The state from before the log: an end that it tells is in the log.
        let pod = pods.get_opt(container.pod).await;
        match pods.log_stream(container.pod, &params).await {
            Ok(log) => {
                *seen = FollowedLog {
                    answered: true,
                    ..FollowedLog::default()
                };
                if seen.read(std::pin::pin!(log), text).await {
                    return Ok(seen.text());
                }
            }
            Err(kube::Error::Api(status)) => {
                (seen.trouble, seen.answered) = (Some(status.message), true);
            }
            Err(error) => (seen.trouble, seen.answered) = (Some(error.to_string()), false),
        }
        let phase = pod.ok().flatten().and_then(|pod| pod.status?.phase);
        if matches!(phase.as_deref(), Some("Failed" | "Succeeded")) {
            let words = seen.words();
            let error = format!("{container} ended without '{text}' in its log: {words}");
            return Err(Error::setup(error).asserted());
        }
        wait::pace(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_text_is_found_across_the_parts_of_a_log() {
        let parts = ["one t", "w", "o three"].map(|part| std::io::Result::Ok(part.as_bytes()));
        let log = || {
            let parts = parts
                .iter()
                .map(|part| std::io::Result::Ok(*part.as_ref().unwrap()));
            futures::TryStreamExt::into_async_read(futures::stream::iter(parts.collect::<Vec<_>>()))
        };
        let mut seen = FollowedLog::default();
        assert!(seen.read(log(), "two").await);
        assert_eq!(seen.text(), "one two three");
        let mut seen = FollowedLog::default();
        assert!(!seen.read(log(), "four").await);
        assert_eq!(seen.words(), "one two three");
        assert_eq!(FollowedLog::default().words(), "an empty log");
    }
}
