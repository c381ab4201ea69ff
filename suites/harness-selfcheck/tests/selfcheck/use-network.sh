#!/bin/sh
# Runs in a pod: resolves the API server's Service and connects to it.
until nslookup kubernetes.default.svc.cluster.local; do sleep 1; done &&
    nc -w 5 "$KUBERNETES_SERVICE_HOST" "$KUBERNETES_SERVICE_PORT" </dev/null
