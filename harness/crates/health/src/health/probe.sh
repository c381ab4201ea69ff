#!/bin/sh
# One look at a node from the inside; $1 is the service of its container runtime. Prints "@@<name>"
# before each part; facts.rs takes them apart, and each check reads its own.
part() { echo "@@$1"; }

part clock
date +%s.%N

part daemon
pid=$(systemctl show --property MainPID --value "$1")
readlink "/proc/$pid/exe"
readlink "/proc/$pid/cwd"
tr '\0' '\n' <"/proc/$pid/environ" | sed -n 's/^PATH=//p'

part kubelet
pid=$(systemctl show --property MainPID --value kubelet)
[ "$pid" = 0 ] || tr '\0' '\n' <"/proc/$pid/cmdline"

part cgroup
stat -f -c %T /sys/fs/cgroup
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    cat /sys/fs/cgroup/cgroup.controllers
else
    find /sys/fs/cgroup -mindepth 1 -maxdepth 1 -printf '%f\n' | tr ',' '\n' | sort -u | tr '\n' ' '
    echo
fi

part inotify
cat /proc/sys/fs/inotify/max_user_instances
find /proc/[0-9]*/fd -lname anon_inode:inotify 2>/dev/null | wc -l
cat /proc/sys/fs/inotify/max_user_watches
find /proc/[0-9]*/fd -lname anon_inode:inotify 2>/dev/null | sed 's,/fd/,/fdinfo/,' |
    xargs -r cat 2>/dev/null | grep -c '^inotify '

# As kind asks.
if [ "$1" = containerd ]; then
    part dump
    containerd config dump
fi

if [ "$1" = crio ]; then
    part crio
    crio status config
    part programs
    crio status config | sed -n 's/^ *\(runtime\|monitor\)_path = "\(..*\)"$/\2/p' | sort -u |
        while read -r path; do
            says=$("$path" --version 2>&1)
            echo "$? $path $(echo "$says" | head -n 1)"
        done
fi

# In /var, where the snapshotter has its own.
part overlay
at=$(mktemp -d /var/lib/kubenest-overlay.XXXXXX)
trap 'umount "$at/merged" 2>/dev/null; rm -rf "$at"' EXIT
(
    cd "$at" && mkdir lower upper work merged && echo low >lower/file &&
        mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged &&
        echo high >merged/file && [ "$(cat lower/file upper/file)" = "low
high" ] && echo usable
) 2>&1
