#!/bin/sh
# In the place of kubenest.
folder=${0%/*}
echo "$@" >>"$folder/asked"
case "$1 $2 $3" in
  "prepare --json --recall") cat "$folder/nodes" ;;
  "prepare --json "*) [ ! -f "$folder/events" ] || cat "$folder/events" ;;
esac
