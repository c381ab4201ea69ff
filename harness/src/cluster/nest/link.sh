#!/bin/bash
# link.sh VOLUME ENGINE-IMAGE IMAGE...
# Runs in a container of an engine, whose folder is /engine: gives the images of these ids to another
# engine, whose volume is in the first one's folder. Nothing is copied: the files are linked, and no
# engine ever changes the files of a layer. Prints how many files were linked, and how large they are.
set -euo pipefail
volume=$1
shift
store=image/overlay2
from=/engine/$store
to=$volume/docker/$store
mkdir -p "$volume/docker/overlay2/l" "$to"/{layerdb/sha256,imagedb/content/sha256}

# chains ID: the chain of each of an image's layers, the lowest first.
chains() {
  local chain='' diff sum
  for diff in $(jq -r '.rootfs.diff_ids[]' "$from/imagedb/content/sha256/$1"); do
    if [[ -n $chain ]]; then
      sum=$(printf 'sha256:%s %s' "$chain" "$diff" | sha256sum)
      chain=${sum%% *}
    else
      chain=${diff#sha256:}
    fi
    echo "$chain"
  done
}

for id in "${@#sha256:}"; do
  cp --link "$from/imagedb/content/sha256/$id" "$to/imagedb/content/sha256/"
  for chain in $(chains "$id"); do
    [[ ! -e $to/layerdb/sha256/$chain ]] || continue
    layer=$(< "$from/layerdb/sha256/$chain/cache-id")
    cp --archive --link "/engine/overlay2/$layer" "$volume/docker/overlay2/"
    ln -s "../$layer/diff" "$volume/docker/overlay2/l/$(< "/engine/overlay2/$layer/link")"
    cp --archive --link "$from/layerdb/sha256/$chain" "$to/layerdb/sha256/"
  done
done
jq --args '.Repositories |= (map_values(with_entries(select(.value | IN($ARGS.positional[]))))
  | with_entries(select(.value | length > 0)))' "$@" \
  < "$from/repositories.json" > "$to/repositories.json"

find "$volume/docker/overlay2" -type f -printf '%s\n' \
  | awk '{ files += 1; bytes += $1 } END { print files + 0, bytes + 0 }'

# The layers of the engine's own root, the uppermost first, as the pod sees them.
lower=''
for chain in $(chains "${1#sha256:}"); do
  lower=/nest/docker/overlay2/$(< "$from/layerdb/sha256/$chain/cache-id")/diff${lower:+:$lower}
done
printf '%s' "$lower" > "$volume/layers.new"
mv "$volume/layers.new" "$volume/layers"
