#!/bin/bash
# Listens at a free port of the node's 127.0.0.1, until standard input ends.
#
# What socat notes on standard output tells where: first the port, then for each connection a socket
# in a folder of this listener's own, at which the connection waits to be fetched.
set -euo pipefail

folder=$(mktemp --directory /run/kubenest-listener-XXXXXX)
# A session of its own, so that all its processes can be ended at once.
setsid socat -d -d TCP-LISTEN:0,bind=127.0.0.1,fork,backlog=128,nodelay \
  "SYSTEM:exec socat -d -d STDIO UNIX-LISTEN\\:$folder/\$\$\\,mode=600\\,accept-timeout=10,nofork" \
  < /dev/null 2>&1 &
listener=$!
trap 'kill -- -$listener || true; rm -rf "$folder"' EXIT
cat > /dev/null
