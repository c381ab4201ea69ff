#!/bin/sh
# In the root file system $1: leaves out what nobody reads in a node, and what only this machine
# should know.
cd "$1" && rm -rf usr/share/info usr/share/locale usr/share/man &&
    rm -f etc/apt/sources.list etc/hostname etc/resolv.conf &&
    find usr/share/doc -type f ! -name copyright -delete
