//! Watches the nodes' services during a boot and ends it when one keeps exiting.
//!
//! kubeadm waits four minutes for a kubelet that cannot start, while the kubelet itself reports the
//! reason within two seconds.

use std::{convert::Infallible, time::Duration};

use futures::future::select_all;

use super::STEP;
use kubenest_base::{Error, ErrorKind, Result, wait};
use kubenest_node::node::Node;

/// How often a service or a container of Kubernetes' own may be restarted before it counts as unable to
/// run. It is more than one because an API server may lose its first race with etcd.
const RESTARTS: u32 = 3;
/// The same limit for a container that ended at once: that is no race, and the kubelet waits ever
/// longer before it tries again.
const RESTARTS_AT_ONCE: u32 = 2;
/// Seconds of run time that count as "at once".
const AT_ONCE: u32 = 3;

/// The script that prints how often each service and container was restarted.
const LOOK: &str = include_str!("watchdog.sh");

/// Runs this work while the nodes' services keep running. The first service that gives up ends the
/// work, and the error has the service's last log lines.
pub(super) async fn run_beside<T>(
    nodes: &[Node],
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        done = Box::pin(work) => done,
        error = watch(nodes) => Err(error),
    }
}

/// Ends only when a node fails.
async fn watch(nodes: &[Node]) -> Error {
    let watches = nodes.iter().map(|node| Box::pin(watch_node(node)));
    match select_all(watches).await.0 {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

async fn watch_node(node: &Node) -> Result<Infallible> {
    loop {
        wait::pace(Duration::from_millis(700)).await;
        let services = ["kubelet", node.runtime().service()];
        let argv = [["bash", "-c", LOOK, "watchdog"].as_slice(), &services].concat();
        let look = node.within(STEP).exec(&argv).await;
        let look = match look {
            Ok(look) => look,
            // A stuck node is no failure here: the step that waits for it ends the boot, or the
            // node recovers.
            Err(error) if error.kind() == ErrorKind::Timeout => {
                tracing::debug!("{}", error.report());
                continue;
            }
            // The node itself may be gone; then attaching fails with the node's last log lines.
            Err(error) => {
                Node::attach(node.docker(), node.name(), node.role()).await?;
                return Err(error);
            }
        };
        if let Some(what) = find_given_up(&look.text()) {
            return Err(last_words(node, &what).await);
        }
    }
}

/// The first service or log file in the output that was restarted too often.
fn find_given_up(look: &str) -> Option<String> {
    look.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let what = words.next()?;
        let restarts: u32 = words.next()?.parse().ok()?;
        let life = words.next().and_then(|life| life.parse::<u32>().ok());
        let at_once = life.is_some_and(|life| life <= AT_ONCE);
        let limit = if at_once { RESTARTS_AT_ONCE } else { RESTARTS };
        (restarts >= limit).then(|| what.to_owned())
    })
}

async fn last_words(node: &Node, what: &str) -> Error {
    let ended = ended_life(what);
    let argv = match &ended {
        // The current run of the container may not have logged anything yet.
        Some(ended) => vec!["tail", "--quiet", "--lines=8", "--", ended, what],
        None => vec![
            "journalctl",
            "--no-pager",
            "--output=cat",
            "--lines=200",
            "--unit",
            what,
        ],
    };
    let words = match node.within(STEP).exec(&argv).await {
        Ok(output) if ended.is_none() => end_of_last_life(&output.text()),
        Ok(output) => output.text(),
        Err(error) => error.report(),
    };
    let service = what.split('/').nth(5).unwrap_or(what);
    Error::setup(format!(
        "{service} on node '{}' keeps exiting: {}",
        node.name(),
        words.trim()
    ))
    .cure("the last lines above name its reason; run again with KUBENEST_KEEP=1 to look inside")
}

/// The last lines of a service's journal up to the last exit of its process. systemd has started
/// the service again since, and the first lines of that run explain nothing.
fn end_of_last_life(journal: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<&str> = journal.lines().collect();
    let end = lines
        .iter()
        .rposition(|line| line.contains(" process exited, "))
        .map_or(lines.len(), |exit| exit + 1);
    lines[end.saturating_sub(LINES)..end].join("\n")
}

/// The log of a container's previous run, next to this log; `None` for a service.
fn ended_life(log: &str) -> Option<String> {
    let (folder, file) = log.rsplit_once('/')?;
    let life: u32 = file.strip_suffix(".log")?.parse().ok()?;
    Some(format!("{folder}/{}.log", life.checked_sub(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_may_be_restarted_now_and_then() {
        assert_eq!(
            find_given_up("kubelet 1\ncontainerd 0\n/x/b/1.log 1 0\n/x/b/2.log 2 20"),
            None
        );
        assert_eq!(
            find_given_up("kubelet 3\ncontainerd 0").as_deref(),
            Some("kubelet")
        );
        assert_eq!(
            find_given_up("/x/b/3.log 3 20").as_deref(),
            Some("/x/b/3.log")
        );
        assert_eq!(
            find_given_up("/x/b/2.log 2 0").as_deref(),
            Some("/x/b/2.log")
        );
        assert_eq!(find_given_up("kubelet [not set]"), None);
    }

    #[test]
    fn a_life_that_has_begun_does_not_hide_why_the_one_before_ended() {
        let begun = "mkdir: cannot create directory: Read-only file system\n".repeat(12);
        let exit = "kubelet.service: Main process exited, code=exited, status=1/FAILURE";
        let journal = format!(
            "{begun}Started kubelet.service - kubelet.\nE1129 unknown flag: --x\n{exit}\n{begun}"
        );
        let words = end_of_last_life(&journal);
        assert!(words.contains("unknown flag: --x"), "{words}");
        assert!(words.ends_with(exit), "{words}");
        assert_eq!(end_of_last_life("a\nb"), "a\nb");
    }

    #[test]
    fn the_life_that_ended_has_the_log_before() {
        assert_eq!(ended_life("/x/b/2.log").as_deref(), Some("/x/b/1.log"));
        assert_eq!(ended_life("/x/b/0.log"), None);
        assert_eq!(ended_life("kubelet"), None);
    }
}
