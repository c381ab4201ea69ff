#!/bin/bash
# The door in front of the API server of this node.
#
# door close ADDRESS PORT   connections to the API server's address wait
# door open ADDRESS PORT    they are served, and new ones go to it directly
set -euo pipefail

waiting=16443
served=16444

# Leads connections of this node elsewhere; $1 is what to do with the rule, the rest is the address,
# its port and the other port.
rule() {
  iptables --wait --table nat "$1" OUTPUT --destination "$2" --protocol tcp --dport "$3" \
    --jump REDIRECT --to-ports "$4"
}

case $1 in
  close)
    systemctl start kubenest-door.service
    rule --append "$2" "$3" "$waiting"
    ;;
  open)
    rule --append 127.0.0.1 "$served" "$3"
    rule --delete "$2" "$3" "$waiting"
    ;;
esac
