#!/usr/bin/env bash
# Make sure that the engine has python:3.11-slim: as it is, pulled, or (no registry in reach) made from Debian packages.
# The made one is a stand-in for this machine only: it carries the machine's CA bundle and pip settings, so that
# `docker build` can install packages wherever this machine can, and is kept in the cache folder between runs.
set -euo pipefail

readonly image=python:3.11-slim
readonly suite=bookworm # the Debian release whose python3 is 3.11
readonly ca_bundle=/etc/ssl/certs/ca-certificates.crt
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/job-fetcher

# Whatever the made image takes from this machine, as text: another bundle or index is another tarball.
machine_settings() {
    cat /etc/pip.conf 2>/dev/null || true
    env | grep -E '^PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|DEFAULT_TIMEOUT)=' | sort || true
    cat "$ca_bundle"
}

copy_machine_settings() {
    local root=$1 name value
    cp "$ca_bundle" "$root$ca_bundle"
    [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$root/etc/pip.conf"
    chroot "$root" pip config --quiet --global set global.cert "$ca_bundle"
    for name in INDEX_URL EXTRA_INDEX_URL TRUSTED_HOST DEFAULT_TIMEOUT; do
        value=PIP_$name
        [ -z "${!value:-}" ] || chroot "$root" pip config --quiet --global set "global.$(tr _ - <<<"${name,,}")" "${!value}"
    done
}

# What the official image does not have, either: documentation, translations, package caches and Debian's ban on pip.
trim() {
    local root=$1
    rm -rf "$root"/var/cache/{apt,debconf}/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
        "$root"/usr/share/{doc,info,lintian,locale,man}/* "$root"/usr/lib/python3.11/EXTERNALLY-MANAGED
    ln -s python3 "$root/usr/bin/python"
}

install_debootstrap() {
    if command -v debootstrap >/dev/null; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "$image cannot be pulled here. To make it: as root on Debian or Ubuntu, apt-get install debootstrap debian-archive-keyring" >&2
        return 1
    fi
    echo "Base image: installing debootstrap"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends debootstrap debian-archive-keyring >"$cache/apt.log" 2>&1 ||
        { tail -n 5 "$cache/apt.log" >&2; return 1; }
}

make_tarball() {
    local tarball=$1 root
    install_debootstrap
    root=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder of now is meant
    trap "rm -rf '$root'" EXIT
    debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates "$suite" "$root" >"$cache/debootstrap.log" 2>&1 ||
        { tail -n 20 "$cache/debootstrap.log" >&2; return 1; }
    copy_machine_settings "$root"
    trim "$root"
    tar --create --directory "$root" --exclude './dev/*' . | gzip -1 >"$tarball.part"
    mv "$tarball.part" "$tarball"
}

if docker image inspect "$image" >/dev/null 2>&1; then
    exit 0
fi
echo "Base image: pulling $image"
if docker pull --quiet "$image" 2>/dev/null; then
    exit 0
fi
mkdir -p "$cache"
tarball=$cache/python-3.11-slim-$(machine_settings | sha256sum | cut -c 1-12).tar.gz
if [ ! -f "$tarball" ]; then
    echo "Base image: no registry in reach, making $image from Debian's packages (about a minute, kept in $cache)"
    make_tarball "$tarball"
fi
docker import --change 'ENV LANG=C.UTF-8' --change 'CMD ["python3"]' "$tarball" "$image" >/dev/null
