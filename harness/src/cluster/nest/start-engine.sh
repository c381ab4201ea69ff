#!/bin/bash
# Starts the Docker engine of a nested cluster, in a privileged pod. RANGE is the address range of
# the engine's networks. What the pod is like is told in /run/kubenest-layer, before the engine runs.
set -euo pipefail

# What the pod had as its root before.
if [[ -d /.former ]]; then
  umount --lazy /.former
  rmdir /.former
fi

# A runtime gives a privileged pod the cgroup namespace of its node. In one of the pod's own, all
# that the engine runs is accounted to the pod, and ends with it.
if [[ ${1-} != unshared ]]; then
  exec unshare --cgroup -- "$0" unshared
fi

# Volumes that the nodes of the nested cluster mount have to reach their pods.
mount --make-rshared /

# By these a program that looks for the API server of its own cluster finds the outer one's.
variables=()
for name in KUBERNETES_SERVICE_HOST KUBERNETES_SERVICE_PORT; do
  [[ -z ${!name-} ]] || variables+=("$name")
done
unset "${!KUBERNETES_@}"

cgroups=/sys/fs/cgroup
if [[ -f $cgroups/cgroup.controllers ]]; then
  version=2
  umount --recursive "$cgroups"
  mount -t cgroup2 cgroup "$cgroups"
  # A cgroup that has processes cannot hand controllers down, so they move aside. One may start
  # another while it is being moved.
  mkdir -p "$cgroups/init"
  for _ in {1..100}; do
    mapfile -t left < "$cgroups/cgroup.procs"
    ((${#left[@]} > 0)) || break
    for pid in "${left[@]}"; do
      echo "$pid" > "$cgroups/init/cgroup.procs" || true
    done 2> /dev/null
  done
  for controller in $(< "$cgroups/cgroup.controllers"); do
    echo "+$controller" > "$cgroups/cgroup.subtree_control" || true
  done 2> /dev/null
  controllers=$(< "$cgroups/cgroup.subtree_control")
  processes=$(wc -l < "$cgroups/cgroup.procs")
else
  version=1
  controllers='' processes=0
  for hierarchy in "$cgroups"/*/; do
    name=$(basename "$hierarchy")
    [[ $name != unified ]] || continue
    mountpoint --quiet "$hierarchy" || continue
    umount "$hierarchy"
    options=$name
    [[ $name != systemd ]] || options=none,name=systemd
    mount -t cgroup -o "$options" cgroup "$hierarchy"
    controllers+="$name "
  done
  # Where the kernel also has version 2, systemd keeps the processes of its units there. Without this
  # all nodes of the engine would do so in one cgroup, and each would remove the others' units.
  if grep -q '^0::' /proc/self/cgroup; then
    mkdir -p "$cgroups/unified"
    mount -t cgroup2 cgroup "$cgroups/unified"
  fi
fi

# What the pod is like, for whoever judges whether a cluster can run in it.
fact() { printf '%s=%s\n' "$1" "$2"; }
can_write() { mkdir "$1/kubenest-try" && rmdir "$1/kubenest-try"; }
one=("$cgroups" "$cgroups"/*/)
mtu=$(< /sys/class/net/eth0/mtu)
data=/var/lib/docker
{
  fact cgroup-version "$version"
  fact cgroup-path "$(cut -d: -f3 /proc/self/cgroup | sort -u | paste -sd' ')"
  fact cgroup-writable "$(can_write "${one[$((2 - version))]}" 2> /dev/null && echo yes || echo no)"
  fact controllers "$controllers"
  fact processes "$processes"
  fact data-root "$(stat --file-system --format=%T "$data")"
  fact data-root-free "$(($(stat --file-system --format='%a * %S' "$data")))"
  fact kmsg "$(head -c 0 /dev/kmsg 2> /dev/null && echo yes || echo no)"
  fact shared "$(findmnt --noheadings --output PROPAGATION --target / || true)"
  fact mtu "$mtu"
  fact routes "$(ip -4 route show | awk '$1 != "default" {print $1}' | paste -sd' ')"
  fact nameservers "$(awk '$1 == "nameserver" {print $2}' /etc/resolv.conf | paste -sd' ')"
  fact variables "${variables[*]}"
  fact token "$([[ -e /var/run/secrets/kubernetes.io ]] && echo yes || echo no)"
} > /run/kubenest-layer.new
mv /run/kubenest-layer.new /run/kubenest-layer

# The kernel has one of the two kinds of rules, or both.
mode=nft
iptables-nft -t nat -S > /dev/null 2>&1 || mode=legacy
update-alternatives --set iptables "/usr/sbin/iptables-$mode" > /dev/null
update-alternatives --set ip6tables "/usr/sbin/ip6tables-$mode" > /dev/null
echo 1 > /proc/sys/net/ipv4/ip_forward
iptables -w -t nat -A POSTROUTING -s "$RANGE" ! -d "$RANGE" -j MASQUERADE

# A job beside the engine finds it in the folder that they share.
sockets='"unix:///run/docker.sock"'
[[ ! -d /kubenest ]] || sockets+=', "unix:///kubenest/docker.sock"'

mkdir -p /etc/docker
cat > /etc/docker/daemon.json << END
{
  "hosts": [$sockets],
  "group": "root",
  "data-root": "$data",
  "default-address-pools": [{"base": "$RANGE", "size": 24}],
  "mtu": $mtu,
  "default-network-opts": {"bridge": {"com.docker.network.driver.mtu": "$mtu"}},
  "iptables": false,
  "ip6tables": false,
  "exec-opts": ["native.cgroupdriver=cgroupfs"],
  "features": {"time-namespaces": false}
}
END
# As the pod's first process, which has to collect what others leave.
exec docker-init -- dockerd --config-file /etc/docker/daemon.json
