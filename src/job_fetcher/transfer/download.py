"""One input, from a storage host to disk: its metadata, a plan of ranges, the fetch of each range, the commit.

`Download.begin` fetches a small file whole, and of a large one the beginning. It returns calls that fetch the rest,
for any threads. What has arrived is noted beside the part (`arrived`), so that this process or a later one resumes the
download.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NoReturn

import requests
import tenacity
import urllib3

from job_fetcher.core import retry
from job_fetcher.core.background import Cancellation, Task
from job_fetcher.core.errors import InvalidAnswer, JobFailed, NoRoom, Unavailable
from job_fetcher.core.events import Moved, Planned, Transfer, tell
from job_fetcher.transfer import ranges
from job_fetcher.transfer.arrived import Arrived
from job_fetcher.transfer.presigned import BLOCK, PresignedRequest, Refusals, answer_to
from job_fetcher.transfer.ranges import First, Next, Range, Version
from job_fetcher.workspace.disk import GIB, free_bytes, is_broken, is_full, open_to_all
from job_fetcher.workspace.input_cache import Entry, InputCache
from job_fetcher.workspace.input_cache import Version as CachedVersion

LARGE = 64 << 20
"""A file of at least this many bytes comes in parallel ranges, each at most this large."""
MAX_VERSIONS = 10
"""A file that is another one at each request is given up after this many."""
CHANGED_S = 1.0
"""Seconds before a file that has changed is fetched anew."""
SPARE = 1 << 30
"""A file of unknown length leaves at least this many bytes of the disk free."""
NOTED = 8 << 20
"""After this many bytes the arrival of a range so far is noted."""


class Download:
    """The input `name`, by way of `part`, into `target`, which appears only when it is complete.

    `request` gives the request to make for the file `file_id`. `cache`, if given, may have the file of an earlier job,
    and gets a copy of this one by `keep`. Every other call raises `JobFailed`, naming the input: if there is no such
    file, the storage refuses it, or the disk is too full for it.
    """

    def __init__(
        self,
        name: str,
        request: PresignedRequest,
        target: Path,
        part: Path,
        file_id: str = "",
        cache: InputCache | None = None,
    ) -> None:
        self._name, self._request, self._target, self._part = name, request, target, part
        self._file_id, self._cache = file_id, cache
        self._arrived = Arrived(part.with_name(part.name + ".arrived"))
        self._is_committed = False
        self._fetched: CachedVersion | None = None
        self._lock = Lock()

    def begin(self, cancelled: Cancellation) -> list[Task]:
        """Fetch the file, or the beginning of a large one; returns the calls that fetch the rest."""
        with self._named():
            if self._copy_from_cache(cancelled):
                return []
            for _ in range(MAX_VERSIONS):
                if not self._arrived.load(self._part):
                    self._fetch_first(cancelled)
                plan = ranges.plan(self._arrived.size, self._arrived.ranges, LARGE)
                if all(self._fetch(each, cancelled) for each in plan.first):
                    self._commit_if_complete()
                    return [partial(self._fetch_rest, each) for each in plan.rest]
                self._arrived.forget()
                cancelled.wait(CHANGED_S)
            raise JobFailed(f"it is another file at each request ({MAX_VERSIONS} in a row)")

    def _fetch_rest(self, wanted: Range, cancelled: Cancellation) -> list[Task]:
        with self._named():
            if not self._fetch(wanted, cancelled):
                raise JobFailed("it was changed while it was fetched")
            self._commit_if_complete()
        return []

    def _commit_if_complete(self) -> None:
        with self._lock:
            arrived = self._arrived
            if self._is_committed or ranges.missing(arrived.size, arrived.ranges, LARGE):
                return
            etag, size = arrived.etag, arrived.size
            self._commit()
            arrived.forget()
            self._is_committed = True
            if size and etag and not etag.startswith("W/"):
                self._fetched = CachedVersion(etag=etag, size=size)

    def keep(self, cancelled: Cancellation) -> None:
        """Keep a copy for later jobs, if the file has been fetched. Call it when no other input needs the room."""
        if self._cache is not None and self._fetched is not None:
            self._cache.keep(self._file_id, self._target, self._fetched, cancelled)

    def _commit(self) -> None:
        try:
            open_to_all(self._part, 0o666)  # the container's user may not be the worker's
            self._part.rename(self._target)
        except OSError as error:
            _blame(error)

    def _copy_from_cache(self, cancelled: Cancellation) -> bool:
        """Take the file from the cache, if the storage says that it has this version still, and gives it to this job.

        The API is asked for the request to make as for any file: its answer is the permission.
        """
        entry = self._cache.find(self._file_id) if self._cache is not None else None
        if entry is None or self._cache is None:
            return False
        refusals = Refusals()
        try:
            ask = retry.retrying(cancelled, give_up=_is_not_implemented)
            if not ask(partial(self._is_current, entry, refusals)):
                return False
        except (JobFailed, Unavailable):  # the file is refused, or only such a question: fetching tells
            self._cache.remove(self._file_id)
            return False
        cancelled.check()
        self._arrived.forget()
        try:
            if not entry.copy_to(self._part, cancelled):
                return False
        except OSError as error:  # if the disk is to blame, fetching tells
            if not is_full(error):  # else it may fit once the cache has given its room, this entry's included
                self._cache.remove(self._file_id)
            return False
        self._commit()
        return True

    def _is_current(self, entry: Entry, refusals: Refusals) -> bool:
        """Ask the storage for one byte, unless it has the version in the cache.

        A 304 compares weakly (RFC 9110, 13.1.2): where it tells its `ETag`, that must be the strong one.
        """
        known = entry.version
        with answer_to(self._request, (0, 1), refusals, unless=known.etag) as (_, answer):
            if answer.status == 304:
                return answer.version.etag in ("", known.etag)
            return (answer.version.etag, answer.size) == (known.etag, known.size)

    def _fetch_first(self, cancelled: Cancellation) -> None:
        """Learn size and version of the file, with its first bytes; of a host without ranges, fetch all of it."""
        refusals = Refusals()

        def fetch_beginning() -> First:
            with answer_to(self._request, (0, LARGE), refusals) as (response, answer):
                cancelled.check()  # before the part is emptied: a later download of the file may be at it by now
                kind = ranges.first_answer(answer)
                size = answer.size
                if kind is First.ENDLESS:
                    raise InvalidAnswer("the storage does not tell the length of the file")
                if kind is First.WHOLE:
                    self._save_whole(response, size, cancelled)
                elif kind is not First.NO_RANGES and size is not None:
                    self._reserve(size)
                    self._arrived.begin(size, answer.version)
                    if kind is First.BEGINNING:
                        self._save(response, (0, min(size, LARGE)), cancelled)
                return kind

        def fetch_whole() -> None:
            with answer_to(self._request, None, refusals) as (response, answer):
                cancelled.check()
                if ranges.first_answer(answer) is not First.WHOLE:
                    raise InvalidAnswer("the storage sends neither ranges of the file nor the whole file")
                self._save_whole(response, answer.size, cancelled)

        if retry.retrying(cancelled)(fetch_beginning) is First.NO_RANGES:
            retry.retrying(cancelled)(fetch_whole)

    def _fetch(self, wanted: Range, cancelled: Cancellation) -> bool:
        """Fetch a range, however often the connection breaks. Returns False if the file is another one by now."""
        refusals = Refusals()
        position, end = wanted

        def advance() -> bool:
            nonlocal position
            with answer_to(self._request, (position, end), refusals, self._arrived.version) as (response, answer):
                kind = ranges.next_answer(answer, position, self._arrived.size, self._arrived.version)
                if kind is Next.CHANGED:
                    return False
                if kind is Next.OTHER_RANGE:
                    raise InvalidAnswer("the storage sent another range than it was asked for")
                self._arrived.learn(answer.version)
                arrived, _ = self._save(response, (position, end), cancelled)
            position += arrived
            if arrived < BLOCK and position < end:  # worth a wait only if hardly anything has come
                raise Unavailable("the connection broke")
            return True

        while position < end:
            if not retry.retrying(cancelled)(advance):
                return False
        return True

    def _reserve(self, size: int | None) -> None:
        """Make an empty part and reserve its `size` on the disk; `JobFailed` if the file does not fit."""
        with self._part.open("wb") as file:
            if not size:
                return
            tell(Planned(Transfer.DOWNLOAD, size))
            free = free_bytes(self._part.parent)
            if size > free and self._cache is not None:
                self._cache.make_room(on_disk=size)
                free = free_bytes(self._part.parent)
            if size > free:
                raise NoRoom(f"it needs {size / GIB:.2f} GiB, and the worker's disk has {free / GIB:.2f} GiB left")
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                _blame(error)

    def _save_whole(self, response: requests.Response, size: int | None, cancelled: Cancellation) -> None:
        self._reserve(size)
        arrived, is_cut = self._save(response, (0, size), cancelled)
        if is_cut:
            raise Unavailable(f"the connection broke after {arrived} bytes")
        self._arrived.begin(arrived, Version())
        self._arrived.add(0, arrived)

    def _save(
        self, response: requests.Response, wanted: tuple[int, int | None], cancelled: Cancellation
    ) -> tuple[int, bool]:
        """Write the body to its place in the part; returns how many bytes arrived, and whether it was cut."""
        start, end = wanted
        is_cut = False
        position = noted = start
        with self._part.open("r+b") as file:
            file.seek(start)
            try:
                for block in response.raw.stream(BLOCK, decode_content=False):
                    cancelled.check()
                    written = file.write(block if end is None else block[: end - position])
                    position += written
                    tell(Moved(Transfer.DOWNLOAD, written))
                    if position - noted >= NOTED:
                        if end is None and free_bytes(self._part.parent) < SPARE:
                            raise JobFailed("it is of unknown length, and the worker's disk is nearly full")
                        file.flush()
                        self._arrived.add(noted, position)
                        noted = position
            except (urllib3.exceptions.HTTPError, requests.RequestException):
                is_cut = True
            except OSError as error:
                _blame(error)
        self._arrived.add(noted, position)
        return position - start, is_cut

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (JobFailed, Unavailable) as error:
            kind = NoRoom if isinstance(error, NoRoom) else JobFailed
            raise kind(f"The input '{self._name}' cannot be fetched: {error}.") from error


def _is_not_implemented(state: tenacity.RetryCallState) -> bool:
    error = state.outcome.exception() if state.outcome else None
    return isinstance(error, Unavailable) and error.status == 501


def _blame(error: OSError) -> NoReturn:
    """Raise `JobFailed` for an error of the disk that the job is to blame for, the error itself for any other one."""
    if is_broken(error) or isinstance(error, FileNotFoundError):  # the machine's fault, or somebody removed the folder
        raise error
    if is_full(error):
        raise NoRoom("the worker's disk is full") from error
    raise JobFailed(f"it cannot be written: {error.strerror or error}") from error
