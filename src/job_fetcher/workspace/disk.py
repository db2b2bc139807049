"""Durable writes, permissions, removal of folders, and free room: each of them on any file system.

A file system may know no fsync(2) of a folder, no chmod(2) and no statfs(2). What a job can do without is done without;
`trial` finds out what that is, and says so.
"""

import errno
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

GIB = 1 << 30
MIN_FREE_INODES = 1_000
"""A disk with fewer free inodes has no room for a job, or for an image, whatever its free bytes."""

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
        sync(file.fileno())
    temporary.rename(path)
    sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """Let the names in `folder` outlive a power cut: fsync(2) of the folder, where the file system knows that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        if is_full(error) or is_broken(error):
            raise
        return
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def sync(descriptor: int) -> bool:
    """fsync(2). Returns whether the file system knows that. Raises `OSError` if the disk is full or broken."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if is_full(error) or is_broken(error):
            raise
        return False
    return True


def open_to_all(path: Path, mode: int) -> None:
    """Let every user of a container use `path`: chmod(2) with `mode`. It may be open already where chmod does nothing.

    Raises `OSError` if it stays closed to others.
    """
    try:
        path.chmod(mode)
    except OSError as error:
        if is_full(error) or is_broken(error) or path.stat().st_mode & mode != mode:
            raise
        return
    if path.stat().st_mode & mode != mode:
        raise PermissionError(errno.EPERM, "The mode stays as it is", str(path))


def remove_tree(path: Path) -> None:
    """Remove `path` by `rm`, which no depth, size or odd name stops. Python's own removal fails for very deep trees."""
    if not is_there(path):
        return
    if os.geteuid() != 0:  # root may empty folders that are read-only; another user has to make them writable first
        run_tool("chmod", "-R", "-f", "u+rwX", "--", str(path))
    problem = run_tool("rm", "-rf", "--one-file-system", "--", str(path))
    if problem:
        log.warning("The worker cannot remove all of %s: %s", path, problem)


def is_there(path: Path) -> bool:
    """Whether `path` exists, a link as such. True, too, if a broken disk does not tell."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def run_tool(*command: str) -> str:
    """Run a command of the system with an empty environment. Returns the end of its errors, "" if it succeeds."""
    done = subprocess.run(command, check=False, env={}, capture_output=True)  # noqa: S603 - no word is another's
    return done.stderr.decode(errors="replace")[-300:] if done.returncode else ""


def boot_id() -> str:
    """The id of this boot of the host, in a container, too (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


_BROKEN = {
    *(
        errno.EIO,
        errno.EROFS,
        errno.ESTALE,
        errno.EUCLEAN,
        errno.EREMOTEIO,
    ),  # disks, NFS; ext4 and xfs that are corrupt
    *(errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ECONNABORTED),  # a disk that is gone, a FUSE process that ended
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT),  # NFS and SMB
}


def is_full(error: OSError) -> bool:
    """Whether `error` means that the disk, its inodes, or this user's quota on it are used up."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def is_broken(error: OSError) -> bool:
    """Whether `error` means that the disk does not work now: it is read-only, damaged, or out of reach."""
    return error.errno in _BROKEN


def free_bytes(path: Path) -> int:
    """Free bytes on the file system of `path`; `sys.maxsize` if it does not tell."""
    try:
        usage = shutil.disk_usage(path)
    except OSError as error:
        if is_broken(error) or isinstance(error, FileNotFoundError):
            raise
        return sys.maxsize
    return usage.free if usage.total else sys.maxsize


def free_inodes(path: Path) -> int:
    """Files and folders that the file system of `path` has room for; `sys.maxsize` if it has no such limit."""
    try:
        usage = os.statvfs(path)
    except OSError as error:
        if is_broken(error) or isinstance(error, FileNotFoundError):
            raise
        return sys.maxsize
    return usage.f_favail if usage.f_files else sys.maxsize
