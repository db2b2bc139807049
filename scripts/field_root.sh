#!/usr/bin/env bash
# Make a folder with Debian 13, its docker.io and its podman, for the engines of scripts/field.sh, and print its path.
# It takes three minutes, and is kept in the cache folder between runs.
set -euo pipefail

readonly suite=trixie
readonly packages=ca-certificates,catatonit,docker.io,fuse-overlayfs,iproute2,iptables,kmod,netavark,nftables,passt,podman,procps,rootlesskit,slirp4netns,uidmap
readonly user=lab # of the engines without root; useradd gives it 65,536 more ids
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/job-fetcher
readonly root=$cache/field-$suite

stamp=$(echo "$suite $packages $user" | sha256sum)
if ! grep -qsxF "$stamp" "$root/field-stamp"; then
    echo "Field lab: making a folder with Debian 13 (three minutes, kept in $cache)" >&2
    rm -rf "$root"
    debootstrap --variant=minbase --include="$packages" "$suite" "$root" >"$cache/field-root.log" 2>&1 ||
        { tail -n 5 "$cache/field-root.log" >&2; exit 1; }
    chroot "$root" useradd --create-home --uid 1000 "$user"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
    echo "$stamp" >"$root/field-stamp"
fi
echo "$root"
