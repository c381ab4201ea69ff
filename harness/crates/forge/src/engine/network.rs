//! The engine's network on the machine: a free address range, a bridge for containers that name no
//! network, and one iptables chain that lets the range out.

use std::{fmt, fs, net::Ipv4Addr, path::Path};

use serde::Deserialize;

use super::{
    forwarding,
    layout::{self, Layout},
    packages::Tools,
};
use kubenest_base::{Context, Error, Result, lock::FileLock};

/// A lock for the whole machine. It is held from reading the machine's routes until the bridge has
/// its own route, and while the machine's forwarding is changed.
const MACHINE_LOCK: &str = "/run/kubenest-network.lock";

/// The tables and chains that call the engine's chain.
const HOOKS: [(&str, &str); 2] = [("filter", "FORWARD"), ("nat", "POSTROUTING")];

/// A range of 2^16 addresses, named by its first two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pool(u8, u8);

#[derive(Deserialize)]
struct Route {
    dst: String,
}

impl Pool {
    /// The address of the default bridge, which has the first /24 of the range.
    fn gateway(self) -> String {
        format!("{}.{}.0.1/24", self.0, self.1)
    }

    fn overlaps(self, address: Ipv4Addr, prefix: u32) -> bool {
        let mask = u32::MAX.checked_shl(32 - prefix.min(16)).unwrap_or(0);
        let own = Ipv4Addr::new(self.0, self.1, 0, 0);
        (own.to_bits() ^ address.to_bits()) & mask == 0
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.0.0/16", self.0, self.1)
    }
}

/// Makes the bridge and the chain, and returns the address range.
pub(super) async fn set_up(layout: &Layout, tools: &Tools) -> Result<Pool> {
    let pool = add_bridge(layout, tools).await?;
    let (chain, range) = (layout.chain(), pool.to_string());
    for (table, hook) in HOOKS {
        let iptables = || tools.iptables().args(["-t", table]);
        iptables().args(["-N", &chain]).run().await?;
        for rule in rules(table, &range) {
            iptables().args(["-A", &chain]).args(rule).run().await?;
        }
        // The rule is inserted at the top, because another engine may set the chain's policy to
        // drop.
        iptables().args(["-I", hook, "-j", &chain]).run().await?;
    }
    let _lock = FileLock::exclusive(Path::new(MACHINE_LOCK), "forward packets").await?;
    forwarding::open(tools).await?;
    Ok(pool)
}

/// Removes what [`set_up`] made, and the bridges of user networks.
pub(super) async fn tear_down(layout: &Layout, tools: &Tools) -> Result<()> {
    let chain = layout.chain();
    for (table, hook) in HOOKS {
        let iptables = || tools.iptables().args(["-t", table]);
        let unhook = iptables().args(["-D", hook, "-j", &chain]);
        while unhook.output().await?.status.success() {}
        if iptables()
            .args(["-F", &chain])
            .output()
            .await?
            .status
            .success()
        {
            iptables().args(["-X", &chain]).run().await?;
        }
    }
    for bridge in bridges(layout)? {
        tools
            .ip()
            .args(["link", "delete", "dev", &bridge])
            .run()
            .await?;
    }
    let _lock = FileLock::exclusive(Path::new(MACHINE_LOCK), "forward packets").await?;
    if any_engine()? {
        return Ok(());
    }
    forwarding::close(tools).await
}

/// Whether the bridge of any kubenest engine exists.
fn any_engine() -> Result<bool> {
    let entries = fs::read_dir("/sys/class/net").context("list network interfaces")?;
    let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.any(|name| layout::is_bridge(&name)))
}

async fn add_bridge(layout: &Layout, tools: &Tools) -> Result<Pool> {
    let _lock = FileLock::exclusive(Path::new(MACHINE_LOCK), "choose addresses").await?;
    let routes = tools
        .ip()
        .args(["-j", "-4", "route", "show", "table", "all"])
        .run()
        .await?;
    // Networks that an earlier run of the engine made have addresses from the range of that run.
    let file = layout.pool();
    let last = fs::read_to_string(&file).unwrap_or_default();
    let pool = free_pool(&layout.id, last.trim(), &routed_ranges(&routes.stdout)?)?;
    let bridge = layout.bridge();
    tools
        .ip()
        .args(["link", "add", "name", &bridge, "type", "bridge"])
        .run()
        .await?;
    tools
        .ip()
        .args(["addr", "add", &pool.gateway(), "dev", &bridge])
        .run()
        .await?;
    tools
        .ip()
        .args(["link", "set", "dev", &bridge, "up"])
        .run()
        .await?;
    fs::write(&file, pool.to_string()).with_context(|| format!("write '{}'", file.display()))?;
    Ok(pool)
}

/// The chain's rules for the range. Nobody from outside gets in unasked: containers are reached
/// from this machine, or through published ports.
fn rules<'a>(table: &str, range: &'a str) -> Vec<Vec<&'a str>> {
    if table == "nat" {
        return vec![vec!["-s", range, "!", "-d", range, "-j", "MASQUERADE"]];
    }
    let answers = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"];
    vec![
        vec!["-s", range, "-j", "ACCEPT"],
        [&["-d", range][..], &answers, &["-j", "ACCEPT"]].concat(),
        vec!["-d", range, "-j", "DROP"],
    ]
}

/// The ranges to choose from, in an order that differs between engines. Ranges that Docker,
/// Kubernetes and its network plug-ins use by default are not among them, or come last.
fn candidates(id: &str) -> Vec<Pool> {
    let mut pools: Vec<Pool> = (208..=223).map(|second| Pool(10, second)).collect();
    let start = u64::from_str_radix(id, 16).unwrap_or(0) % 16;
    pools.rotate_left(usize::try_from(start).unwrap_or(0));
    pools.extend((24..=31).map(|second| Pool(172, second)));
    pools
}

fn free_pool(id: &str, last: &str, taken: &[(Ipv4Addr, u32)]) -> Result<Pool> {
    let mut pools = candidates(id);
    pools.sort_by_key(|pool| pool.to_string() != last);
    let free = |pool: &Pool| {
        !taken
            .iter()
            .any(|(address, len)| pool.overlaps(*address, *len))
    };
    pools.into_iter().find(free).ok_or_else(|| {
        Error::setup("no address range is free for the embedded Docker engine")
            .cure("remove a route into 10.208.0.0/12 or 172.24.0.0/13, or set DOCKER_HOST")
    })
}

/// The destinations of the machine's routes in the output of `ip -j route`.
fn routed_ranges(routes: &str) -> Result<Vec<(Ipv4Addr, u32)>> {
    let routes: Vec<Route> = serde_json::from_str(routes).context("read the machine's routes")?;
    let destination = |route: &Route| {
        let (address, prefix) = route.dst.split_once('/').unwrap_or((&route.dst, "32"));
        // "default" is no address, and would overlap every range.
        Some((address.parse().ok()?, prefix.parse().ok()?))
    };
    Ok(routes
        .iter()
        .filter_map(destination)
        .filter(|(_, prefix)| *prefix > 0)
        .collect())
}

/// The engine's bridges: its default bridge, and those in its network database.
pub(super) fn bridges(layout: &Layout) -> Result<Vec<String>> {
    let folder = Path::new("/sys/class/net");
    let entries = fs::read_dir(folder).context("list network interfaces")?;
    let database = fs::read(layout.data().join("network/files/local-kv.db")).unwrap_or_default();
    let known = |name: &str| {
        let id = name.strip_prefix("br-").unwrap_or_default();
        id.len() == 12 && database.windows(12).any(|window| window == id.as_bytes())
    };
    Ok(entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| folder.join(name).join("bridge").is_dir())
        .filter(|name| *name == layout.bridge() || known(name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(last: &str, routes: &[&str]) -> Result<String> {
        let routes: Vec<_> = routes
            .iter()
            .map(|dst| serde_json::json!({ "dst": dst }))
            .collect();
        let taken = routed_ranges(&serde_json::to_string(&routes).unwrap())?;
        free_pool("00000002", last, &taken).map(|pool| pool.to_string())
    }

    #[test]
    fn a_free_range_is_chosen() {
        assert_eq!(
            choose("", &["default", "192.0.2.0/24"]).unwrap(),
            "10.210.0.0/16"
        );
        assert_eq!(choose("", &["10.210.7.0/24"]).unwrap(), "10.211.0.0/16");
        assert_eq!(
            choose("", &["10.210.0.9", "10.211.0.0/16"]).unwrap(),
            "10.212.0.0/16"
        );
    }

    #[test]
    fn a_route_to_all_of_net_10_is_respected() {
        assert_eq!(choose("", &["10.0.0.0/8"]).unwrap(), "172.24.0.0/16");
        let error = choose("", &["10.0.0.0/8", "172.16.0.0/12"]).unwrap_err();
        assert!(error.cure_text().is_some());
    }

    #[test]
    fn the_last_range_is_kept_while_it_is_free() {
        assert_eq!(
            choose("10.220.0.0/16", &["10.210.0.0/16"]).unwrap(),
            "10.220.0.0/16"
        );
        assert_eq!(
            choose("10.220.0.0/16", &["10.220.0.0/24"]).unwrap(),
            "10.210.0.0/16"
        );
        assert_eq!(choose("0.0.0.0/0", &[]).unwrap(), "10.210.0.0/16");
    }
}
