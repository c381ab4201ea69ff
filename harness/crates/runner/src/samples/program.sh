#!/bin/sh
# In the place of kubenest.
folder=${0%/*}
echo "$@" >>"$folder/asked"
if [ "$1 $2" = "prepare --json" ] && [ -f "$folder/events" ]; then
  cat "$folder/events"
fi
