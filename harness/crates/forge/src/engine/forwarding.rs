//! Forwarding of IPv4 packets, without which containers reach nothing beyond the machine.
//!
//! A machine that forwards is a router between all its networks. Where it did not before, it
//! forwards only what a rule accepts, such as those for the engines' ranges, and that is put back
//! with the last engine. Forwarding of IPv6 is never touched: the engines' networks have none.
//!
//! Callers hold the machine's lock.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::packages::Tools;
use kubenest_base::{Context, Error, Result, file};

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";

/// Accepts what only crosses a bridge: the kernel may show that to iptables, too, and pods'
/// addresses are in no engine's range.
const BRIDGED: &str = "KUBENEST-BRIDGED";

/// What the machine did with packets before an engine of ours came.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Former {
    /// What becomes of a packet that no rule decides on.
    policy: String,
    /// All rules of FORWARD but ours.
    rules: Vec<String>,
}

/// Has the machine forward packets, the engines' alone if it forwarded none.
pub(super) async fn open(tools: &Tools) -> Result<()> {
    let note = note()?;
    if !note.exists() {
        if is_on()? {
            return Ok(());
        }
        let former = serde_json::to_vec(&former(tools).await?).context("write FORWARD's rules")?;
        file::write(&note, former)?;
    }
    if !listing(tools).await?.contains(BRIDGED) {
        // One that was left by a start cut short is used again.
        chain(tools, ["-N", BRIDGED]).await.ok();
        chain(tools, ["-F", BRIDGED]).await?;
        accept_bridged(tools).await?;
        chain(tools, ["-A", "FORWARD", "-j", BRIDGED]).await?;
    }
    chain(tools, ["-P", "FORWARD", "DROP"]).await?;
    switch("1")
}

/// Puts back what [`open`] changed, unless somebody has come to need it.
pub(super) async fn close(tools: &Tools) -> Result<()> {
    let note = note()?;
    let text = match fs::read(&note) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("read '{}'", note.display())),
    };
    let before: Former =
        serde_json::from_slice(&text).with_context(|| format!("read '{}'", note.display()))?;
    if former(tools).await?.rules != before.rules {
        tracing::warn!(
            "the machine goes on forwarding what its iptables rules accept: others than ours have \
             come to FORWARD since the embedded engine was started"
        );
        return Ok(());
    }
    switch("0")?;
    chain(tools, ["-P", "FORWARD", before.policy.as_str()]).await?;
    chain(tools, ["-D", "FORWARD", "-j", BRIDGED]).await?;
    chain(tools, ["-F", BRIDGED]).await?;
    chain(tools, ["-X", BRIDGED]).await?;
    fs::remove_file(&note).with_context(|| format!("remove '{}'", note.display()))
}

async fn accept_bridged(tools: &Tools) -> Result<()> {
    let bridged = ["-m", "physdev", "--physdev-is-bridged"];
    let exact = tools.iptables().args(["-A", BRIDGED]).args(bridged);
    if exact
        .args(["-j", "ACCEPT"])
        .output()
        .await?
        .status
        .success()
    {
        return Ok(());
    }
    // A kernel without that match: by the names that Docker gives to bridges.
    let named = ["-i", "br-+", "-o", "br-+", "-j", "ACCEPT"];
    tools
        .iptables()
        .args(["-A", BRIDGED])
        .args(named)
        .run()
        .await?;
    Ok(())
}

async fn chain<const N: usize>(tools: &Tools, arguments: [&str; N]) -> Result<()> {
    tools.iptables().args(arguments).run().await.map(drop)
}

async fn listing(tools: &Tools) -> Result<String> {
    Ok(tools.iptables().args(["-S", "FORWARD"]).run().await?.stdout)
}

async fn former(tools: &Tools) -> Result<Former> {
    Ok(parse_rules(&listing(tools).await?))
}

/// What `iptables -S FORWARD` says, without the rules of our engines.
fn parse_rules(listing: &str) -> Former {
    let policy = listing
        .lines()
        .find_map(|line| line.strip_prefix("-P FORWARD "));
    let rules = listing
        .lines()
        .filter(|line| line.starts_with("-A ") && !line.contains("-j KUBENEST-"));
    Former {
        policy: policy.unwrap_or("ACCEPT").to_owned(),
        rules: rules.map(str::to_owned).collect(),
    }
}

/// The file that says what was there before, of this network namespace; it goes with the
/// machine's settings when that is restarted.
fn note() -> Result<PathBuf> {
    let namespace = fs::read_link("/proc/self/ns/net").context("look at the network namespace")?;
    let digits = namespace.to_string_lossy();
    let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
    Ok(Path::new("/run").join(format!("kubenest-forwarding-{digits}.json")))
}

fn is_on() -> Result<bool> {
    let value = fs::read_to_string(SWITCH).with_context(|| format!("read '{SWITCH}'"))?;
    Ok(value.trim() != "0")
}

fn switch(value: &str) -> Result<()> {
    fs::write(SWITCH, value).map_err(|cause| {
        Error::setup("cannot change whether this machine forwards packets")
            .because(cause)
            .cure("run where /proc/sys can be written to, or `sysctl -w net.ipv4.ip_forward=1`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_rules_are_nobody_elses() {
        let before = parse_rules("-P FORWARD ACCEPT\n-A FORWARD -i wg0 -j ACCEPT\n");
        assert_eq!(before.policy, "ACCEPT");
        let running = "-P FORWARD DROP\n-A FORWARD -j KUBENEST-0a1b2c3d\n\
                       -A FORWARD -i wg0 -j ACCEPT\n-A FORWARD -j KUBENEST-BRIDGED\n";
        assert_eq!(parse_rules(running).rules, before.rules);
        assert_eq!(parse_rules(running).policy, "DROP");
        let docker = format!("{running}-A FORWARD -j DOCKER-USER\n");
        assert_ne!(parse_rules(&docker).rules, before.rules);
    }
}
