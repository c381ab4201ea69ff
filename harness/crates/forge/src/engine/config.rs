//! The configuration of an engine's daemon.

use serde_json::{Value, json};

use super::{layout::Layout, network::Pool, packages::Binaries};

/// The daemon's whole configuration; the machine's own is not read.
pub(super) fn daemon_config(layout: &Layout, pool: &Pool, binaries: &Binaries) -> Value {
    json!({
        "hosts": [format!("unix://{}", layout.socket().display())],
        "group": "root",
        "data-root": layout.data(),
        "exec-root": layout.exec(),
        "pidfile": layout.run.join("dockerd.pid"),
        "containerd-namespace": layout.namespace(),
        "bridge": layout.bridge(),
        "default-address-pools": [{ "base": pool.to_string(), "size": 24 }],
        // Without this a daemon with address pools deletes docker0, even if another engine owns it.
        "live-restore": true,
        "iptables": false,
        "ip6tables": false,
        // Otherwise the daemon would make the machine forward everybody's packets; see
        // `forwarding`.
        "ip-forward": false,
        "userland-proxy-path": binaries.proxy(),
        // The systemd driver would put containers into slices that other engines share.
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "cgroup-parent": format!("/{}", layout.cgroup()),
        // Debian's runc does not support them.
        "features": { "time-namespaces": false },
    })
}
