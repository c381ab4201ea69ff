//! Checks of the network: address ranges, proxies, iptables, IPv6.

use std::net::Ipv4Addr;

use super::facts::{Facts, Iptables};
use crate::health::Outcome;

/// The address pools of engines: Docker's own defaults, then the embedded engine's.
const POOLS: [Subnet; 3] = [
    Subnet::new([172, 16, 0, 0], 12),
    Subnet::new([192, 168, 0, 0], 16),
    Subnet::new([10, 208, 0, 0], 12),
];
const LOOPBACK: Subnet = Subnet::new([127, 0, 0, 1], 32);

/// A network, to compare the host's routes with the engines' pools.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Subnet {
    at: Ipv4Addr,
    prefix: u32,
}

impl Subnet {
    const fn new(at: [u8; 4], prefix: u32) -> Self {
        let [a, b, c, d] = at;
        Self {
            at: Ipv4Addr::new(a, b, c, d),
            prefix,
        }
    }

    fn covers(self, other: Self) -> bool {
        let mask = u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0);
        self.prefix <= other.prefix && self.at.to_bits() & mask == other.at.to_bits() & mask
    }
}

/// An engine skips networks that the host routes elsewhere, so only the loss of a whole pool is a
/// problem.
pub(super) fn subnets(facts: &Facts) -> Outcome {
    let routes: Vec<_> = facts
        .machine
        .routes
        .lines()
        .filter_map(route)
        .filter(|(net, _)| net.prefix > 0)
        .collect();
    let lost = POOLS.map(|pool| routes.iter().find(|(net, _)| net.covers(pool)));
    if lost.iter().all(Option::is_some) {
        let mut devices: Vec<_> = lost.iter().flatten().map(|(_, device)| *device).collect();
        devices.sort_unstable();
        devices.dedup();
        let observed = format!(
            "host routes by {} cover every address pool",
            devices.join(", ")
        );
        let cure = "give the engine default-address-pools that the host does not route";
        return Outcome::failed(observed, cure);
    }
    Outcome::passed(format!(
        "{} host routes leave room for node networks",
        routes.len()
    ))
}

/// Destination and device of one line of `/proc/net/route`.
fn route(line: &str) -> Option<(Subnet, &str)> {
    let fields: Vec<_> = line.split_whitespace().collect();
    // Numbers are in network byte order, printed in the machine's order.
    let number = |field: usize| {
        let value = u32::from_str_radix(fields.get(field)?, 16).ok()?;
        Some(u32::from_be_bytes(value.to_ne_bytes()))
    };
    let (at, mask) = (Ipv4Addr::from_bits(number(1)?), number(7)?);
    Some((
        Subnet {
            at,
            prefix: mask.count_ones(),
        },
        fields[0],
    ))
}

/// No proxy may be used for API servers, which listen on 127.0.0.1, or for nodes, which are in the
/// engine's networks.
pub(super) fn proxy(facts: &Facts) -> Outcome {
    let set = facts.proxy.set.join(", ");
    if set.is_empty() {
        return Outcome::passed("none is set");
    }
    let direct = facts.proxy.no_proxy.as_deref().unwrap_or_default();
    let direct: Vec<_> = direct
        .split([',', ' '])
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .collect();
    let is_direct = |net: Subnet| direct.iter().any(|word| reaches(word, net));
    let cure = "NO_PROXY=localhost,127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16, and what \
                is there already";
    if !is_direct(LOOPBACK) {
        let observed = format!("{set} without 127.0.0.1 in NO_PROXY, where the API servers are");
        return Outcome::failed(observed, cure);
    }
    if !POOLS.into_iter().all(is_direct) {
        let mut outcome = Outcome::skipped(
            format!("{set} without the nodes' networks in NO_PROXY"),
            "only tests that speak HTTP to nodes or pods by their addresses need them",
        );
        outcome.cure = Some(cure.to_owned());
        return outcome;
    }
    Outcome::passed(format!("{set}, and not for nodes and loopback"))
}

/// Whether a word of `NO_PROXY` exempts a whole network from the proxy.
fn reaches(word: &str, net: Subnet) -> bool {
    let (at, prefix) = word.split_once('/').unwrap_or((word, "32"));
    match (at.parse(), prefix.parse()) {
        (Ok(at), Ok(prefix)) if prefix <= 32 => Subnet { at, prefix }.covers(net),
        _ => word == "*",
    }
}

/// The legacy and the nftables rules do not see each other, and a packet has to pass both.
pub(super) fn iptables(facts: &Facts) -> Outcome {
    let Iptables { version, legacy } = &facts.machine.iptables;
    let Some((version, trouble)) = version else {
        return Outcome::passed("no program here: nodes and the embedded engine have their own");
    };
    if let Some(trouble) = trouble {
        return Outcome::failed(
            format!("{version} does not work: {trouble}"),
            "load the kernel's modules: modprobe nf_tables, or ip_tables and `update-alternatives \
             --config iptables`",
        );
    }
    let mut tables: Vec<_> = legacy.split_whitespace().collect();
    tables.sort_unstable();
    tables.dedup();
    if version.contains("nf_tables") && !tables.is_empty() {
        let mut outcome = Outcome::skipped(
            format!(
                "{version}, and older tables beside it: {}",
                tables.join(", ")
            ),
            "harmless while the older ones drop nothing: neither kind sees the other's rules, and \
             a packet has to pass both",
        );
        let cure = "look with iptables-legacy-save; move its rules (iptables-legacy-save | \
                    iptables-restore --noflush), then iptables-legacy --flush";
        outcome.cure = Some(cure.to_owned());
        return outcome;
    }
    Outcome::passed(version)
}

pub(super) fn ipv6(facts: &Facts) -> Outcome {
    Outcome::passed(if facts.machine.ipv6 {
        "there; nodes use IPv4"
    } else {
        "off, which nodes bear as they use IPv4; dual-stack clusters cannot run"
    })
}

#[cfg(test)]
mod tests {
    use super::{super::facts::tests::good, *};
    use crate::health::Verdict;
    use kubenest_base::settings::ProxyEnv;

    #[test]
    fn a_route_is_read_in_network_order() {
        let line = "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0";
        let net = Subnet::new([192, 0, 2, 0], 24);
        assert_eq!(route(line), Some((net, "eth0")));
        assert_eq!(route("Iface\tDestination\tGateway"), None);
    }

    #[test]
    fn subnets_conflict_only_when_every_pool_is_routed() {
        let judge = |routes: &[&str]| {
            let mut facts = good();
            facts.machine.routes = routes.concat();
            subnets(&facts)
        };
        let default = "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        let low = "tun0\t000010AC\t00000000\t0001\t0\t0\t0\t0000F0FF\t0\t0\t0\n";
        let high = "tun1\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        let docker = "docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
        for room in [
            [default, low, docker],
            [default, high, docker],
            [default, low, high],
        ] {
            assert_eq!(judge(&room).verdict, Verdict::Passed);
        }
        let ten = "tun0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\t0\t0\n";
        let outcome = judge(&[default, low, high, ten]);
        insta::assert_snapshot!(outcome.observed, @"host routes by tun0, tun1 cover every address pool");
        assert_eq!(outcome.verdict, Verdict::Failed);
    }

    #[test]
    fn a_proxy_must_not_stand_before_loopback() {
        let judge = |set: &[&str], no_proxy: Option<&str>| {
            let mut facts = good();
            facts.proxy = ProxyEnv {
                set: set.iter().map(|&name| name.to_owned()).collect(),
                no_proxy: no_proxy.map(str::to_owned),
            };
            proxy(&facts)
        };
        assert_eq!(judge(&[], None).verdict, Verdict::Passed);
        for no_proxy in [None, Some("localhost"), Some("10.0.0.0/8, 127.0.0.2")] {
            let outcome = judge(&["HTTPS_PROXY"], no_proxy);
            assert_eq!(outcome.verdict, Verdict::Failed, "{no_proxy:?}");
            assert!(outcome.cure.unwrap().contains("127.0.0.0/8"));
        }
        let loopback = judge(&["HTTPS_PROXY"], Some("localhost,127.0.0.1"));
        assert!(matches!(loopback.verdict, Verdict::Skipped(_)));
        let all = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16";
        for no_proxy in ["*", all] {
            let outcome = judge(&["http_proxy", "https_proxy"], Some(no_proxy));
            assert_eq!(outcome.verdict, Verdict::Passed, "{no_proxy}");
        }
    }

    #[test]
    fn two_kinds_of_iptables_are_noticed() {
        let judge = |version: &str, trouble: Option<&str>, legacy: &str| {
            let mut facts = good();
            facts.machine.iptables = Iptables {
                version: Some((version.to_owned(), trouble.map(str::to_owned))),
                legacy: legacy.to_owned(),
            };
            iptables(&facts)
        };
        let (nft, old) = ("iptables v1.8.9 (nf_tables)", "iptables v1.8.9 (legacy)");
        assert_eq!(judge(nft, None, "").verdict, Verdict::Passed);
        assert_eq!(judge(old, None, "nat\nfilter\n").verdict, Verdict::Passed);
        let mixed = judge(nft, None, "nat\nfilter\nfilter\n");
        assert!(matches!(mixed.verdict, Verdict::Skipped(_)));
        insta::assert_snapshot!(mixed.observed, @"iptables v1.8.9 (nf_tables), and older tables beside it: filter, nat");
        let broken = judge(nft, Some("Protocol not supported"), "");
        assert_eq!(broken.verdict, Verdict::Failed);
        let mut none = good();
        none.machine.iptables.version = None;
        assert_eq!(iptables(&none).verdict, Verdict::Passed);
    }

    #[test]
    fn ipv6_may_be_off() {
        let mut facts = good();
        facts.machine.ipv6 = false;
        let outcome = ipv6(&facts);
        assert_eq!(outcome.verdict, Verdict::Passed);
        assert!(outcome.observed.starts_with("off"), "{outcome:?}");
    }
}
