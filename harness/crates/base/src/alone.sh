#!/bin/bash
# Closes every inherited file but stdin, stdout and stderr, then becomes the command in its
# arguments.
for open in /proc/"$$"/fd/*; do
  number=${open##*/}
  if [ "$number" -gt 2 ]; then eval "exec $number>&-"; fi
done
exec "$@"
