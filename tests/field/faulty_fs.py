"""A passthrough file system with faults on demand: `python -m tests.field.faulty_fs BACKING MOUNT FAULTS-FILE`.

It shows what NFS, SMB, FUSE, vfat, quotas and broken disks refuse, on a machine whose kernel has none of them. The file
`FAULTS-FILE` names the faults, one a line; it is read anew at each request, so that a disk can break in the middle.
`faults.mounted` is the same for tests.
"""

import errno
import os
import stat
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.field import fuse_wire as wire
from tests.field.faults import Fault
from tests.field.fuse_wire import Op, Request

ROOT_NODE = 1
FORBIDDEN = set(b'?*:"<>|\\')
"""The characters that vfat, exfat and NTFS allow in no name."""


_REFUSALS = {Fault.EIO, Fault.EROFS, Fault.EDQUOT, Fault.ENOSPC, Fault.ESTALE}
_GROWS = {Op.SYMLINK, Op.MKNOD, Op.MKDIR, Op.LINK, Op.WRITE, Op.CREATE, Op.FALLOCATE}
_CHANGES = _GROWS | {Op.SETATTR, Op.UNLINK, Op.RMDIR, Op.RENAME, Op.RENAME2}
_OF_OP = {
    Op.SETLK: {Fault.FLOCK_REFUSED: errno.ENOLCK},
    Op.SETLKW: {Fault.FLOCK_REFUSED: errno.ENOLCK},
    Op.FSYNC: {Fault.FSYNC_FILE: errno.EINVAL, Fault.EIO: errno.EIO},
    Op.FSYNCDIR: {Fault.FSYNC_FOLDER: errno.EINVAL},
    Op.STATFS: {Fault.STATFS: errno.ENOSYS},
    Op.READ: {Fault.EIO_READ: errno.EIO},
}


class FaultyFs:
    """Answers the kernel's requests from the folder `backing`."""

    def __init__(self, device: int, backing: Path, faults: Path) -> None:
        self._device, self._faults_file = device, faults
        self._paths: dict[int, bytes] = {ROOT_NODE: bytes(backing)}
        self._nodes: dict[bytes, int] = {}
        self._last_node = ROOT_NODE
        self._handles: dict[int, bytes] = {}
        self._removed: dict[bytes, bytes] = {}  # silly names, by the path that the file had
        self._faults: set[Fault] = set()

    def serve(self) -> None:
        """Answer until the file system is unmounted."""
        with suppress(OSError):
            while True:
                self._answer(Request.read(self._device))

    def _answer(self, request: Request) -> None:
        if request.opcode in (wire.FORGET, wire.BATCH_FORGET, wire.INTERRUPT):
            return
        self._faults = {Fault(line) for line in self._faults_file.read_text().split()}
        try:
            op = Op(request.opcode)
        except ValueError:
            wire.answer(self._device, request, error=errno.ENOSYS)
            return
        try:
            self._fail_on_demand(op)
            method: Callable[[Request], bytes] = getattr(self, f"do_{op.name.lower()}")
            data = method(request)
        except OSError as error:
            wire.answer(self._device, request, error=error.errno or errno.EIO)
        else:
            wire.answer(self._device, request, data)

    def _fail_on_demand(self, op: Op) -> None:
        for fault in self._faults & _REFUSALS:
            if op in (_GROWS if fault in (Fault.EDQUOT, Fault.ENOSPC) else _CHANGES):
                raise OSError(getattr(errno, fault.name), fault)
        for fault, number in _OF_OP.get(op, {}).items():
            if fault in self._faults:
                raise OSError(number, fault)

    # Names.

    def _path(self, node: int, name: bytes | None = None) -> bytes:
        folder = self._paths[node]
        if name is None:
            return folder
        if Fault.ODD_NAMES in self._faults and (FORBIDDEN & set(name) or name.endswith((b".", b" "))):
            raise OSError(errno.EINVAL, "a name that is not allowed")
        wanted = self._folded(name)
        if wanted != name or self._faults & {Fault.FOLD_CASE, Fault.FOLD_UNICODE}:
            name = next((each for each in os.listdir(folder) if self._folded(each) == wanted), name)
        return folder + b"/" + name

    def _folded(self, name: bytes) -> bytes:
        text = os.fsdecode(name)
        if Fault.FOLD_UNICODE in self._faults:
            text = unicodedata.normalize("NFC", text)
        return os.fsencode(text.lower() if Fault.FOLD_CASE in self._faults else text)

    def _entry(self, path: bytes) -> bytes:
        status = os.lstat(path)
        if path not in self._nodes:
            self._last_node += 1
            self._nodes[path] = self._last_node
            self._paths[self._last_node] = path
        return wire.entry_out(self._nodes[path], self._mode(status), status)

    def _moved(self, old: bytes, new: bytes | None) -> None:
        """Give the nodes at and below `old` their new paths; `None`: it was removed, and its name is free."""
        if new is None:
            self._nodes.pop(old, None)
            return
        self._nodes.pop(new, None)
        for path, node in list(self._nodes.items()):
            if path == old or path.startswith(old + b"/"):
                del self._nodes[path]
                self._paths[node] = moved = new + path.removeprefix(old)
                self._nodes[moved] = node
        self._handles = {fd: new + p.removeprefix(old) if _is_below(p, old) else p for fd, p in self._handles.items()}

    def _attributes(self, status: os.stat_result) -> bytes:
        return wire.attr_out(self._mode(status), status)

    def _mode(self, status: os.stat_result) -> int:
        return status.st_mode | (0o777 if Fault.ALWAYS_OPEN in self._faults else 0)

    def _created(self, path: bytes, request: Request) -> bytes:
        os.lchown(path, request.uid, request.gid)
        return self._entry(path)

    # Operations, each by the name that the protocol gives it.

    def do_init(self, request: Request) -> bytes:
        asks = self._faults & {Fault.FLOCK_REFUSED, Fault.FLOCK_SHARED}
        return wire.init_out(wire.FLOCK_LOCKS if asks else 0)

    def do_lookup(self, request: Request) -> bytes:
        return self._entry(self._path(request.node, request.names()[0]))

    def do_getattr(self, request: Request) -> bytes:
        flags, _, handle = request.fields("<IIQ")
        return self._attributes(os.fstat(handle) if flags & 1 else os.lstat(self._path(request.node)))

    def do_setattr(self, request: Request) -> bytes:
        valid, _, handle, size, *_, mode, _, uid, gid, _ = request.fields("<II6Q8I")
        target = handle if valid & 64 else self._path(request.node)
        if valid & 1 and Fault.CHMOD_IGNORED not in self._faults:
            if Fault.CHMOD_REFUSED in self._faults:
                raise OSError(errno.EPERM, "chmod")
            os.chmod(target, stat.S_IMODE(mode))
        if valid & (2 | 4):
            os.chown(target, uid if valid & 2 else -1, gid if valid & 4 else -1)
        if valid & 8:
            os.truncate(target, size)
        return self._attributes(os.stat(target) if isinstance(target, int) else os.lstat(target))

    def do_readlink(self, request: Request) -> bytes:
        return os.readlink(self._path(request.node))

    def do_symlink(self, request: Request) -> bytes:
        name, target = request.names()
        os.symlink(target, path := self._path(request.node, name))
        return self._created(path, request)

    def do_mknod(self, request: Request) -> bytes:
        mode, *_ = request.fields("<I")
        os.mknod(path := self._path(request.node, request.names(16)[0]), mode)
        return self._created(path, request)

    def do_mkdir(self, request: Request) -> bytes:
        mode, _ = request.fields("<II")
        os.mkdir(path := self._path(request.node, request.names(8)[0]), mode)
        return self._created(path, request)

    def do_unlink(self, request: Request) -> bytes:
        path = self._path(request.node, request.names()[0])
        if Fault.SILLY_RENAME in self._faults and path in self._handles.values():
            folder, name = os.path.split(path)
            silly = os.path.join(folder, b".fuse_hidden-" + name)
            os.rename(path, silly)
            self._moved(path, silly)
        else:
            os.unlink(path)
            self._moved(path, None)
        return b""

    def do_rmdir(self, request: Request) -> bytes:
        os.rmdir(path := self._path(request.node, request.names()[0]))
        self._moved(path, None)
        return b""

    def do_rename(self, request: Request, skip: int = 8) -> bytes:
        old_name, new_name = request.names(skip)
        old, new = self._path(request.node, old_name), self._path(request.fields("<Q")[0], new_name)
        if os.path.isdir(old):
            if Fault.RENAME_FOLDER in self._faults:
                raise OSError(errno.EPERM, "rename")
            if Fault.RENAME_OPEN in self._faults and any(_is_below(path, old) for path in self._handles.values()):
                raise OSError(errno.EACCES, "rename")
        elif Fault.RENAME_FILE in self._faults:
            raise OSError(errno.EPERM, "rename")
        os.rename(old, new)
        self._moved(old, new)
        return b""

    def do_rename2(self, request: Request) -> bytes:
        return self.do_rename(request, skip=16)

    def do_link(self, request: Request) -> bytes:
        os.link(self._path(request.fields("<Q")[0]), path := self._path(request.node, request.names(8)[0]))
        return self._entry(path)

    def _open_path(self, path: bytes, flags: int, mode: int = 0) -> bytes:
        keep = os.O_ACCMODE | os.O_TRUNC | os.O_CREAT | os.O_EXCL
        handle = os.open(path, (flags & keep) | os.O_CLOEXEC, mode)
        self._handles[handle] = path
        return wire.open_out(handle)

    def do_open(self, request: Request) -> bytes:
        return self._open_path(self._path(request.node), request.fields("<I")[0])

    def do_create(self, request: Request) -> bytes:
        flags, mode, *_ = request.fields("<IIII")
        path = self._path(request.node, request.names(16)[0])
        opened = self._open_path(path, flags | os.O_CREAT, mode)
        return self._created(path, request) + opened

    def do_read(self, request: Request) -> bytes:
        handle, offset, size, *_ = request.fields("<QQI")
        return os.pread(handle, size, offset)

    def do_write(self, request: Request) -> bytes:
        handle, offset, size, *_ = request.fields("<QQI")
        written = os.pwrite(handle, request.body[40 : 40 + size], offset)
        return written.to_bytes(8, "little")

    def do_statfs(self, request: Request) -> bytes:
        return wire.statfs_out(os.statvfs(self._paths[ROOT_NODE]))

    def do_release(self, request: Request) -> bytes:
        handle = request.fields("<Q")[0]
        path = self._handles.pop(handle, b"")
        os.close(handle)
        if os.path.basename(path).startswith(b".fuse_hidden-"):
            os.unlink(path)
        return b""

    def do_fsync(self, request: Request) -> bytes:
        os.fsync(request.fields("<Q")[0])
        return b""

    def do_readdir(self, request: Request) -> bytes:
        _, offset, size, *_ = request.fields("<QQI")
        return wire.entries_out([b".", b"..", *sorted(os.listdir(self._path(request.node)))], offset, size)

    def do_fallocate(self, request: Request) -> bytes:
        handle, offset, length, *_ = request.fields("<QQQ")
        os.posix_fallocate(handle, offset, length)
        return b""

    def do_nothing(self, request: Request) -> bytes:
        return b""

    def do_opendir(self, request: Request) -> bytes:
        return wire.open_out(0)

    do_flush = do_releasedir = do_fsyncdir = do_setlk = do_setlkw = do_nothing


def _is_below(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder + b"/")


def main() -> None:
    backing, folder, faults = map(Path, sys.argv[1:])
    server = FaultyFs(wire.mount(folder), backing, faults)
    os.umask(0)
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    server.serve()


if __name__ == "__main__":
    main()
