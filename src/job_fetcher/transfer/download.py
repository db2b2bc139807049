"""One input, from a storage host to disk: streamed, resumed, of the announced length; a large one in parallel ranges.

`Download.begin` fetches a small file whole, and of a large one the beginning; it then returns calls that fetch the
rest, for any threads. What has arrived is written down beside the part, so that a download that has begun is resumed,
by this process or a later one, and never begun again.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock

import requests
import urllib3

from job_fetcher.core import retry
from job_fetcher.core.background import Cancellation, Task
from job_fetcher.core.errors import InvalidAnswer, JobFailed, Unavailable
from job_fetcher.platform import http
from job_fetcher.transfer.presigned import BLOCK, PresignedRequest, Refusals
from job_fetcher.workspace.disk import GIB, free_bytes, is_full

LARGE = 64 << 20
"""From this many bytes on a file comes in parallel ranges, each about this large."""
CHANGED_S = 1.0
"""A file that is another one at each request is asked for so often."""
SPARE = 1 << 30
"""A file without an announced length may leave no less than so many bytes free."""
NOTED = 8 << 20
"""After this many bytes it is written down what has arrived."""


class _Changed(Exception):
    """The storage has another version of the file than the one that was begun."""


class Download:
    """The input `name`, by way of `part`, into `target`, which appears only when it is complete.

    `ask` gives the request to make. Every call raises `JobFailed`, naming the input, if there is no such file, the
    storage refuses it, or the disk is too full for it.
    """

    def __init__(self, name: str, request: PresignedRequest, target: Path, part: Path) -> None:
        self._name, self._request, self._target, self._part = name, request, target, part
        self._arrived = _Arrived(part.with_name(part.name + ".arrived"))
        self._host_knows_ranges = True
        self._unfinished = 0
        self._lock = Lock()

    def begin(self, cancelled: Cancellation) -> list[Task]:
        """Fetch the file, or the beginning of a large one; returns the calls that fetch the rest of that."""
        with self._named():
            while True:
                try:
                    rest = self._begin(cancelled)
                except _Changed:
                    self._arrived.forget()
                    cancelled.wait(CHANGED_S)
                else:
                    break
            self._unfinished = len(rest)
            if not rest:
                self._finish()
            return [partial(self._fetch_rest, start, end) for start, end in rest]

    def _begin(self, cancelled: Cancellation) -> list[tuple[int, int]]:
        """Fetch what is to be fetched before the rest can come in parallel; returns the ranges of that."""
        begun = self._arrived.load(self._part)
        if not begun and retry.retrying(cancelled)(self._fetch_first, Refusals(), cancelled):
            return []
        missing = self._arrived.missing()
        inline = 1 if self._arrived.size >= LARGE else len(missing)
        for start, end in missing[:inline]:
            self._fetch(start, end, cancelled)
        return missing[inline:]

    def _fetch_rest(self, start: int, end: int, cancelled: Cancellation) -> list[Task]:
        with self._named():
            try:
                self._fetch(start, end, cancelled)
            except _Changed:
                raise JobFailed("it was changed while it was fetched") from None
            with self._lock:
                self._unfinished -= 1
                if self._unfinished == 0:
                    self._finish()
            return []

    def _finish(self) -> None:
        self._part.rename(self._target)
        self._arrived.forget()

    def _fetch_first(self, refusals: Refusals, cancelled: Cancellation) -> bool:
        """The first request, which tells size and version; whether the file is complete with it.

        A host that knows no ranges sends all of it, and has to begin anew when that is cut.
        """
        with self._answer(f"bytes=0-{LARGE - 1}" if self._host_knows_ranges else "", refusals) as response:
            status, size = response.status_code, _size(response)
            if status == 416 and size == 0:  # nothing can be the first byte of an empty file
                self._part.write_bytes(b"")
                return True
            if status == 416 or (status == 206 and size is None):
                self._host_knows_ranges = False
                raise InvalidAnswer("the storage does not tell the length of the file")
            if size is None and not response.raw.chunked:  # a cut would pass for the end
                raise InvalidAnswer("the storage does not tell the length of the file")
            self._make_room(size)
            if status == 206 and size is not None:
                self._arrived.begin(size, _version(response))
                arrived, _ = self._save(response, 0, min(size, LARGE), cancelled)
                return arrived == size
            arrived, cut = self._save(response, 0, size, cancelled)
            if cut:
                raise Unavailable(f"the connection broke after {arrived} bytes")
            return True

    def _fetch(self, start: int, end: int, cancelled: Cancellation) -> None:
        """Fetch the bytes from `start` to before `end`, however often the connection breaks; raises `_Changed`."""
        refusals = Refusals()
        position = start

        def advance() -> None:
            nonlocal position
            with self._answer(f"bytes={position}-{end - 1}", refusals, self._arrived.version) as response:
                if response.status_code != 206 or _size(response) != self._arrived.size:
                    raise _Changed
                arrived, _ = self._save(response, position, end, cancelled)
            position += arrived
            if arrived < BLOCK and position < end:  # worth a wait only if nothing much has come
                raise Unavailable("the connection broke")

        while position < end:
            retry.retrying(cancelled)(advance)

    @contextmanager
    def _answer(self, wanted: str, refusals: Refusals, version: str = "") -> Iterator[requests.Response]:
        """The answer 200, 206 or 416 to a request for the range `wanted`; raises what any other status means."""
        request = self._request.get(refusals.last)
        headers = {**request.headers, "Accept-Encoding": "identity"} | ({"Range": wanted} if wanted else {})
        if version:
            headers["If-Range"] = version
        try:
            response = http.send(request.method, request.url, headers=headers, stream=True, redirects=True)
        except http.UnusableRequest as error:
            raise JobFailed(f"the API handed out an address that cannot be used ({error})") from None
        with response:
            status = response.status_code
            if status in (400, 401, 403):
                raise refusals.add(request, response)
            refusals.reset()
            if status == 404:
                raise JobFailed("the storage has no such file")
            if status not in (200, 206, 416):
                raise JobFailed(f"the storage answered {status}: {http.said(response)}")
            sent = response.headers.get("Content-Range", "").replace(" ", "=")
            if status == 206 and not sent.startswith(wanted.split("-")[0] + "-"):
                raise Unavailable("the storage sent another range than it was asked for", status=status)
            yield response

    def _make_room(self, size: int | None) -> None:
        """An empty part, with all of its room taken on the disk: what does not fit fails before the disk is full."""
        with self._part.open("wb") as file:
            if not size:
                return
            free = free_bytes(self._part.parent)
            if size > free:
                raise JobFailed(f"it needs {size / GIB:.2f} GiB, and the worker's disk has {free / GIB:.2f} GiB left")
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                raise _full_disk(error) from error

    def _save(
        self, response: requests.Response, start: int, end: int | None, cancelled: Cancellation
    ) -> tuple[int, bool]:
        """Write the body to the part from `start` on, up to `end`; returns how many bytes came, and if it was cut."""
        cut = False
        position = noted = start
        with self._part.open("r+b") as file:
            file.seek(start)
            try:
                for block in response.raw.stream(BLOCK, decode_content=False):
                    cancelled.check()
                    file.write(block if end is None else block[: end - position])
                    position += len(block)
                    if position - noted >= NOTED:
                        if end is None and free_bytes(self._part.parent) < SPARE:
                            raise JobFailed("it is of unknown length, and the worker's disk is nearly full")
                        file.flush()
                        self._arrived.add(noted, position)
                        noted = position
            except (urllib3.exceptions.HTTPError, requests.RequestException):
                cut = True
            except OSError as error:
                raise _full_disk(error) from error
        self._arrived.add(noted, position)
        return position - start, cut

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (JobFailed, Unavailable) as error:
            raise JobFailed(f"The input '{self._name}' cannot be fetched: {error}.") from error


class _Arrived:
    """Which bytes of a file have arrived, written down for a process that comes after this one.

    The file `path` has the size and the version (an `ETag` or a date, for `If-Range`, RFC 9110, 13.1.5) in its first
    line, and an interval in each other one. It is made only for a file that is worth it, of a known version.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._intervals: list[tuple[int, int]] = []
        self.size = 0
        self.version = ""

    def load(self, part: Path) -> bool:
        """Go on with what an earlier process has written down of `part`; whether there is such a thing."""
        try:
            head, *lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]  # behind the last \n: a line cut off
            known = json.loads(head)
            self.size, self.version = int(known["size"]), str(known["version"])
            self._intervals = [(int(start), int(end)) for start, end in map(str.split, lines)]
            is_here = part.stat().st_size == self.size
        except (OSError, ValueError, KeyError, TypeError):
            is_here = False
        if not is_here:
            self.forget()
        return is_here

    def begin(self, size: int, version: str) -> None:
        """Nothing has arrived yet of a file of `size` bytes."""
        self._intervals = []
        self.size, self.version = size, version
        if size > NOTED and version:
            self._path.write_text(json.dumps({"size": size, "version": version}) + "\n", encoding="utf-8")

    def add(self, start: int, end: int) -> None:
        """The bytes from `start` to before `end` are on disk."""
        with self._lock:
            self._intervals.append((start, end))
            if self._path.exists():
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{start} {end}\n")

    def missing(self) -> list[tuple[int, int]]:
        """What has not arrived, in ranges of at most `LARGE` bytes."""
        gaps = []
        position = 0
        for start, end in [*sorted(self._intervals), (self.size, self.size)]:
            gaps += [(at, min(at + LARGE, start)) for at in range(position, start, LARGE)]
            position = max(position, end)
        return gaps

    def forget(self) -> None:
        """Begin from nothing."""
        self._path.unlink(missing_ok=True)
        self._intervals = []
        self.size, self.version = 0, ""


def _size(response: requests.Response) -> int | None:
    """The length of the whole file in bytes, as the answer announces it."""
    if response.status_code == 200:
        return response.raw.length_remaining  # `Content-Length`, as urllib3 reads it, and later checks it
    length = response.headers.get("Content-Range", "").rpartition("/")[2]
    return int(length) if length.isdecimal() and len(length) < 19 else None  # Python reads no thousands of digits


def _version(response: requests.Response) -> str:
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _full_disk(error: OSError) -> Exception:
    if is_full(error):
        return JobFailed("the worker's disk is full")
    return JobFailed(f"it cannot be written: {error.strerror or error}")  # the connection's errors are urllib3's own
