#!/bin/sh
# Runs in busybox as the first process of an engine's pod: waits for the engine's root, which another
# container links into the volume, and becomes the script $1, which starts the engine.
set -eu
/bin/busybox --install -s /bin
cd /nest
until [ -e layers ]; do sleep 0.05; done
mkdir -p root upper work
mount -t overlay -o "lowerdir=$(cat layers),upperdir=/nest/upper,workdir=/nest/work" overlay root
for folder in proc sys dev; do
  mkdir -p "root/$folder"
  mount -o rbind "/$folder" "root/$folder"
done
for file in resolv.conf hosts hostname; do
  rm -f "root/etc/$file"
  touch "root/etc/$file"
  mount -o bind "/etc/$file" "root/etc/$file"
done
mkdir -p root/var/lib/docker root/.former
mount -o bind docker root/var/lib/docker
if [ -d /kubenest ]; then
  mkdir -p root/kubenest
  mount -o rbind /kubenest root/kubenest
fi
printf '%s' "$1" > root/usr/local/bin/start-engine
chmod 755 root/usr/local/bin/start-engine
cd root
pivot_root . .former
exec /.former/bin/busybox chroot . /usr/local/bin/start-engine
