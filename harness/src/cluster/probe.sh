#!/bin/bash
# Proves a pod's network from within: joins that of the container with the id $1, resolves a Service's
# name and connects to what it resolved to. All of it may take $2 seconds, each query $3.

# Uses the pod's name servers, in a mount namespace of its own. $1: a process of the pod.
reach() {
  local copy
  copy=$(mktemp --tmpdir=/run) && cat "/proc/$1/root/etc/resolv.conf" > "$copy" || exit 3
  mount --bind "$copy" /etc/resolv.conf || exit 3
  rm "$copy"
  # A query that was lost before CoreDNS was there is not waited for.
  export RES_OPTIONS="timeout:$2 attempts:1"
  read -r address _ < <(getent ahostsv4 kubernetes.default.svc.cluster.local) || true
  [[ -n $address ]] || { echo 'kubernetes.default.svc.cluster.local does not resolve'; exit 4; }
  exec 3<> "/dev/tcp/$address/443" || { echo "no connection to $address:443"; exit 5; }
  echo "$address"
}
export -f reach

# Every runtime names a container's cgroup after it, CRI-O also that of its monitor, which is outside
# of the pod; processes may end while they are looked at.
pid=$(grep --files-with-matches --no-messages --perl-regexp -- "(?<!conmon-)$1" \
  /proc/[0-9]*/cgroup | head --lines=1)
pid=${pid//[!0-9]/}
[[ -n $pid ]] || { echo "container $1 runs no process"; exit 6; }
# shellcheck disable=SC2016 # The inner shell expands.
exec nsenter --target "$pid" --net unshare --mount timeout "$2" bash -c 'reach "$@"' probe "$pid" "$3"
