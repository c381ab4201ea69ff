#!/bin/bash
# Runs in the guard's container: waits for its owner's end, then removes what the owner left.
# Variables: GUARD (name of this container), FILTERS (label filter, URL-encoded JSON),
# LABELS (the labels a thing must have, JSON), NAMES (of the containers the owner may be
# making, one a line), LOOK (a script that nodes run to say how they are; may be empty), OWNER
# ("process", "lease" or "unseen lease"). Of a lease also LEASE (its folder in /leases), IDLE (how
# many seconds it waits for another holder) and FOLDER (what goes with it in /folders; may be
# empty). They are data: nothing here evaluates them.
set -u
lease=/leases/${LEASE-}

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

# status METHOD PATH: prints the engine's status code; what is no number where it gives none.
status() {
    if command -v curl >/dev/null; then
        curl -s --max-time 60 --unix-socket /engine.sock -X "$1" -o /dev/null \
            -w '%{http_code}' "http://engine$2"
    else
        printf '%s %s HTTP/1.0\r\nHost: engine\r\nContent-Length: 0\r\n\r\n' "$1" "$2" |
            socat -t 60 - UNIX-CONNECT:/engine.sock,shut-none | sed -n '1s/^[^ ]* \([0-9]*\).*/\1/p'
    fi
}

# mine KEY: from a list of things, the KEY of those that bear every label of the owner, and have
# not inherited them from another container. Fails when it is given no list: an engine that
# reports an error, or nothing at all, has not said that nothing is left.
mine() {
    jq -nr --argjson want "$LABELS" --arg key "$1" 'input
        | if type == "object" and has("Volumes") then .Volumes // [] else . end
        | if type == "array" then . else error("no list") end
        | map(. as $thing | (.Labels // {}) as $has
            | select(all($want | to_entries[]; $has[.key] == .value))
            | select($has["dev.kubenest.role"] != "guard")
            | select($thing.Names == null or $has["dev.kubenest.name"] == null
                or any($thing.Names[]; ltrimstr("/") == $has["dev.kubenest.name"]))
            | .[$key])
        | join("\n")' 2>/dev/null
}

# clear_away LIST KEY PATH QUERY: removes what LIST has of the owner's, each by its KEY, side by
# side. What there was is added to $left; $silent says that the engine did not tell.
clear_away() {
    local things thing
    things=$(api GET "$1filters=$FILTERS" | mine "$2") || silent=yes
    left+=$things
    for thing in $things; do api DELETE "$3/$thing$4" >/dev/null & done
    wait
}

# under_way NAME: a container of that name is being made, or the engine does not tell. Its name
# is taken from the start, so that this container cannot take it, but it is not to be seen before
# the end.
under_way() {
    [ "$(status POST "/containers/$id/rename?name=$1")" != 204 ] &&
        ! api GET "/containers/$1/json" | jq -ne input.Id >/dev/null 2>&1
}

# save: what the nodes say, unless the owner has no more use for it. All of them at once.
save() {
    [ -n "$LOOK" ] && [ -e /saved/known.json ] || return
    local cases exec start='{"Detach":false,"Tty":false}'
    cases=$(cat /saved/cases)
    for node in $NAMES; do
        api GET "/containers/$node/json" >"/saved/$node.json"
        exec=$(jq -n --arg look "$LOOK" --arg cases "$cases" '{AttachStdout: true,
            Cmd: (["timeout", "20", "bash", "-c", $look, "look"] +
                if $cases == "" then ["", ""] else $cases / " " | [.[0], (.[1:] | join(" "))] end)}')
        exec=$(api POST "/containers/$node/exec" "$exec" | jq -r '.Id // empty')
        [ -n "$exec" ] && api POST "/exec/$exec/start" "$start" | head -c 100000000 \
            >"/saved/$node.raw" &
    done
    wait
    : >/saved/saved
}

# held: somebody holds the lease. One whose lock cannot be tried counts.
held() {
    local holder
    for holder in "$lease"/*.holder; do
        [ -e "$holder" ] || continue
        # `flock FILE` would make the file of a holder that has just let go.
        { flock --nonblock --shared 3; } 3<"$holder" || [ ! -e "$holder" ] || return 0
    done 2>/dev/null
    return 1
}

# end_lease: marks the end, unless there is a holder: with the gate locked nobody can come.
end_lease() (
    flock 4 && ! held && { [ -e "$lease/ended" ] || : >"$lease/ended"; }
) 4<"$lease/gate"

# wait_for_end: until nobody has held the lease for as long as it waits, which is no time before
# everything is made and after somebody has marked its end.
wait_for_end() {
    local since=''
    while [ -e "$lease/gate" ]; do
        if held; then
            [ -z "$since" ] || rm -f "$lease/idle"
            since=''
        else
            [ -n "$since" ] || { since=$SECONDS && : >"$lease/idle"; }
            if [ ! -e "$lease/record.json" ] || [ -e "$lease/ended" ] ||
                [ $((SECONDS - since)) -ge "$IDLE" ]; then
                end_lease && return
            fi
        fi
        sleep 0.5
    done
}

if [ "$OWNER" = lease ]; then
    if ! command -v flock >/dev/null; then
        echo "it has no flock"
        exit 1
    fi
    # Whoever starts this holds the lease. A folder of another machine may look the same, but its
    # locks do not.
    if ! held; then
        echo "it does not see the locks of this machine"
        exit 1
    fi
fi
id=$(api GET "/containers/$GUARD/json" | jq -r '.Id // .message')
printf '%s\n' "$id"
# Whoever started this holds the other end of standard input; the kernel closes it when that one
# dies.
cat >/dev/null
case $OWNER in
# Others may hold the lease, and they have no use for a cluster without a guard either.
lease) wait_for_end ;;
# Nothing here tells whether somebody holds it: a sweep that sees its cache will.
'unseen lease') exit 0 ;;
esac
save

# A creation that was under way when the owner died shows up later: look until two looks in a
# row find nothing, neither made nor being made. What cannot be removed is tried for a while; an
# engine that does not tell may yet come back, and is given ten minutes.
quiet=0 looks=0 end=$((SECONDS + 600))
while [ "$looks" -lt 60 ] && [ "$SECONDS" -lt "$end" ]; do
    left='' silent=''
    clear_away '/containers/json?all=1&' Id /containers '?force=1&v=1'
    clear_away '/networks?' Id /networks ''
    clear_away '/volumes?' Name /volumes '?force=1'
    for name in $NAMES; do under_way "$name" && left+=$name; done
    api POST "/containers/$id/rename?name=$GUARD" >/dev/null
    [ -n "$silent" ] || looks=$((looks + 1))
    if [ -z "$left$silent" ]; then quiet=$((quiet + 1)); else quiet=0; fi
    [ "$quiet" -eq 2 ] && break
    sleep 0.5
done
if [ "$OWNER" = lease ] && [ "$quiet" -eq 2 ]; then
    [ -z "$FOLDER" ] || rm -rf "/folders/$FOLDER"
    rm -rf "$lease"
fi
