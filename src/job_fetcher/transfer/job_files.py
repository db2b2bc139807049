"""A job's files as the worker opens them: inside the job's folder only, whatever links the job has laid.

Whoever submits a job decides what lies there; the worker that reads it holds credentials. So the kernel never follows
a link: the worker opens each component of each path by itself, relative to the folder above it, with `O_NOFOLLOW`. It
opens only directories and regular files. A link is followed by walking its text in the same way, and only
within the job's own files.
"""

import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_DEPTH = 200
"""Folders deeper than this are left out: each level costs an open descriptor."""
MAX_LINKS = 10
"""In one path: more than anybody needs, few enough for a folder full of rings."""
MAX_NAME_BYTES = 128 << 20
"""Bytes for all that a job has left, besides the files' content: some hundred thousand names fill them."""

_LINK_OVERHEAD = 10_000  # for the time that it takes to follow one
_MOUNTED = "/files"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class NotFollowed(Exception):
    """A path leads to nothing that a worker reads; the message says why, as the end of a sentence."""


class NameBudget:
    """For names and links, whose numbers could else fill a worker's memory, or take its time."""

    def __init__(self) -> None:
        self._left = MAX_NAME_BYTES

    def take(self, size: int) -> bool:
        """Take that much of it; False when there is none left."""
        self._left -= size
        return self._left >= 0


@dataclass(frozen=True)
class Place:
    """A path in the job's files without a link in it (empty: all of them), and what is there."""

    path: str
    status: os.stat_result

    def contains(self, path: str) -> bool:
        """Whether `path`, which has no link in it either, is this place or below it."""
        return not self.path or path == self.path or path.startswith(f"{self.path}/")


class JobFiles:
    """The files of a job, which its container has as `/files`. No link leads below `max_depth` folders."""

    def __init__(self, root: Path, budget: NameBudget, max_depth: int = MAX_DEPTH) -> None:
        self._root, self._budget, self._max_depth = root, budget, max_depth

    def resolve(self, path: str) -> Place:
        """Where `path` leads, link by link.

        Raises `NotFollowed` if a link on the way leads out of the job's files, to nothing or in a ring. Raises
        `FileNotFoundError` if nothing is there without any link.
        """
        real: list[str] = []
        pending = deque(path.split("/"))
        links = 0
        at = self.open_folder("")
        status = os.fstat(at)
        try:
            while pending:
                part = pending.popleft()
                if part in ("", "."):
                    continue
                if part == "..":
                    if not real:
                        raise NotFollowed("is a link that leads out of the job's files")
                    real.pop()
                    at = _moved(at, self.open_folder("/".join(real)))
                    status = os.fstat(at)
                    continue
                status = _status(part, at, has_links=links > 0)
                if stat.S_ISLNK(status.st_mode):
                    links += 1
                    target = self._target(part, at, links)
                    if target.startswith("/"):
                        real, at = [], _moved(at, self.open_folder(""))
                    status = os.fstat(at)
                    pending.extendleft(reversed(target.split("/")))
                    continue
                real.append(part)
                if len(real) > self._max_depth:
                    raise NotFollowed(f"leads deeper than {MAX_DEPTH} folders")
                if stat.S_ISDIR(status.st_mode):
                    at = _moved(at, open_directory(part, at))
                elif not {"", "."}.issuperset(pending):
                    raise NotFollowed("leads through a file")
        finally:
            os.close(at)
        return Place("/".join(real), status)

    def _target(self, name: str, above: int, links: int) -> str:
        """The text of a link, beginning with a slash for the job's own files."""
        if links > MAX_LINKS or not self._budget.take(_LINK_OVERHEAD):
            raise NotFollowed("is a link in a ring, or in a chain of too many")
        target = os.readlink(name, dir_fd=above)
        if not target.startswith("/"):
            return target
        if target != _MOUNTED and not target.startswith(f"{_MOUNTED}/"):  # as the job saw it
            raise NotFollowed("is a link that leads out of the job's files")
        return target.removeprefix(_MOUNTED) or "/"

    def open_folder(self, path: str) -> int:
        """A descriptor of the folder at `path`, in which no component may be a link."""
        try:
            descriptor = os.open(self._root, _DIRECTORY)
        except PermissionError:
            self._root.chmod(0o777)
            descriptor = os.open(self._root, _DIRECTORY)
        _let_enter(descriptor)
        for part in filter(None, path.split("/")):
            try:
                below = open_directory(part, descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """The regular file at `path`, in which no component may be a link; raises `OSError` if it is not there."""
        folder, _, name = path.rpartition("/")
        above = self.open_folder(folder)
        try:
            descriptor = _open_regular(name, above)
        finally:
            os.close(above)
        try:
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
                yield file
        finally:
            os.close(descriptor)


def open_directory(name: str, above: int) -> int:
    """A descriptor of the folder `name`, which may not be a link, in the folder `above`."""
    descriptor = _open(name, _DIRECTORY, above)
    _let_enter(descriptor)
    return descriptor


def _let_enter(descriptor: int) -> None:
    """Take the right to open what is in a folder: a worker that is not root may have the right to list it alone."""
    mode = os.fstat(descriptor).st_mode
    if not mode & stat.S_IXUSR:
        with suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(mode) | 0o700)


def _open_regular(name: str, above: int) -> int:
    """Open a file that was regular when the outputs were listed; what has replaced it since is not read."""
    if stat.S_ISREG(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
        descriptor = _open(name, _FILE, above)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
    raise FileNotFoundError("it was replaced")


def _open(name: str, flags: int, above: int) -> int:
    """Open `name` in the folder `above`, and take the right to read it if its owner is this worker, who is not root."""
    try:
        return os.open(name, flags, dir_fd=above)
    except PermissionError:
        with suppress(OSError):
            _take_right_to_read(name, above)
        return os.open(name, flags, dir_fd=above)


def _take_right_to_read(name: str, above: int) -> None:
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # no descriptor for reading: changed by its name in /proc
            Path(f"/proc/self/fd/{descriptor}").chmod(stat.S_IMODE(mode) | 0o700)
    finally:
        os.close(descriptor)


def _status(name: str, above: int, *, has_links: bool) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=above, follow_symlinks=False)
    except FileNotFoundError:
        if has_links:
            raise NotFollowed("is a link to nothing") from None
        raise


def _moved(old: int, new: int) -> int:
    os.close(old)
    return new
