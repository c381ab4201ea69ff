//! What a full disk does to the images in a node.

use std::time::Duration;

use anyhow::Result;
use kubenest::{
    node::Node,
    wait::{self, Probe},
};

/// A kubelet's period of five minutes, and time for a busy machine. Its first pass finds no statistics.
const PASS: Duration = Duration::from_secs(420);

/// Which of these images a node has.
///
/// # Errors
/// Its runtime does not answer.
pub async fn present(node: &Node, images: &[String]) -> Result<Vec<String>> {
    let cri = node.cri().await?;
    let mut present = Vec::new();
    for name in images {
        if cri.image(name).await?.is_some() {
            present.push(name.clone());
        }
    }
    Ok(present)
}

/// Waits for the kubelet's own pass to delete all of these images.
///
/// # Errors
/// One is still there.
pub async fn until_collected(node: &Node, images: &[String]) -> Result<()> {
    let what = format!("the kubelet of '{node}' to delete {} images", images.len());
    wait::until(&what, PASS, async || match present(node, images).await {
        Ok(left) if left.is_empty() => Probe::Ready(()),
        Ok(left) => Probe::Pending(left.join(" ")),
        Err(error) => Probe::Pending(format!("{error:#}")),
    })
    .await?;
    Ok(())
}

/// The lines of the kubelet's journal with these words.
///
/// # Errors
/// The node does not run.
pub async fn journal_lines(node: &Node, words: &str) -> Result<Vec<String>> {
    let argv = ["journalctl", "--unit=kubelet", "--no-pager", "--output=cat"];
    let journal = node.exec_ok(&argv).await?.text();
    let lines = journal.lines().filter(|line| line.contains(words));
    Ok(lines.map(str::to_owned).collect())
}
