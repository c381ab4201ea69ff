# Runs in the guard's container: waits for its owner's end, then removes what the owner left.
# Variables: GUARD (name of this container), FILTERS (label filter, URL-encoded JSON),
# LABELS (the labels a thing must have, JSON), NAMES (of the containers the owner may be
# making, one a line). They are data: nothing here evaluates them.
set -u

# api METHOD PATH: prints the body of the engine's answer.
api() {
    if command -v curl >/dev/null; then
        curl -s --max-time 60 --unix-socket /engine.sock -X "$1" "http://engine$2"
    else
        # shut-none: the engine takes a half-closed connection for a client that gave up.
        printf '%s %s HTTP/1.0\r\nHost: engine\r\n\r\n' "$1" "$2" |
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

id=$(api GET "/containers/$GUARD/json" | jq -r '.Id // .message')
printf '%s\n' "$id"
# The owner holds the other end of standard input; the kernel closes it when the owner dies.
cat >/dev/null

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
