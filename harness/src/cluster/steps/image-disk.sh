#!/bin/bash
# Gives the images of a node's runtime, in the folder $1, a file system of their own of $2 MiB, and
# takes along what the node came with.
set -euo pipefail

images=$1
# A runtime that is only restarted has it already.
if mountpoint --quiet "$images"; then
  exit 0
fi
new=$(mktemp --directory /run/images.XXXXXX)
# In memory: no device of the machine is taken, and it goes with the node.
mount -t tmpfs -o "size=$2m,mode=0711" kubenest-images "$new"
cp --archive "$images/." "$new"
# By way of a second mount: one below a shared mount cannot be moved.
mount --bind "$new" "$images"
umount "$new"
rmdir "$new"
