"""The text files that a job writes into its log folder while it runs: looked at without following a link."""

import os
import posixpath
import stat
from collections import deque
from collections.abc import Collection
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from job_fetcher.transfer.job_files import JobFiles, NameBudget
from job_fetcher.workspace.disk import is_broken

MAX_LOOKED_AT = 1_000
"""Files and folders of a log folder that are looked at: a job may write any number of them."""
MAX_DEPTH = 20
"""Folders of it that lie deeper are left to the complete logs."""
TEXT_BYTES = 8_192
"""A file that has no NUL in its first bytes is a text (as grep and git take it)."""


@dataclass(frozen=True)
class LogFile:
    """A file of the log folder: its path in the job's files, and what changes when it is written to."""

    path: str
    version: tuple[int, int, int]
    """Inode, bytes, and the time of the last change in nanoseconds."""

    @property
    def size(self) -> int:
        return self.version[1]

    @property
    def changed_ns(self) -> int:
        return self.version[2]


class LogFolder:
    """The folder `name` of a job's `files`. `inputs` are the paths of its inputs, which are no logs."""

    def __init__(self, files: Path, name: str, inputs: Collection[str] = ()) -> None:
        self._files = JobFiles(files, NameBudget())
        self._name, self._inputs = name, inputs

    def look(self) -> list[LogFile]:
        """Its regular files that are not empty, the newest first. Raises `OSError` if the disk fails."""
        found: list[LogFile] = []
        folders, left = deque([self._name]), MAX_LOOKED_AT
        while folders and left > 0:
            folder = folders.popleft()
            try:
                left = self._look_into(folder, left, found, folders)
            except OSError as error:  # a link, no folder, gone, closed to this worker
                if is_broken(error):
                    raise
        logs = [each for each in found if each.path not in self._inputs]
        return sorted(logs, key=lambda each: each.changed_ns, reverse=True)

    def open(self, path: str) -> AbstractContextManager[BinaryIO]:
        """A file that `look` gave; raises `OSError` if it is not there as a regular file any more."""
        return self._files.open(path)

    def _look_into(self, folder: str, left: int, found: list[LogFile], folders: deque[str]) -> int:
        """Add the files of a folder to `found` and its folders to `folders`. Returns how many may still be seen."""
        descriptor = self._files.open_folder(folder)
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    left -= 1
                    if left < 0:
                        break
                    path = posixpath.join(folder, entry.name)
                    with suppress(FileNotFoundError):
                        _sort(path, entry.stat(follow_symlinks=False), found, folders)
        finally:
            os.close(descriptor)
        return left


def _sort(path: str, status: os.stat_result, found: list[LogFile], folders: deque[str]) -> None:
    """Add what is at `path` to the files that were `found`, or to the `folders` to look into."""
    if not path.isprintable():  # odd names, and such as are not UTF-8, come with the complete logs, or are left out
        return
    if stat.S_ISDIR(status.st_mode) and path.count("/") < MAX_DEPTH:
        folders.append(path)
    elif stat.S_ISREG(status.st_mode) and status.st_size:
        found.append(LogFile(path, (status.st_ino, status.st_size, status.st_mtime_ns)))


def is_text(file: BinaryIO) -> bool:
    """Whether an open file looks like a text, in whatever encoding without NULs."""
    file.seek(0)
    return b"\0" not in file.read(TEXT_BYTES)
