#!/bin/bash
# One look at a node from the inside, for evidence. All parts are taken at once, each bounded in
# time and bytes. Prints a line for each: its name, its bytes in base64, its exit status.
# Arguments: when the first of the cases that run began, in seconds since 1970, or nothing for all
# there is; their namespaces, with spaces between, or nothing; "journals" for the runtime's and the
# kubelet's alone.
# Where systemd does not run this is a stopped node's /var, seen from another container.
since=$1 only=${3-}
read -ra namespaces <<<"$2"
limit=4194304 pod_limit=524288 pods=150

names=() pipes=()
# part NAME COMMAND...: starts a part; its end is kept where it is too long.
part() {
    local pipe
    exec {pipe}< <(
        timeout --kill-after=1 8 "${@:2}" 2>&1 | tail -c "$limit" | base64 --wrap=0
        printf ' %s\n' "${PIPESTATUS[0]}"
    )
    names+=("$1") pipes+=("$pipe")
}

# journals PREFIX COMMAND...: the journals that no evidence may lack.
journals() {
    part "$1containerd.log" "${@:2}" --unit=containerd --unit=crio
    part "$1kubelet.log" "${@:2}" --unit=kubelet
}

# nested VAR: the journals of the nodes whose engine runs in a pod of the node with this /var. They are on
# volumes of that engine.
nested() {
    local var node
    for var in "$1"/lib/kubelet/pods/*/volumes/kubernetes.io~empty-dir/engine/docker/volumes/*/_data; do
        [[ -d $var/log/journal ]] || continue
        node=$(timeout 4 journalctl --directory="$var/log/journal" --field=_HOSTNAME | head -n 1)
        [[ $node ]] || continue
        journals "nodes/$node/" journalctl --no-pager --quiet --output=short-iso-precise \
            --directory="$var/log/journal" "${span[@]}"
        nested "$var"
    done
}

# said: prints what the parts say, in their order, each as soon as it has ended.
said() {
    local at
    for at in "${!names[@]}"; do
        printf '%s ' "${names[at]}"
        cat <&"${pipes[at]}"
    done
    names=() pipes=()
}

journal=(journalctl --no-pager --quiet --output=short-iso-precise)
[[ -d /run/systemd/system ]] && live=1 || live=
# What programs have written is in the journal a moment later.
[[ $live ]] && timeout 2 journalctl --sync
[[ $live ]] || journal+=(--directory=/var/log/journal --merge)
# The newest lines that fit: a journal of gigabytes is not read from its begin.
newest=(--lines=40000)
if [[ $since ]]; then
    full=1 all=("${journal[@]}" "${newest[@]}")
    span=(--since="@$since")
else
    full=
    span=("${newest[@]}")
fi
journal+=("${span[@]}")
# Before all else: on a slow node the others would take their time.
journals '' "${journal[@]}"
said
[[ $full ]] && journals full/ "${all[@]}"
nested /var
if [[ $only ]]; then
    said
    exit 0
fi
part journal.log "${journal[@]}"
[[ $full ]] && part full/journal.log "${all[@]}"
if [[ $full ]]; then
    # dmesg's own clock may be seconds behind.
    part kernel.log "${journal[@]}" _TRANSPORT=kernel
elif [[ $live ]]; then
    # The kernel's log is the machine's: what it said before the node was there is of others. Its
    # clock may be behind.
    begun=$(date --date="@$(($(stat --format=%Y /proc/1) - 60))" '+%F %T')
    part kernel.log dmesg --time-format=iso --since "$begun"
fi
for file in /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env; do
    [[ -e $file ]] && part "files$file" cat -- "$file"
done
part disk.txt sh -c 'df -hT && echo && df -i'
if [[ $live ]]; then
    part services.txt systemctl list-units --type=service --all --no-pager
    part processes.txt ps axo pid,ppid,stat,etimes,rss,args
    part network.txt sh -c 'ip address && echo && ip route'
    if command -v containerd >/dev/null; then
        part containerd-config.toml containerd config dump
        part plugins.txt ctr plugins ls
        part images.txt ctr --namespace k8s.io images ls
        part tasks.txt ctr --namespace k8s.io tasks ls
    elif command -v crio >/dev/null; then
        part crio-config.toml crio status config
        part crio-info.txt crio status info
    fi
    for file in /etc/containerd/config.toml /etc/crio/crio.conf.d/* \
        /kind/kubeadm.conf /etc/kubernetes/manifests/*; do
        [[ -e $file ]] && part "files$file" cat -- "$file"
    done
fi
if [[ $live && -e /etc/kubernetes/admin.conf ]]; then
    # What it keeps for the next time would be a change of the node.
    cache=$(mktemp --directory --tmpdir=/run look-XXXXXX)
    trap 'rm -rf -- "$cache"' EXIT
    kubectl=(kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=6s
        --cache-dir="$cache")
    limit=16777216
    part api/events.json "${kubectl[@]}" get events --all-namespaces --output=json
    # What they hold is kept nowhere, and has to be known for that.
    part api/secrets.json "${kubectl[@]}" get secrets --all-namespaces --output=json
    part api/cluster.json "${kubectl[@]}" get --output=json \
        nodes,namespaces,persistentvolumes,storageclasses
    for space in kube-system "${namespaces[@]}"; do
        # Of every kind there is: a controller's own objects are among them.
        # shellcheck disable=SC2016 # The inner shell is the one that expands.
        part "api/$space.json" bash -c 'space=$1; shift
            kinds=$("$@" api-resources --verbs=list --namespaced --output=name) || exit
            "$@" get --namespace "$space" --output=json "$(paste -sd, <<<"$kinds")"' \
            kinds "$space" "${kubectl[@]}"
    done
    exec {nodes}< <(timeout 8 "${kubectl[@]}" get nodes --output=name 2>/dev/null)
fi
said
if [[ ${nodes-} ]]; then
    while read -r node; do
        part "configz/${node#node/}.json" \
            "${kubectl[@]}" get --raw "/api/v1/nodes/${node#node/}/proxy/configz"
    done <&"$nodes"
    said
fi

# Logs of pods: those that outlive their pods, else what the kubelet has. Of pods that are gone, only
# those that were there at the time.
cd /var/log/kubenest/pods 2>/dev/null || cd /var/log/pods 2>/dev/null || exit 0
wanted=(-name '*.log' -type f)
[[ $since ]] && wanted+=('(' -links +1 -o -newerct "@$since" ')')
while read -r _ path; do
    printf 'pods/%s ' "${path#./}"
    tail -c "$pod_limit" -- "$path" | base64 --wrap=0
    printf ' %s\n' "${PIPESTATUS[0]}"
done < <(find . "${wanted[@]}" -printf '%T@ %p\n' | sort -rn | head -n "$pods")
exit 0
