#!/bin/bash
# Prints for each component the milliseconds from the API server's first log line about serving to the
# component's first about working, and how often its container was started again.
set -euo pipefail
pods=/var/log/pods/kube-system_

# The time of the first line on standard input.
first() {
  local line
  read -r line _ && date --date="$line" +%s%3N
}

# $1: a component; $2: what it says once it works.
of_container() {
  local at again
  at=$(grep --no-filename "$2" "$pods$1"-*/*/*.log | sort | first)
  again=$(find "$pods$1"-* -name '[1-9]*.log' | wc --lines)
  echo "$1 $((at - serving)) ms, started again: $again"
}

serving=$(grep --no-filename 'Serving securely' "$pods"kube-apiserver-*/*/*.log | first)
at=$(journalctl --unit kubelet --output short-iso-precise | grep 'Successfully registered node' | first)
echo "kubelet $((at - serving)) ms"
of_container kube-controller-manager 'Started controller'
of_container kube-scheduler 'Caches are synced'
of_container kube-proxy 'Caches are synced for service config'
of_container coredns 'CoreDNS-'
