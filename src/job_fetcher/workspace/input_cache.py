"""Inputs of earlier jobs, kept for the next job that is given the same file: a cache on the disk of PATH_BASE.

::

    PATH_BASE/
      .cache/                   only the worker's own user can look into it
        .new-…/                 an entry that is not complete yet
        .old-…/                 an entry that is on its way out
        <owner>-<file>-<version>/   digests: of account and API, of the file's id, of its version; an entry
          content
          version.json          `Version`

An entry appears complete, by a rename, and never changes. Its own time stamp is that of its last use, that of `content`
when it came from the storage. Several workers share the folder without a lock: who comes second drops his copy.
"""

import hashlib
import logging
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from job_fetcher.core.background import Cancellation
from job_fetcher.core.job import Model
from job_fetcher.workspace.disk import free_bytes, is_there, remove_tree, sync, sync_names, write_durably

STALE_S = 3600.0
"""A worker that was killed has left a `.new-…` folder in which nothing was written for so long."""
STRIDE = 1 << 30
"""Bytes that one copy_file_range(2) takes: between two of them a copy can be cancelled."""
DAY_S = 86400.0

log = logging.getLogger(__name__)


class Version(Model):
    """What the storage told of a file: its strong `ETag` (RFC 9110, 8.8.1) and its bytes."""

    etag: str = Field(min_length=1)
    size: int = Field(gt=0)


@dataclass(frozen=True)
class Entry:
    """A file in the cache: its folder, its version, when it was fetched and used last, in seconds since the epoch."""

    folder: Path
    version: Version
    fetched_at: float
    used_at: float

    def copy_to(self, target: Path, cancelled: Cancellation) -> bool:
        """Copy the content to `target`; False if it has left the cache meanwhile. Raises `OSError` of the disk."""
        try:
            source = (self.folder / "content").open("rb")
        except FileNotFoundError:
            return False
        with source, target.open("wb") as file:
            copied = copy(source.fileno(), file.fileno(), cancelled)
        with suppress(OSError):
            os.utime(self.folder)
        return copied == self.version.size


class InputCache:
    """The cache below `base` (PATH_BASE) of `owner`, an account at an API.

    All owners together get `max_bytes`. An entry leaves it `max_age_s` seconds after it was fetched. The least recently
    used entries go first. The cache never takes room that would leave less than `min_free` bytes of the disk free.
    """

    def __init__(self, base: Path, owner: str, max_bytes: int, *, max_age_s: float = 7 * DAY_S, min_free: int = 0):
        self._folder = base / ".cache"
        self._owner = _digest(owner)
        self._max_bytes, self._max_age_s, self._min_free = max_bytes, max_age_s, min_free

    def find(self, file_id: str) -> Entry | None:
        """The entry of a file, if there is one. Whether it is still the storage's version, only the storage knows."""
        return next(filter(None, map(_read, self._folders(f"{self._name(file_id)}-*"))), None)

    def keep(self, file_id: str, content: Path, version: Version, cancelled: Cancellation) -> None:
        """Keep a copy of `content`, a file as it came from the storage. Without room, or on a bad disk, keeps none."""
        if version.size > self._max_bytes:
            return
        making = self._folder / f".new-{uuid.uuid4().hex}"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            held = sum(entry.version.size for entry in self.entries())
            if free_bytes(self._folder.parent) + held - version.size < self._min_free:
                return  # not even in place of all others
            self.make_room(version.size)
            if free_bytes(self._folder.parent) - version.size < self._min_free:
                return
            making.mkdir(mode=0o700)
            self._fill(making, content, version, cancelled)
            self.remove(file_id)
            making.rename(self._folder / f"{self._name(file_id)}-{_digest(version.model_dump_json())}")
            sync_names(self._folder)
        except OSError as error:
            log.warning("The worker cannot keep an input in its cache: %s", error.strerror or error)
        finally:
            remove_tree(making)

    def remove(self, file_id: str) -> None:
        """Remove the entry of a file: the storage has the file no more, or does not give it to this account."""
        for folder in self._folders(f"{self._name(file_id)}-*"):
            _discard(folder)

    def make_room(self, wanted: int = 0, *, on_disk: int | None = None) -> None:
        """Remove what is too old, and the least recently used entries until `wanted` bytes more fit into the cache.

        `on_disk`: and until so many bytes of the disk are free, `min_free` if it is not given.
        """
        on_disk = self._min_free + wanted if on_disk is None else on_disk
        entries = sorted(self.entries(), key=lambda entry: entry.used_at)
        now = time.time()
        held = sum(entry.version.size for entry in entries)
        for entry in entries:
            is_old = not 0 <= now - entry.fetched_at <= self._max_age_s
            if is_old or held + wanted > self._max_bytes or free_bytes(self._folder.parent) < on_disk:
                _discard(entry.folder)
                held -= entry.version.size
        self._remove_unfinished(now)

    def entries(self) -> list[Entry]:
        """All entries, of every owner."""
        return list(filter(None, map(_read, self._folders("[!.]*"))))

    def clear(self) -> None:
        """Remove all of the cache."""
        remove_tree(self._folder)

    def _fill(self, folder: Path, content: Path, version: Version, cancelled: Cancellation) -> None:
        with content.open("rb") as source, (folder / "content").open("wb") as file:
            if copy(source.fileno(), file.fileno(), cancelled) != version.size:
                raise OSError("the input has another size than the storage told")
            sync(file.fileno())
        write_durably(folder / "version.json", version.model_dump_json())

    def _remove_unfinished(self, now: float) -> None:
        for folder in self._folders(".old-*"):
            remove_tree(folder)
        for folder in self._folders(".new-*"):
            with suppress(OSError):
                written_at = max(each.stat().st_mtime for each in [folder, *folder.iterdir()])
                if now - written_at > STALE_S:
                    remove_tree(folder)

    def _folders(self, pattern: str) -> Iterator[Path]:
        with suppress(OSError):
            yield from sorted(self._folder.glob(pattern))

    def _name(self, file_id: str) -> str:
        return f"{self._owner}-{_digest(file_id)}"


def copy(source: int, target: int, cancelled: Cancellation) -> int:
    """Copy a file between two open descriptors; returns its bytes. Shares the blocks where the file system can.

    copy_file_range(2) does so on btrfs and xfs. Where it is not there, the bytes are read and written.
    """
    copied = 0
    while True:
        cancelled.check()
        try:
            count = os.copy_file_range(source, target, STRIDE)
        except OSError:
            if copied:
                raise
            return _copy_by_hand(source, target, cancelled)
        if not count:
            return copied
        copied += count


def _copy_by_hand(source: int, target: int, cancelled: Cancellation) -> int:
    copied = 0
    while block := os.read(source, 1 << 20):
        cancelled.check()
        left = memoryview(block)
        while left:
            left = left[os.write(target, left) :]
        copied += len(block)
    return copied


def _read(folder: Path) -> Entry | None:
    """The entry in `folder`; `None` if there is none, or none that is whole."""
    try:
        version = Version.model_validate_json((folder / "version.json").read_bytes())
        content, used_at = (folder / "content").stat(), folder.stat().st_mtime
    except (OSError, ValidationError):
        if is_there(folder):
            _discard(folder)
        return None
    if content.st_size != version.size:
        _discard(folder)
        return None
    return Entry(folder, version, content.st_mtime, used_at)


def _discard(folder: Path) -> None:
    """Take an entry out of the cache at once, and remove it. Whoever copies it keeps what he has open."""
    aside = folder.with_name(f".old-{uuid.uuid4().hex}")
    with suppress(OSError):
        folder.rename(aside)
        remove_tree(aside)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
