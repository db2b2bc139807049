"""The file systems of the field lab, each with a second engine of the machine's version beside it."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from tests.field import engines
from tests.field.faults import Fault, mounted
from tests.field.place import NotHad, Place, Spoiled

FUSE: tuple[tuple[str, str, tuple[Fault, ...]], ...] = (
    ("nfs", "as NFS: an open file that is removed stays", (Fault.SILLY_RENAME,)),
    (
        "smb",
        "as SMB: no rename with open files, every mode is 0777, case is folded",
        (Fault.RENAME_OPEN, Fault.CHMOD_IGNORED, Fault.ALWAYS_OPEN, Fault.FOLD_CASE),
    ),
    ("vfat", "as vfat: few names, case is folded", (Fault.ODD_NAMES, Fault.FOLD_CASE, Fault.ALWAYS_OPEN)),
    ("macos", "as macOS: case and Unicode forms are folded", (Fault.FOLD_CASE, Fault.FOLD_UNICODE)),
    ("no-flock", "flock is refused", (Fault.FLOCK_REFUSED,)),
    ("shared-flock", "flock excludes nobody, as on VirtioFS", (Fault.FLOCK_SHARED,)),
    ("no-chmod", "chmod is refused", (Fault.CHMOD_REFUSED,)),
    ("no-fsync", "fsync of a folder is refused", (Fault.FSYNC_FOLDER,)),
    ("no-rename", "a folder cannot be renamed", (Fault.RENAME_FOLDER,)),
    ("no-statfs", "statfs is not there", (Fault.STATFS,)),
    ("eio", "each change fails: EIO", (Fault.EIO,)),
    ("erofs", "each change fails: EROFS", (Fault.EROFS,)),
    ("edquot", "each growth fails: EDQUOT", (Fault.EDQUOT,)),
    ("estale", "each change fails: ESTALE", (Fault.ESTALE,)),
    ("eio-read", "no file can be read: EIO", (Fault.EIO_READ,)),
)
"""Name, what it is, and the faults of the mount: what other file systems refuse."""


FILL_BYTES = "dd if=/dev/zero of=/files/large bs=1M count=200"
FILL_INODES = "mkdir /files/many && for each in $(seq 2000); do : > /files/many/$each || exit 1; done"


def on_disk(*mkfs: str, size_mib: int = 4_096, filler: str = "") -> AbstractContextManager[Place]:
    """A file system of this size in a file, made by the command `mkfs`. `filler` see `Place`."""
    return engines.second(disk=partial(_made, mkfs, size_mib), filler=filler)


def with_quota() -> AbstractContextManager[Place]:
    """A btrfs whose quota is less than the disk has free, which statfs does not tell."""
    return engines.second(disk=_limited, filler=FILL_BYTES)


def read_only() -> AbstractContextManager[Place]:
    """An ext4 that the kernel has made read-only after an error."""
    return engines.second(disk=_became_read_only)


def tmpfs() -> AbstractContextManager[Place]:
    return engines.second(disk=_in_memory)


def fuse(*faults: Fault) -> AbstractContextManager[Place]:
    """The passthrough of `faulty_fs`."""
    return engines.second(disk=partial(faulty, faults))


@contextmanager
def kernel_client(kind: str, title: str) -> Iterator[Place]:
    """A file system that needs a server or a module: none of them is set up here."""
    kinds = [line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()]
    if kind not in kinds:
        raise NotHad(f"The kernel of this machine has no {title}.")
    raise NotHad(f"The field lab sets up no server of {title} yet.")
    yield


@contextmanager
def _made(mkfs: Sequence[str], size_mib: int, folder: Path) -> Iterator[None]:
    if shutil.which(mkfs[0]) is None:
        raise NotHad(f"`{mkfs[0]}` is not installed.")
    disk = folder.with_name("disk")
    with disk.open("wb") as file:
        file.truncate(size_mib << 20)
    _run(*mkfs, str(disk))
    _run("mount", "-o", "loop", str(disk), str(folder))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def _limited(folder: Path) -> Iterator[None]:
    with _made(["mkfs.btrfs"], 4_096, folder):
        _run("btrfs", "quota", "enable", str(folder))
        _run("btrfs", "qgroup", "limit", "64M", "0/5", str(folder))
        yield


@contextmanager
def _became_read_only(folder: Path) -> Iterator[Spoiled]:
    @contextmanager
    def spoiled() -> Iterator[None]:
        _run("mount", "-o", "remount,ro", str(folder))
        try:
            yield
        finally:
            _run("mount", "-o", "remount,rw", str(folder))

    with _made(["mkfs.ext4"], 4_096, folder):
        yield spoiled


@contextmanager
def _in_memory(folder: Path) -> Iterator[None]:
    _run("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def faulty(faults: Sequence[Fault], folder: Path) -> Iterator[Spoiled]:
    """Mount the passthrough: its faults begin with `spoiled`, but those of flock, which have to be there at once."""
    at_once = [each for each in faults if each in (Fault.FLOCK_REFUSED, Fault.FLOCK_SHARED)]
    with mounted(folder, *at_once) as set_faults:

        @contextmanager
        def spoiled() -> Iterator[None]:
            set_faults(*faults)
            try:
                yield
            finally:
                set_faults(*at_once)

        yield spoiled


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise NotHad(f"`{command[0]}` fails: {done.stderr.strip()}")
