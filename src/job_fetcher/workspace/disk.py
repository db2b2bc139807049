"""What is done on the disk so that it lasts, is whole, or is gone: durable writes, removal, room."""

import errno
import logging
import os
import shutil
import subprocess
from pathlib import Path

GIB = 1 << 30

log = logging.getLogger(__name__)


def write_durably(path: Path, text: str) -> None:
    """Replace `path` by one with `text`, so that even a power cut leaves the old one or the new one."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """Let the names in `folder` outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove `path` by `rm`: no depth, size or odd name of what a job has made stops it, as Python's own would be."""
    if not os.path.lexists(path):
        return
    if os.geteuid() != 0:  # root may enter and empty what the job made read-only, another user must allow it first
        run_tool("chmod", "-R", "-f", "u+rwX", "--", str(path))
    problem = run_tool("rm", "-rf", "--one-file-system", "--", str(path))
    if problem:
        log.warning("%s is not removed entirely: %s", path, problem)


def run_tool(*command: str) -> str:
    """Run a command of the system, with an empty environment; returns the end of what it complains about."""
    done = subprocess.run(command, check=False, env={}, capture_output=True)  # noqa: S603 - no word is another's
    return done.stderr.decode(errors="replace")[-300:] if done.returncode else ""


def boot_id() -> str:
    """What names this run of the host's system, also in a container (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def is_full(error: OSError) -> bool:
    """Whether it means that the disk, or somebody's share of it, is full."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def free_bytes(path: Path) -> int:
    """Bytes that may still be written to the file system of `path`."""
    return shutil.disk_usage(path).free
