#!/bin/sh
# In the root file system $1: the links that update-alternatives would make.
cd "$1/usr/sbin" &&
    for name in iptables ip6tables; do
        ln -s xtables-nft-multi $name && ln -s xtables-nft-multi $name-save &&
            ln -s xtables-nft-multi $name-restore || exit 1
    done
