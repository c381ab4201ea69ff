#!/bin/sh
# Gives its mount and host name spaces a shared memory and a name of their own, then becomes the
# command in its arguments, from $0 on.
mount -t tmpfs shm /dev/shm && echo elsewhere >/proc/sys/kernel/hostname && exec "$0" "$@"
