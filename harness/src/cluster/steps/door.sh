#!/bin/bash
# The door in front of the API server of this node, and the detour to its Service.
#
# door close ADDRESS PORT [WORKER...]   requests of this node and of the workers to the API server wait
# door open ADDRESS PORT [WORKER...]    those that wait are sent again, to the API server as all others
# door serve ADDRESS                    receives requests, until it is killed
# door hold                             answers one request when the door is open
#
# door detour ADDRESS PORT SERVICE      pods of this node that connect to the API server's Service are led
#                                       to the API server
# door end-detour ADDRESS PORT SERVICE  when kube-proxy leads to the Service, only that does
set -euo pipefail

waiting=16443
# Two locks that the server holds: one until the API server serves, one until the door opens. A request
# waits until it can share the lock that it depends on.
serving=/run/kubenest-door-serving
open=/run/kubenest-door-open

# Appends or deletes (the first argument) a rule that leads connections elsewhere.
lead() {
  iptables --wait --table nat "$@"
}

# Appends or deletes the rules that lead requests to the door, of this node and of the workers $2...
hold_requests() {
  local way=(--destination "$address" --protocol tcp --dport "$port"
    --jump DNAT --to-destination "$address:$waiting") worker
  lead "$1" OUTPUT "${way[@]}"
  for worker in "${@:2}"; do
    lead "$1" PREROUTING --source "$worker" "${way[@]}"
  done
}

# Receives requests with the API server's own certificate, which kubeadm writes after its key.
serve() {
  local keys=/etc/kubernetes/pki
  exec {as_serving}> "$serving" {as_open}> "$open"
  flock "$as_serving"
  flock "$as_open"
  until [[ -s $keys/apiserver.crt ]]; do pause; done
  setpriv --pdeathsig TERM socat \
    "OPENSSL-LISTEN:$waiting,bind=$address,reuseaddr,fork,backlog=4096,nodelay,verify=0,cert=$keys/apiserver.crt,key=$keys/apiserver.key" \
    'EXEC:/kind/door hold' {as_serving}>&- {as_open}>&- &
  # The port answers long before the server does.
  until { : 3<> /dev/tcp/127.0.0.1/6443; } 2> /dev/null \
    && openssl s_client -connect 127.0.0.1:6443 < /dev/null &> /dev/null; do
    pause
  done
  flock --unlock "$as_serving"
  wait
}

# Twenty milliseconds, without a process.
pause() {
  [[ -v never ]] || exec {never}<> <(:)
  read -rt 0.02 -u "$never" || true
}

# Reads a request from standard input and answers it on standard output.
hold() {
  local method path line agent=
  read -r method path _
  while read -r line && [[ $line != $'\r' ]]; do
    [[ ${line,,} != user-agent:* ]] || agent=${line#*: }
  done
  # A kubelet needs no roles, and only objects in namespaces need what is made later. Those of workers
  # cannot be sent to a loopback address.
  if [[ $agent == kubelet/* && "$method $path" != POST*/namespaces/* &&
    $SOCAT_PEERADDR == "$SOCAT_SOCKADDR" ]]; then
    flock --shared "$serving" true
    answer '307 Temporary Redirect' "Location: https://127.0.0.1:6443$path" 'Content-Length: 0'
    return
  fi
  flock --shared "$open" true
  if [[ $path == /healthz* ]]; then
    answer '200 OK' 'Content-Length: 2'
    printf ok
  else
    # Kubernetes' own client sends a request again at once that is answered so.
    answer '429 Too Many Requests' 'Retry-After: 0' 'Content-Length: 0'
  fi
}

# $1: the status; what follows: headers.
answer() {
  printf '%s\r\n' "HTTP/1.1 $1" "${@:2}" 'Connection: close' ''
}

# Appends or deletes the rule of the detour; $2: the address of the Service.
lead_around() {
  lead "$1" PREROUTING --destination "$2" --protocol tcp --dport 443 \
    --jump DNAT --to-destination "$address:$port"
}

verb=$1 address=${2-} port=${3-}
case $verb in
  close)
    systemctl start "kubenest-door@$address.service"
    hold_requests --append "${@:4}"
    ;;
  open)
    hold_requests --delete "${@:4}"
    systemctl stop "kubenest-door@$address.service"
    ;;
  serve) serve ;;
  hold) hold ;;
  detour) lead_around --append "$4" ;;
  end-detour)
    # The comment is kube-proxy's own.
    until iptables-save --table nat | grep --quiet --fixed-strings default/kubernetes:https; do pause; done
    lead_around --delete "$4"
    ;;
esac
