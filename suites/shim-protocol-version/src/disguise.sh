#!/bin/sh
# Reports the version of the node's own shim, but runs another shim for everything else. The two
# paths are filled in before the script is written to the node.
[ "$1" = -v ] && exec @OWN@ -v
exec @OTHER@ "$@"
