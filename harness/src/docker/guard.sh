# Runs in the guard's container: waits for its owner's end, then removes what the owner left.
# Variables: GUARD (name of this container), FILTERS (label filter, URL-encoded JSON),
# LABELS (the labels a thing must have, JSON), NAMES (of the containers the owner may be
# making, one a line), LOOK (a script that nodes run to say how they are; may be empty). They
# are data: nothing here evaluates them.
set -u

# api METHOD PATH [JSON]: prints the body of the engine's answer.
api() {
    local type='Content-Type: application/json'
    if command -v curl >/dev/null; then
        curl -s --max-time 60 --unix-socket /engine.sock -X "$1" \
            ${3:+-H "$type" --data-binary "$3"} "http://engine$2"
    else
        # shut-none: the engine takes a half-closed connection for a client that gave up.
        printf '%s %s HTTP/1.0\r\nHost: engine\r\n%s\r\nContent-Length: %d\r\n\r\n%s' \
            "$1" "$2" "$type" "$(printf %s "${3-}" | wc -c)" "${3-}" |
            socat -t 60 - UNIX-CONNECT:/engine.sock,shut-none | sed '1,/^\r$/d'
    fi
}

# mine KEY: from a list of things, the KEY of those that bear every label of the owner.
mine() {
    jq -r --argjson want "$LABELS" --arg key "$1" '.[] | (.Labels // {}) as $has
        | select(all($want | to_entries[]; $has[.key] == .value))
        | select($has["dev.kubenest.role"] != "guard")
        | .[$key]'
}

# remove PATH QUERY: removes each thing named on standard input, side by side.
remove() {
    while read -r thing; do
        api DELETE "$1/$thing$2" >/dev/null &
    done
    wait
}

# under_way NAME: a container of that name is being made. Its name is taken from the start, so
# that this container cannot take it, but it is not to be seen before the end.
under_way() {
    [ -n "$(api POST "/containers/$id/rename?name=$1")" ] &&
        api GET "/containers/$1/json" | jq -e '.Id == null' >/dev/null
}

# save: what the nodes say, unless the owner has no more use for it. All of them at once.
save() {
    [ -n "$LOOK" ] && [ -e /saved/known.json ] || return
    local case exec start='{"Detach":false,"Tty":false}'
    case=$(cat /saved/case)
    for node in $NAMES; do
        api GET "/containers/$node/json" >"/saved/$node.json"
        exec=$(jq -n --arg look "$LOOK" --arg case "$case" '{AttachStdout: true,
            Cmd: ["timeout", "20", "bash", "-c", $look, "look",
                if $case == "" then "" else "/var/log/kubenest/" + $case end, $case]}')
        exec=$(api POST "/containers/$node/exec" "$exec" | jq -r '.Id // empty')
        [ -n "$exec" ] && api POST "/exec/$exec/start" "$start" | head -c 100000000 \
            >"/saved/$node.raw" &
    done
    wait
    : >/saved/saved
}

id=$(api GET "/containers/$GUARD/json" | jq -r '.Id // .message')
printf '%s\n' "$id"
# The owner holds the other end of standard input; the kernel closes it when the owner dies.
cat >/dev/null
save

# A creation that was under way when the owner died shows up later: look until two looks in a
# row find nothing, neither made nor being made.
quiet=0
for look in {1..60}; do
    containers=$(api GET "/containers/json?all=1&filters=$FILTERS" | mine Id)
    remove /containers '?force=1&v=1' < <(printf '%s' "${containers:+$containers$'\n'}")
    networks=$(api GET "/networks?filters=$FILTERS" | mine Id)
    remove /networks '' < <(printf '%s' "${networks:+$networks$'\n'}")
    volumes=$(api GET "/volumes?filters=$FILTERS" | jq '.Volumes // []' | mine Name)
    remove /volumes '?force=1' < <(printf '%s' "${volumes:+$volumes$'\n'}")
    unmade=
    for name in $NAMES; do under_way "$name" && unmade+=$name; done
    api POST "/containers/$id/rename?name=$GUARD" >/dev/null
    if [ -z "$containers$networks$volumes$unmade" ]; then quiet=$((quiet + 1)); else quiet=0; fi
    [ "$quiet" -eq 2 ] && break
    sleep 0.5
done
