#!/bin/bash
# The door in front of the API server of this node, and the detour to its Service.
#
# door close ADDRESS PORT SERVICE   connections to the API server's address wait, and pods that
#                                   connect to its Service's address are led to it
# door open ADDRESS PORT SERVICE    those that wait are served, and new ones go to it directly
# door end-detour ADDRESS PORT SERVICE   only kube-proxy leads to the Service
set -euo pipefail

verb=$1 address=$2 port=$3 service=$4
waiting=16443
served=16444

# Appends or deletes (the first argument) a rule that leads connections elsewhere.
lead() {
  iptables --wait --table nat "$@"
}

held=(OUTPUT --destination "$address" --protocol tcp --dport "$port"
  --jump REDIRECT --to-ports "$waiting")
released=(OUTPUT --destination 127.0.0.1 --protocol tcp --dport "$served"
  --jump REDIRECT --to-ports "$port")
detour=(PREROUTING --destination "$service" --protocol tcp --dport 443
  --jump DNAT --to-destination "$address:$port")

case $verb in
  close)
    systemctl start kubenest-door.service
    lead --append "${held[@]}"
    lead --append "${detour[@]}"
    ;;
  open)
    lead --append "${released[@]}"
    lead --delete "${held[@]}"
    ;;
  end-detour)
    lead --delete "${detour[@]}"
    ;;
esac
