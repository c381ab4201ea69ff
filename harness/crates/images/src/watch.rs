//! Watches the protected images while a test runs, and reports who removed one.

use std::time::Duration;

use futures::future::{join_all, select_all};
use jiff::Timestamp;

use super::protect::{Daemon, Loss, Protection, REMOVERS};
use kubenest_base::{
    Error, ErrorKind, Result,
    wait::{self, Probe},
};
use kubenest_node::node::Node;

/// The time between two checks of a node.
const PACE: Duration = Duration::from_secs(1);

/// How long the journal may take to receive what the kubelet did.
const JOURNAL: Duration = Duration::from_secs(3);

impl Protection {
    /// Ends when a protected image is gone from a node. The error says which image, since when, and
    /// which line of the kubelet's journal reports the removal. A node that does not answer is
    /// asked again.
    pub async fn watch(&self, nodes: &[Node]) -> Error {
        let watches = nodes.iter().map(|node| Box::pin(self.watch_one(node)));
        select_all(watches).await.0
    }

    /// Checks every node once; lost pins are put back.
    ///
    /// # Errors
    /// A protected image is gone, or a node does not answer.
    pub async fn check(&self, nodes: &[Node]) -> Result<()> {
        let looks = nodes.iter().map(async |node| {
            let daemon = Daemon::open(node).await?;
            match self.look(&daemon).await? {
                Some(lost) => Err(lost.explain(node).await),
                None => Ok(()),
            }
        });
        let errors = join_all(looks).await.into_iter().filter_map(Result::err);
        // A node that does not answer must not hide what another has lost.
        let first = errors.min_by_key(|error| error.kind() != ErrorKind::Refused);
        first.map_or(Ok(()), Err)
    }

    async fn watch_one(&self, node: &Node) -> Error {
        let mut daemon = None;
        loop {
            wait::pace(PACE).await;
            let look = async {
                let daemon = match &mut daemon {
                    Some(daemon) => daemon,
                    none => none.insert(Daemon::open(node).await?),
                };
                self.look(daemon).await
            };
            match look.await {
                Ok(Some(lost)) => return lost.explain(node).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!("watch of '{node}': {}", error.report());
                    // A restarted daemon needs a new connection.
                    daemon = None;
                }
            }
        }
    }
}

impl Loss {
    async fn explain(&self, node: &Node) -> Error {
        let what = "the kubelet's line";
        let line = wait::until(what, JOURNAL, async || match journal(node).await {
            Ok(journal) => {
                Probe::from_option(removal(&journal, &self.id).map(str::to_owned), String::new)
            }
            Err(error) => Probe::Failed(error),
        });
        self.error(node.name(), line.await.ok().as_deref())
    }

    fn error(&self, node: &str, line: Option<&str>) -> Error {
        let Self { image, .. } = self;
        let gone = format!("protected image '{image}' is gone from node '{node}'");
        let release = format!("a test that means it first calls images().release(\"{image}\")");
        match line.and_then(|line| line.split_once(' ')) {
            Some((time, line)) => {
                let words = line.split_once("]: ").map_or(line, |(_, words)| words);
                let what = format!("{gone} since {time}: the kubelet removed it: `{words}`");
                Error::refused(what).cure(format!(
                    "keep the kubelet from it: no ClusterSpec::with_image_collection(), and a \
                     containerd that heeds pins; {release}"
                ))
            }
            None => {
                let now = Timestamp::now();
                let what = format!("{gone} since {now:.0}: no line of its kubelet names it");
                Error::refused(what).cure(format!("{REMOVERS}; {release}"))
            }
        }
    }
}

/// The kubelet's last log lines, each with its time. They are complete unless the journal is too
/// busy to take them.
async fn journal(node: &Node) -> Result<String> {
    const READ: &str = include_str!("journal.sh");
    Ok(node.exec_ok(&["sh", "-c", READ]).await?.text())
}

/// The line by which a kubelet says that it removes the image of this id.
fn removal<'a>(journal: &'a str, id: &str) -> Option<&'a str> {
    journal
        .lines()
        .rfind(|line| line.contains("Removing image") && line.contains(id))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    const JOURNAL: &str = r#"2026-11-21T13:00:01.000001+0000 cp kubelet[77]: I1121 13:00:01.000001      77 image_gc_manager.go:431] "Attempting to delete unused images"
2026-11-21T13:00:02.000001+0000 cp kubelet[77]: I1121 13:00:02.000001      77 image_gc_manager.go:487] "Removing image to free bytes" imageID="sha256:aa" size=10 runtimeHandler=""
2026-11-21T13:00:03.000001+0000 cp kubelet[77]: I1121 13:00:03.000001      77 image_gc_manager.go:487] "Removing image to free bytes" imageID="sha256:bb" size=10 runtimeHandler=""
"#;

    fn lost(id: &str) -> Error {
        let lost = Loss {
            image: "docker.io/library/app:1".to_owned(),
            id: id.to_owned(),
        };
        lost.error("cp", removal(JOURNAL, id))
    }

    #[test]
    fn what_the_kubelet_removed_is_told_in_its_words() {
        assert_snapshot!(lost("sha256:aa").to_string(), @r#"protected image 'docker.io/library/app:1' is gone from node 'cp' since 2026-11-21T13:00:02.000001+0000: the kubelet removed it: `I1121 13:00:02.000001      77 image_gc_manager.go:487] "Removing image to free bytes" imageID="sha256:aa" size=10 runtimeHandler=""`"#);
    }

    #[test]
    fn what_something_else_removed_is_told_apart() {
        let error = lost("sha256:cc");
        assert!(
            error
                .to_string()
                .ends_with("no line of its kubelet names it")
        );
        let cure = error.cure_text().expect("must have a cure");
        assert!(cure.contains("crictl rmi"), "{cure}");
        assert!(
            cure.contains("release(\"docker.io/library/app:1\")"),
            "{cure}"
        );
    }
}
