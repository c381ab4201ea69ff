#!/bin/sh
# Starts the first candidate that is there, which is the one containerd would pick, in the way
# containerd would. Arguments: paths. Its input is the shim's. Prints the path, what the shim
# says of itself and, after "@@answer", what containerd would read.
for path; do
    { [ -f "$path" ] && [ -x "$path" ]; } || continue
    echo "$path"
    "$path" -v </dev/null 2>&1
    # With these namespaces end the server and the socket that every shim leaves behind; the
    # daemon's own sockets are out of its sight.
    # shellcheck disable=SC2016,SC2093 # The inner shell expands, and the loop ends here.
    exec unshare --mount --pid --fork --kill-child --mount-proc sh -c '
        mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd &&
            cd /run/containerd && echo "{}" >config.json && mkfifo log || exit
        # Without a reader of its log the server ends, at times before it is told its OOM score.
        exec 9<>log
        export GRPC_ADDRESS=/run/containerd/containerd.sock
        export TTRPC_ADDRESS="$GRPC_ADDRESS.ttrpc"
        echo @@answer
        "$1" -namespace kubenest -id kubenest -address "$GRPC_ADDRESS" \
            -publish-binary /bin/true start 2>&1
        # Not the last command: a shim that were process 1 could not adjust its OOM score.
        exit' shim "$path"
done
