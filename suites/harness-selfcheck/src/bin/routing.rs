//! Starts and stops embedded engines in a network namespace of its own, and prints after each step,
//! as a line of JSON, how packets are forwarded. Run it by `unshare --net --mount`.
#![expect(clippy::print_stdout, reason = "it says what it sees")]

use std::{fs, path::Path};

use anyhow::{Context, Result};
use kubenest_base::{process::Command, settings::EngineRelease};
use kubenest_forge::engine::Engine;
use serde_json::json;

/// A rule such as another engine may add later.
const OTHER_RULE: [&str; 6] = ["FORWARD", "-i", "lo", "-o", "lo", "-j"];

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::args().nth(1).context("usage: routing FOLDER")?;
    let folder = Path::new(&folder);
    mount_own_sys(&folder.join("groups")).await?;
    let engine = |name: &str| {
        let home = folder.join(name);
        Engine::open(&home, EngineRelease::Docker26, kubenest::settings())
    };
    let (one, other) = (engine("one")?, engine("other")?);
    fs::write("/proc/sys/net/ipv4/ip_forward", "0")?;

    print_state("before").await?;
    one.ensure().await?;
    print_state("one runs").await?;
    other.ensure().await?;
    one.stop().await?;
    print_state("the other runs").await?;
    other.stop().await?;
    print_state("after both").await?;

    one.ensure().await?;
    iptables(&[&["-A"], &OTHER_RULE[..], &["ACCEPT"]].concat()).await?;
    one.stop().await?;
    print_state("needed by another").await?;
    one.ensure().await?;
    iptables(&[&["-D"], &OTHER_RULE[..], &["ACCEPT"]].concat()).await?;
    one.stop().await?;
    print_state("not needed any more").await?;

    fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
    one.ensure().await?;
    print_state("a router").await?;
    one.stop().await?;
    print_state("a router as before").await
}

/// Mounts a /sys that shows only this network namespace's interfaces, and the old cgroups.
async fn mount_own_sys(groups: &Path) -> Result<()> {
    fs::create_dir_all(groups)?;
    let groups = groups.to_str().context("a plain path")?;
    for arguments in [
        ["--rbind", "/sys/fs/cgroup", groups],
        ["--types=sysfs", "sysfs", "/sys"],
        ["--rbind", groups, "/sys/fs/cgroup"],
        ["--types=tmpfs", "tmpfs", "/run"],
    ] {
        Command::new("mount").args(arguments).run().await?;
    }
    Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .run()
        .await?;
    Ok(())
}

async fn print_state(step: &str) -> Result<()> {
    let value = |path: &str| fs::read_to_string(path).map(|text| text.trim() == "1");
    let forward = iptables(&["-S", "FORWARD"]).await?;
    let policy = forward.lines().next().unwrap_or_default().to_owned();
    println!(
        "{}",
        json!({
            "step": step,
            "forwards": value("/proc/sys/net/ipv4/ip_forward")?,
            "forwards6": value("/proc/sys/net/ipv6/conf/all/forwarding")?,
            "policy": policy,
            "ours": forward.contains("KUBENEST"),
        })
    );
    Ok(())
}

/// Runs the iptables of the engines' own packages.
async fn iptables(arguments: &[&str]) -> Result<String> {
    let cli = kubenest_forge::engine::cli(kubenest::settings()).await?;
    let usr = cli.ancestors().nth(2).context("the packages' usr")?;
    let libraries = fs::read_dir(usr.join("lib"))?.flatten();
    let libraries = libraries
        .map(|entry| entry.path())
        .find(|path| path.join("xtables").is_dir())
        .context("the packages' libraries")?;
    let ran = Command::new(usr.join("sbin/iptables-nft"))
        .env("LD_LIBRARY_PATH", &libraries)
        .env("XTABLES_LIBDIR", libraries.join("xtables"))
        .arg("-w")
        .args(arguments);
    Ok(ran.run().await?.stdout)
}
