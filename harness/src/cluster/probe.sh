#!/bin/bash
# Run in the network of a pod, whose process is $1, and in a mount namespace of its own: resolves a
# Service's name, each query in $2 seconds, and connects to what it resolved to.
copy=$(mktemp --tmpdir=/run) && cat "/proc/$1/root/etc/resolv.conf" > "$copy" || exit 3
mount --bind "$copy" /etc/resolv.conf || exit 3
rm "$copy"
# A query that was lost before CoreDNS was there is not waited for.
export RES_OPTIONS="timeout:$2 attempts:1"
read -r address _ < <(getent ahostsv4 kubernetes.default.svc.cluster.local) || true
[[ -n $address ]] || { echo 'kubernetes.default.svc.cluster.local does not resolve'; exit 4; }
exec 3<> "/dev/tcp/$address/443" || { echo "no connection to $address:443"; exit 5; }
echo "$address"
