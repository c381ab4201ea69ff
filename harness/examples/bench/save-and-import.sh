#!/bin/sh
# What people write where there is no loader. Arguments: the docker command, an image, nodes.
set -e
docker=$1 image=$2
shift 2
for node; do
    "$docker" save "$image" | "$docker" exec -i "$node" ctr -n k8s.io images import -
done
