"""Durable writes, removal of folders, and free space."""

import errno
import logging
import os
import shutil
import subprocess
from pathlib import Path

GIB = 1 << 30

log = logging.getLogger(__name__)


def write_durably(path: Path, text: str, *, private: bool = False) -> None:
    """Replace the file `path` by `text`. A power cut leaves the old file or the new one, never half of it.

    `private`: no other user may read the file. Raises `OSError`.
    """
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        if private:
            os.fchmod(file.fileno(), 0o600)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """Let the names in `folder` outlive a power cut: fsync(2) of the folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove `path` by `rm`, which no depth, size or odd name stops. Python's own removal fails for very deep trees."""
    if not os.path.lexists(path):
        return
    if os.geteuid() != 0:  # root may empty folders that are read-only; another user has to make them writable first
        run_tool("chmod", "-R", "-f", "u+rwX", "--", str(path))
    problem = run_tool("rm", "-rf", "--one-file-system", "--", str(path))
    if problem:
        log.warning("The worker cannot remove all of %s: %s", path, problem)


def run_tool(*command: str) -> str:
    """Run a command of the system with an empty environment. Returns the end of its errors, "" if it succeeds."""
    done = subprocess.run(command, check=False, env={}, capture_output=True)  # noqa: S603 - no word is another's
    return done.stderr.decode(errors="replace")[-300:] if done.returncode else ""


def boot_id() -> str:
    """The id of this boot of the host, in a container, too (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def is_full(error: OSError) -> bool:
    """Whether `error` means that the disk, or this user's quota on it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def free_bytes(path: Path) -> int:
    """Free bytes on the file system of `path`."""
    return shutil.disk_usage(path).free
