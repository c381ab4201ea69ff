#!/bin/bash
# Fills a node's empty /var with what the node's image has there, then becomes the command $@.
#
# The images that a node starts with are hundreds of MiB that nobody ever changes. A link to each
# blob and each unpacked layer takes milliseconds, a copy of them all takes seconds.
set -euo pipefail

# The image's own /var is below the volume; this mount shows it.
image=/kind/image
mkdir -p "$image"
mount --bind / "$image"
mount --make-private "$image"

# A node that is started again has all that it kept.
filled=/var/lib/kubenest-filled
[[ ! -e $filled ]] || exec "$@"

stores=(blobs/sha256 snapshots)
exclude=()
for store in "${stores[@]}"; do
  exclude+=("--exclude=./lib/containerd/*/$store/*")
done
# Files that were put into the volume before the start are newer than those of the image.
tar --create --directory "$image/var" "${exclude[@]}" . \
  | tar --extract --directory /var --skip-old-files --preserve-permissions

shopt -s nullglob
for store in "${stores[@]}"; do
  for folder in "$image/var/lib/containerd"/*/"$store"; do
    items=("$folder"/*)
    ((${#items[@]} == 0)) \
      || ln --symbolic --force --target-directory="${folder#"$image"}" "${items[@]}"
  done
done
touch "$filled"

exec "$@"
