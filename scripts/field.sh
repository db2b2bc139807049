#!/usr/bin/env bash
# Try the worker on each engine and file system that this machine can have, and print docs/compatibility.md:
#   scripts/field.sh > docs/compatibility.md   all environments
#   scripts/field.sh podman xfs                these alone; --help lists all
# It needs root. Engines of its own run beside the machine's, which it leaves as it is.
set -euo pipefail
# shellcheck source=scripts/setup.sh
source "$(dirname "$0")/setup.sh"
{
    [ "$(id -u)" = 0 ] || die "The field lab mounts file systems and starts engines: run it as root."
    set_up tests
    install_missing mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs mkfs.ext4:e2fsprogs debootstrap:debootstrap debootstrap:debian-archive-keyring
} >&2
FIELD_ROOT=$(scripts/field_root.sh) || say "No Debian 13: its rows say so" >&2
export FIELD_ROOT
PYTHONPATH=.:mock_api exec .venv/bin/python -m tests.field "$@"
