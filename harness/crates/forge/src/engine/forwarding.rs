//! Forwarding of IPv4 packets, without which containers reach nothing beyond the machine.
//!
//! A machine that forwards is a router between all its networks. If the machine did not forward
//! before, it now forwards only what a rule accepts, such as the rules for the engines' ranges, and
//! the end of the last engine restores the former state. Forwarding of IPv6 is never touched,
//! because the engines' networks have no IPv6.
//!
//! Callers hold the machine-wide lock.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::packages::Tools;
use kubenest_base::{Context, Error, Result, file};

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";

/// The chain that accepts packets which only cross a bridge: the kernel may show these to iptables
/// too, and the addresses of pods are in no engine's range.
const BRIDGED: &str = "KUBENEST-BRIDGED";

/// What the machine did with packets before one of our engines started.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct FormerRules {
    /// The fate of a packet that no rule decides on.
    policy: String,
    /// All rules of FORWARD except ours.
    rules: Vec<String>,
}

/// Makes the machine forward packets; only the engines' own, if it forwarded none before.
pub(super) async fn open(tools: &Tools) -> Result<()> {
    let note = note()?;
    if !note.exists() {
        if is_on()? {
            return Ok(());
        }
        let former =
            serde_json::to_vec(&former_rules(tools).await?).context("write FORWARD's rules")?;
        file::write(&note, former)?;
    }
    if !listing(tools).await?.contains(BRIDGED) {
        // A start that was interrupted may have left the chain, which is then used again.
        chain(tools, ["-N", BRIDGED]).await.ok();
        chain(tools, ["-F", BRIDGED]).await?;
        accept_bridged(tools).await?;
        chain(tools, ["-A", "FORWARD", "-j", BRIDGED]).await?;
    }
    chain(tools, ["-P", "FORWARD", "DROP"]).await?;
    switch("1")
}

/// Undoes the changes of [`open`], unless somebody else has come to depend on them.
pub(super) async fn close(tools: &Tools) -> Result<()> {
    let note = note()?;
    let text = match fs::read(&note) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("read '{}'", note.display())),
    };
    let before: FormerRules =
        serde_json::from_slice(&text).with_context(|| format!("read '{}'", note.display()))?;
    if former_rules(tools).await?.rules != before.rules {
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
    // A kernel without that match gets rules for the names that Docker gives to bridges.
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

async fn former_rules(tools: &Tools) -> Result<FormerRules> {
    Ok(parse_rules(&listing(tools).await?))
}

/// The former rules in the output of `iptables -S FORWARD`, without those of our engines.
fn parse_rules(listing: &str) -> FormerRules {
    let policy = listing
        .lines()
        .find_map(|line| line.strip_prefix("-P FORWARD "));
    let rules = listing
        .lines()
        .filter(|line| line.starts_with("-A ") && !line.contains("-j KUBENEST-"));
    FormerRules {
        policy: policy.unwrap_or("ACCEPT").to_owned(),
        rules: rules.map(str::to_owned).collect(),
    }
}

/// The file with the former state of this network namespace. It is in a folder that a restart of
/// the machine clears, as it clears the state itself.
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
