#!/bin/bash
# One look at a node: a line for each service (an argument names one) and for each container of the
# control plane and the add-ons, with its restarts and, once there are any, the seconds of a container's life before.
for unit; do
  echo "$unit $(systemctl show --property NRestarts --value "$unit.service")"
done
cd /var/log/pods 2> /dev/null || exit 0
for pod in kube-system_{etcd,kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy,coredns}-*; do
  for log in "$pod"/*/*.log; do
    [[ -e $log ]] || continue
    restarts=$(basename "$log" .log) life=
    before=${log%/*}/$((restarts - 1)).log
    # What ends an add-on at once may pass, such as a lack of inotify instances on a busy machine.
    [[ $pod == kube-system_@(kube-proxy|coredns)-* || ! -e $before ]] \
      || life=$(($(stat --format '%Y - %W' "$before")))
    echo "/var/log/pods/$log $restarts $life"
  done
done
exit 0
