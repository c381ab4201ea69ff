#!/bin/sh
# Says what the node's own shim says of its version, and is another in all else. The two paths are
# put in before it is written to the node.
[ "$1" = -v ] && exec @OWN@ -v
exec @OTHER@ "$@"
