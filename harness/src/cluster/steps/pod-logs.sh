#!/bin/bash
# Runs in a node for as long as the node does: keeps the logs of every pod by a second name, so that
# they outlive the pod for half an hour.
kept=/var/log/kubenest/pods looks=0
mkdir -p "$kept" || exit
# A read that nobody answers is a pause that starts no process.
exec {never}<> <(:)
while :; do
    for log in /var/log/pods/*/*/*.log; do
        copy=$kept/${log#/var/log/pods/}
        # The file's own name is a link on engines that log elsewhere.
        [[ -f $log && ! -e $copy ]] || continue
        mkdir -p "${copy%/*}" && ln --logical "$log" "$copy"
    done
    if ((++looks % 200 == 0)); then
        # The loss of the first name is a change of the file's state.
        find "$kept" -type f -links 1 -cmin +30 -delete
        find "$kept" -mindepth 1 -type d -empty -delete
    fi
    read -r -t 0.3 -u "$never"
done
