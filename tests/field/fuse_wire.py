"""The kernel's FUSE protocol, as far as a passthrough needs it: operations, and the bytes of requests and answers.

Source: Linux, include/uapi/linux/fuse.h, version 7.31. No library is needed, only `/dev/fuse` and root.
"""

import ctypes
import os
import struct
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

MAX_WRITE = 128 << 10
BUFFER = MAX_WRITE + 4_096
FLOCK_LOCKS = 1 << 10  # FUSE_FLOCK_LOCKS: the kernel asks the file system for each flock(2)
DIRECT_IO = 1  # FOPEN_DIRECT_IO: each read(2) and write(2) reaches the file system
NOSUID_NODEV = 2 | 4

FORGET, DESTROY, BATCH_FORGET, INTERRUPT = 2, 38, 42, 36


class Op(IntEnum):
    """The operations that the passthrough answers; any other one gets ENOSYS."""

    LOOKUP = 1
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    SETLK = 32
    SETLKW = 33
    CREATE = 35
    FALLOCATE = 43
    RENAME2 = 45


@dataclass(frozen=True)
class Request:
    """One request of the kernel: `body` is what follows the header."""

    opcode: int
    unique: int
    node: int
    uid: int
    gid: int
    body: bytes

    @classmethod
    def read(cls, device: int) -> "Request":
        """The next request. Raises `OSError` (ENODEV) once the file system is unmounted."""
        data = os.read(device, BUFFER)
        _, opcode, unique, node, uid, gid, _, _ = struct.unpack_from("<IIQQIIII", data)
        return cls(opcode, unique, node, uid, gid, data[40:])

    def fields(self, layout: str) -> tuple[int, ...]:
        return struct.unpack_from(layout, self.body)

    def names(self, skip: int = 0) -> list[bytes]:
        """The names behind `skip` bytes of the body, each of which ends with NUL."""
        return self.body[skip:].split(b"\0")[:-1]


def answer(device: int, request: Request, data: bytes = b"", error: int = 0) -> None:
    """Send `data`, or the errno `error`."""
    os.write(device, struct.pack("<IiQ", 16 + len(data), -error, request.unique) + data)


def attributes(mode: int, status: os.stat_result) -> bytes:
    times = [status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns]
    numbers = [status.st_ino, status.st_size, status.st_blocks, *(each // 10**9 for each in times)]
    rest = [mode, status.st_nlink, status.st_uid, status.st_gid, status.st_rdev, 4_096, 0]
    return struct.pack("<6Q10I", *numbers, *(each % 10**9 for each in times), *rest)


def attr_out(mode: int, status: os.stat_result) -> bytes:
    return struct.pack("<QII", 0, 0, 0) + attributes(mode, status)


def entry_out(node: int, mode: int, status: os.stat_result) -> bytes:
    return struct.pack("<QQQQII", node, node, 0, 0, 0, 0) + attributes(mode, status)


def open_out(handle: int) -> bytes:
    return struct.pack("<QII", handle, DIRECT_IO, 0)


def init_out(flags: int) -> bytes:
    return struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, flags, 12, 9, MAX_WRITE, 1, 0, 0, 0)


def statfs_out(free: os.statvfs_result) -> bytes:
    counts = (free.f_blocks, free.f_bfree, free.f_bavail, free.f_files, free.f_ffree)
    return struct.pack("<5Q4I24x", *counts, free.f_frsize, 255, free.f_frsize, 0)


def entries_out(names: list[bytes], offset: int, size: int) -> bytes:
    """The entries of a folder from number `offset` on, at most `size` bytes."""
    data = b""
    for number, name in enumerate(names[offset:], offset + 1):
        entry = struct.pack("<QQII", number, number, len(name), 0) + name
        entry += bytes(-len(entry) % 8)
        if len(data) + len(entry) > size:
            break
        data += entry
    return data


def mount(folder: Path) -> int:
    """Mount at `folder`; returns the descriptor of `/dev/fuse` that the requests come from."""
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"faulty", bytes(folder), b"fuse.faulty", NOSUID_NODEV, options.encode()):
        raise OSError(ctypes.get_errno(), f"cannot mount {folder}")
    return device
