#!/bin/bash
# Logs each line of its input to the kernel's log and to the journals of kubelet and containerd.
while read -r line; do
    printf '%s\n' "$line" >/dev/kmsg
    for unit in kubelet containerd; do
        # Root may log in the name of a unit.
        printf 'MESSAGE=%s\nSYSLOG_IDENTIFIER=%s\nOBJECT_SYSTEMD_UNIT=%s.service\n' \
            "$line" "$unit" "$unit" | logger --journald
    done
done
journalctl --sync
