//! Causes in the network of nodes and pods, DNS among them.

use super::super::{
    Speaker::{Cli, Cri, Event, Kubelet, Pod, Runtime, System, Unknown},
    rule::{Cause, Role::Proof, Sign},
};
use super::{CALLS, COMMAND};

/// The start of an error of Docker's daemon, alone and quoted by kind and compose.
macro_rules! daemon {
    () => {
        concat!(
            r"^(?:(?:docker|ERROR|Command Output|failed to create network [^ :]+): )*",
            r"(?:Error response from daemon: |ERROR: )?"
        )
    };
}

/// The start of Docker's message when it cannot publish a port.
macro_rules! external {
    () => {
        "driver failed programming external connectivity on endpoint .*?"
    };
}

const ENGINE: &[super::Speaker] = &[Cli, Event, Kubelet, Runtime, System, Unknown];
const PROXY: &[super::Speaker] = &[Pod, Unknown];

pub(super) const CAUSES: &[Cause] = &[
    Cause {
        id: "coredns-loop",
        title: "CoreDNS forwards to itself",
        cause: "CoreDNS stops: a query it forwarded came back ({from} -> {to}), because the \
                node's resolv.conf names a loopback address such as Docker's 127.0.0.11",
        cure: "give the node a resolv.conf with an address that pods can reach, or set the \
               kubelet's resolvConf to such a file",
        links: &["https://coredns.io/plugins/loop/#troubleshooting"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            &[Pod, Unknown],
            r#"^\[FATAL\] plugin/loop: Loop \((?<from>[^ ]+) -> (?<to>[^ )]+)\) detected for zone"#,
        )],
    },
    Cause {
        id: "coredns-no-upstream-answer",
        title: "CoreDNS gets no answer from the node's resolver",
        cause: "CoreDNS asked {resolver}, which the node's resolv.conf names, and got no answer \
                ({why}): a firewall on the host drops what pods send to it (firewalld, ufw, \
                nftables on the bridge's port 53), nothing listens there, or it ignores the \
                query of CoreDNS' loop check (HINFO). It is no forwarding loop",
        cure: "ask it from a pod (nslookup NAME RESOLVER); let the bridge reach the host's port \
               53 (firewall-cmd --zone=trusted --add-interface=BRIDGE), or set forward in the \
               Corefile, or the node's resolv.conf, to a resolver that pods reach",
        links: &[
            "https://github.com/kubernetes-sigs/kind/issues/3443",
            "https://github.com/coredns/coredns/issues/5352",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            &[Pod, Unknown],
            concat!(
                r"^(?:\[ERROR\] )?plugin/errors: [0-9]+ [0-9]+\.[0-9]+\. HINFO: ",
                r"(?:unreachable backend: )?(?:read|dial|write) (?:udp|tcp) ",
                r"(?:[^ ]+->)?(?<resolver>[^ >]+:[0-9]+): (?:(?:read|connect|write): )?",
                r"(?<why>i/o timeout|connection refused|network is unreachable|no route to host)"
            ),
        )],
    },
    Cause {
        id: "docker-subnets-used-up",
        title: "Docker has no address range left for a network",
        cause: "Docker made no network: each of the ranges that it takes by itself belongs to \
                another network or is covered by a route of this machine, as a VPN's",
        cure: "docker network prune; with a VPN, name ranges that it does not route in \
               default-address-pools of /etc/docker/daemon.json, or make the network yourself \
               (docker network create --subnet …)",
        links: &[
            "https://github.com/moby/moby/issues/21170",
            "https://docs.docker.com/engine/network/#subnet-allocation",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                daemon!(),
                r"(?:could not find an available, non-overlapping IPv[46] address pool among the ",
                r"defaults|all predefined address pools have been fully subnetted)"
            ),
        )],
    },
    Cause {
        id: "docker-subnet-overlaps",
        title: "a network's address range belongs to another network",
        cause: "Docker made no network: the range that was asked for overlaps with one that \
                another network has",
        cure: "docker network ls and docker network inspect show whose it is; remove that \
               network, or take another --subnet",
        links: &["https://docs.docker.com/engine/network/#subnet-allocation"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            COMMAND,
            concat!(
                daemon!(),
                "(?:invalid pool request: )?Pool overlaps with other one on this address space"
            ),
        )],
    },
    Cause {
        id: "port-taken",
        title: "a port is taken by another program",
        cause: "{port} is wanted and in use already: another program listens there, mostly \
                another cluster or what is left of one",
        cure: "ss -ltnp (or docker ps) shows who listens: end it, or take another port; before a \
               second kubeadm init comes kubeadm reset; let Docker and kind choose ports by \
               themselves in tests",
        links: &[
            "https://kubernetes.io/docs/reference/networking/ports-and-protocols/",
            "https://docs.docker.com/engine/network/port-publishing/",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMMAND,
                r"^(?: {0,2}| {8})\[ERROR Port-[0-9]+\]: (?<port>Port [0-9]+) is in use",
            ),
            Sign::new(
                Proof,
                &[Kubelet, Pod, System, Unknown],
                concat!(
                    r#"^(?:"(?:[Cc]ommand failed|Failed to listen and serve|Failed to start [^"]*)" err="|"#,
                    r#"\{"level":"(?:fatal|error|panic)".*|discovery failed .*|(?:(?:[0-9-]+ [0-9:.]+ )?C \| )?etcdmain: )"#,
                    r".*listen tcp[46]? (?<port>[^ ]+:[0-9]+): bind: address already in use"
                ),
            ),
            Sign::new(
                Proof,
                ENGINE,
                concat!(
                    external!(),
                    r"Bind for (?<port>[^ ]+:[0-9]+) failed: port is already allocated"
                ),
            ),
            Sign::new(
                Proof,
                ENGINE,
                concat!(
                    external!(),
                    r"(?:failed to bind host port (?:for )?|Error starting userland proxy: listen ",
                    r"(?:tcp|udp)[46]? )(?<port>[^ ]+?:[0-9]+)[:/ ].*address already in use"
                ),
            ),
            Sign::new(
                Proof,
                ENGINE,
                concat!(
                    external!(),
                    r"(?:failed to listen on (?:TCP|UDP) socket: address already in use|",
                    r"Error starting userland proxy: Failed to bind: EADDRINUSE)"
                ),
            )
            .with_facts(&[("port", "a port of the host")]),
            Sign::new(
                Proof,
                ENGINE,
                concat!(
                    daemon!(),
                    r"[Pp]orts are not available: exposing port (?:TCP|UDP) (?<port>[^ ]+:[0-9]+) "
                ),
            ),
        ],
    },
    Cause {
        id: "ipv6-off",
        title: "IPv6 is switched off",
        cause: "something wants an IPv6 address[ ({what})], and IPv6 is off in the kernel, on \
                this interface or in Docker",
        cure: "sysctl net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 on \
               the host and in the nodes, without ipv6.disable=1 on the kernel's command line; \
               or use IPv4 only (kind: networking.ipFamily: ipv4)",
        links: &[
            "https://github.com/cri-o/cri-o/issues/3555",
            "https://github.com/kubernetes-sigs/kind/issues/2299",
        ],
        follows: None,
        signs: &[
            Sign::new(
                Proof,
                COMMAND,
                concat!(
                    r"^ERROR: failed to create cluster: .*listen tcp6? (?<what>\[[0-9a-f:]+\]:[0-9]+): ",
                    r"(?:bind: cannot assign requested address|socket: address family not supported)"
                ),
            ),
            Sign::new(
                Proof,
                CALLS,
                concat!(
                    r"(?:failed to (?:set up|setup) (?:network|pod)|Error adding network|plugin type=).*",
                    r"failed to (?:add IP addr|set bridge addr: could not add IP address) ",
                    r"(?:\{Version:6 .*\} |(?<what>[0-9a-f]*:[0-9a-f:]+/[0-9]+) )?",
                    r#"to "[^"]+": permission denied"#
                ),
            ),
        ],
    },
    Cause {
        id: "iptables-backends-mixed",
        title: "rules of nftables are in the way of iptables",
        cause: "iptables[ {version}] cannot read the table {table}: a newer iptables or nft \
                wrote rules to it that this one does not know, so two different iptables (of \
                the host and of a container, or legacy and nft) work on one node",
        cure: "use one iptables for all: the same release and the same mode \
               (update-alternatives --set iptables /usr/sbin/iptables-nft or -legacy) on the \
               host and in the images that write rules; then reboot or flush the old rules",
        links: &[
            "https://github.com/kubernetes/kubernetes/issues/71305",
            "https://kubernetes.io/blog/2022/09/07/iptables-chains-not-api/",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            &[Pod, Runtime, Kubelet, System, Cli, Unknown],
            concat!(
                r"(?:^|: |failed with message: .|\\n)ip6?tables(?:-save|-restore)? v(?<version>",
                r"[0-9.]+) \(nf_tables\): table .(?<table>[a-z]+)' is incompatible, use 'nft' tool"
            ),
        )],
    },
    Cause {
        id: "iptables-unavailable",
        title: "kube-proxy finds no iptables that works",
        cause: "kube-proxy stops: {why}; Services lead nowhere on this node",
        cure: "give kube-proxy's image iptables with its links (update-alternatives), and the \
               host's kernel the modules of iptables or nftables; kube-proxy needs both \
               families or an explicit bindAddress",
        links: &["https://github.com/kubernetes/kubernetes/issues/133694"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            PROXY,
            concat!(
                r#"^"(?:Error running ProxyServer|[Cc]ommand failed|Unable to create proxier)" "#,
                r#"err="(?<why>iptables is not (?:available|supported)[^"]*|unable to create proxier: .*"#,
                r"could not find nftables binary)"
            ),
        )],
    },
    Cause {
        id: "conntrack-max-forbidden",
        title: "kube-proxy may not set the kernel's conntrack limit",
        cause: "kube-proxy stops: it wants to raise nf_conntrack_max, which only the host's own \
                network namespace may (kernel 5.12 and newer)",
        cure: "maxPerCore: 0 under conntrack in kube-proxy's configuration (kind 0.11.1 and \
               newer write it), or sysctl net.netfilter.nf_conntrack_max=524288 on the host beforehand",
        links: &["https://github.com/kubernetes-sigs/kind/issues/2240"],
        follows: None,
        signs: &[Sign::new(
            Proof,
            PROXY,
            concat!(
                r#"^(?:"(?:Error running ProxyServer|[Cc]ommand failed)" err=")?"#,
                r"open /proc/sys/net/netfilter/nf_conntrack_max: permission denied"
            ),
        )],
    },
    Cause {
        id: "api-through-proxy",
        title: "requests to the API server go to a proxy",
        cause: "HTTP_PROXY or HTTPS_PROXY is set, and NO_PROXY does not except the API server[ \
                {server}]: a request to it went to the proxy[ {proxy}], which cannot reach it",
        cure: "put the nodes' names and addresses, the pod and Service ranges (10.244.0.0/16, \
               10.96.0.0/12), .svc and .cluster.local into NO_PROXY and no_proxy of the shell \
               (kind takes them from there) and of the kubelet's and containerd's units",
        links: &[
            "https://kind.sigs.k8s.io/docs/user/quick-start/#configure-kind-to-use-a-proxy",
            "https://github.com/kubernetes-sigs/kind/issues/2884",
        ],
        follows: None,
        signs: &[Sign::new(
            Proof,
            &[Kubelet, Cli, Cri, Unknown],
            concat!(
                r#"^(?:"[A-Z][^"]*" |Unable to connect to the server: |error|[^ ]+\.go:[0-9]+: ).*?"#,
                request!(),
                r"proxyconnect tcp: dial tcp (?:: )?(?:lookup )?(?<proxy>[^ ]+?):? "
            ),
        )],
    },
];
