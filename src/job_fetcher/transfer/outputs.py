"""Which files a job has left in an output folder, read without being tricked.

Whoever submits a job decides what lies there; the worker that reads it holds credentials. So nothing is followed:
each component of each path is opened by itself, relative to the folder above it, with `O_NOFOLLOW`, and only
directories and regular files are opened at all. A link may lead to a file of the same output folder, which is found by
walking the link's text in the same way.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_DEPTH = 200
"""Folders deeper than this are left out: each level costs an open descriptor."""

MAX_NAME_BYTES = 128 << 20
"""Bytes for all that a job has left, besides the files' content: some hundred thousand names fill them."""
MAX_LISTED_PATH = 500
"""Characters of a path in the list of what is left out."""

_NAME_OVERHEAD = 1_000
_LINK_OVERHEAD = 10_000  # for the time that it takes to follow one
_MAX_LINKS = 10  # in one path: more than anybody needs, few enough for a folder full of rings
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Output:
    """A file to upload: its path relative to the output folder, as the job named it, and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class LeftOut:
    """A file, or a whole folder, that is not uploaded, and why. `is_lost`: only because it cannot be read."""

    path: str
    reason: str
    is_lost: bool = False

    def line(self, folder: str) -> str:
        """A line for a list, with the odd characters of the path escaped."""
        beginning = f"{folder}/{self.path}"[: MAX_LISTED_PATH + 1]  # to escape all of a long one takes its time
        path = os.fsencode(beginning).decode(errors="backslashreplace")
        shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in path)
        return f"{shown if len(shown) <= MAX_LISTED_PATH else f'{shown[:MAX_LISTED_PATH]}…'}: {self.reason}\n"


class NameBudget:
    """For names and links, whose numbers could else fill a worker's memory, or its time."""

    def __init__(self) -> None:
        self._left = MAX_NAME_BYTES

    def take(self, size: int) -> bool:
        """Take that much of it; False when there is none left."""
        self._left -= size
        return self._left >= 0


class OutputFolder:
    """One output folder of a job: `name` relative to the job's `files`. Missing counts as empty.

    `budget` is for all folders of a job together.
    """

    def __init__(self, files: Path, name: str, budget: NameBudget | None = None) -> None:
        self._files = files
        self._parts = name.split("/")
        self._budget = budget or NameBudget()

    def walk(self) -> Iterator[Output | LeftOut]:
        """Every file below the folder, sorted by name within each folder, folders after files."""
        try:
            descriptor = self._open_folder(self._parts)
        except FileNotFoundError:
            return
        except OSError as error:
            yield _not_read("", "is not a folder of the job", error)
            return
        yield from self._walk(descriptor, "", 1)

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """The file that `walk` gave as `path`; raises `OSError` if it is not there as a regular file any more."""
        descriptor = self._open_file([*self._parts, *path.split("/")])
        try:
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
                yield file
        finally:
            os.close(descriptor)

    def _walk(self, descriptor: int, prefix: str, depth: int) -> Iterator[Output | LeftOut]:
        folders = []
        try:
            listed, all_of_them = self._list(descriptor, prefix)
            for name, status in listed:
                path, mode = prefix + name, status.st_mode
                if not _is_utf8(name):
                    yield LeftOut(path, "its name is not UTF-8")
                elif stat.S_ISDIR(mode):
                    folders.append(name)
                elif stat.S_ISREG(mode):
                    yield Output(path, status.st_size)
                elif stat.S_ISLNK(mode):
                    yield self._link(path)
                else:
                    yield LeftOut(path, f"is {_KINDS.get(stat.S_IFMT(mode), 'no regular file')}")
            if not all_of_them:
                yield LeftOut(prefix, "has more files than a worker looks at")
            for name in folders:
                yield from self._walk_into(descriptor, prefix, name, depth)
        except OSError as error:
            yield _not_read(prefix, "cannot be listed", error)
        finally:
            os.close(descriptor)

    def _list(self, descriptor: int, prefix: str) -> tuple[list[tuple[str, os.stat_result]], bool]:
        """What lies in a folder, by name, as far as there is room for it; and whether that is all of it."""
        listed: list[tuple[str, os.stat_result]] = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if not self._budget.take(len(prefix) + len(entry.name) + _NAME_OVERHEAD):
                    return sorted(listed), False
                with suppress(FileNotFoundError):
                    listed.append((entry.name, entry.stat(follow_symlinks=False)))
        return sorted(listed), True

    def _walk_into(self, above: int, prefix: str, name: str, depth: int) -> Iterator[Output | LeftOut]:
        path = prefix + name
        if depth >= MAX_DEPTH:
            yield LeftOut(path, f"is deeper than {MAX_DEPTH} folders")
            return
        try:
            descriptor = os.open(name, _DIRECTORY, dir_fd=above)
        except OSError as error:
            yield _not_read(path, "cannot be opened", error)
            return
        yield from self._walk(descriptor, path + "/", depth + 1)

    def _link(self, path: str) -> Output | LeftOut:
        try:
            with self.open(path) as file:
                return Output(path, file.seek(0, os.SEEK_END))
        except OSError:
            return LeftOut(path, "is a link that leads to no file of the same folder")

    def _open_folder(self, parts: list[str]) -> int:
        """A descriptor of the folder at `parts` of the job's files; no component may be a link."""
        descriptor = os.open(self._files, _DIRECTORY)
        for part in parts:
            try:
                below = os.open(part, _DIRECTORY, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = below
        return descriptor

    def _open_file(self, parts: list[str], links_left: int = _MAX_LINKS) -> int:
        """A descriptor of the regular file at `parts` of the job's files; a link is followed within the folder."""
        *folders, name = parts
        above = self._open_folder(folders)
        try:
            mode = os.stat(name, dir_fd=above, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                target = os.readlink(name, dir_fd=above)
            elif stat.S_ISREG(mode):
                return _open_regular(name, above)
            else:
                raise FileNotFoundError("no regular file")
        finally:
            os.close(above)
        if links_left == 0 or not self._budget.take(_LINK_OVERHEAD):
            raise FileNotFoundError("too many links")
        return self._open_file(self._inside(folders, target), links_left - 1)

    def _inside(self, folders: list[str], target: str) -> list[str]:
        """Where a link in `folders` with the text `target` leads, if that is in the same output folder."""
        if target.startswith("/"):  # as the job sees it
            if not target.startswith("/files/"):
                raise FileNotFoundError("leads out of the job's files")
            folders, target = [], target.removeprefix("/files/")
        parts = list(folders)
        for part in target.split("/"):
            if part == "..":
                if not parts:
                    raise FileNotFoundError("leads out of the job's files")
                parts.pop()
            elif part not in ("", "."):
                parts.append(part)
        if len(parts) > MAX_DEPTH + len(self._parts):
            raise FileNotFoundError("leads too deep")
        if parts[: len(self._parts)] != self._parts or len(parts) == len(self._parts):
            raise FileNotFoundError("leads out of the output folder")
        return parts


def _not_read(path: str, why: str, error: OSError) -> LeftOut:
    """A folder that cannot be read. Where no folder is, nothing is lost: a job may make a link, or a file, of it."""
    is_folder = error.errno not in (errno.ENOTDIR, errno.ELOOP)
    return LeftOut(path, f"{why} ({error.strerror})", is_lost=is_folder)


def _open_regular(name: str, above: int) -> int:
    """Open a file that has just been seen to be regular; what it was replaced by since is not read."""
    descriptor = os.open(name, _FILE, dir_fd=above)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError("it was replaced")


_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
