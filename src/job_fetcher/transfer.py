"""One file down, one file up: streamed, in bounded memory, resumed where the server allows, verified.

Both ask for the request to make whenever they need one, since what the API hands out is valid for minutes only. Both
try for as long as it takes (`http.retrying`), and raise `JobFailed` for what no patience changes.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO

import requests
import urllib3
from urllib3.filepost import encode_multipart_formdata

from job_fetcher import http
from job_fetcher.background import Cancellation
from job_fetcher.errors import InvalidAnswer, JobFailed, Unavailable
from job_fetcher.job import RequestToMake
from job_fetcher.workspace import free_bytes, is_full

BLOCK = 1 << 20
"""Bytes read and written at a time: what a transfer holds in memory."""

GIB = 1 << 30

MAX_UPLOAD = 5 * GIB
"""S3's limit on the file of a form POST, in bytes (Amazon S3 User Guide, "POST Object")."""

_REFUSALS_IN_A_ROW = 3
"""A storage host answers an expired request with 400, 401 or 403: it is believed after so many new ones."""


class _Expired(Unavailable):
    """The storage refuses the request as it was handed out; a new one may be taken."""


def download(
    ask: Callable[[], RequestToMake],
    target: Path,
    part: Path,
    space: "Space",
    *,
    cancelled: Cancellation,
    when_failed: Callable[[Unavailable], None] = lambda _: None,
) -> None:
    """Fetch what `ask()` tells to request into `target`, by way of `part`, which is gone on with if it is there.

    `target` appears only when it is complete. Raises `JobFailed` if there is no such file, the storage refuses it, or
    the disk is too full for it.
    """
    refusals = _Refusals()
    advance = http.retrying(cancelled, when_failed=when_failed).wraps(_advance)
    while not advance(ask, part, space, refusals, cancelled):
        pass
    part.rename(target)
    _version_file(part).unlink(missing_ok=True)


class Space:
    """The room on a disk, for files that come in at the same time: what one of them announces is there for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._announced = 0
        self._lock = Lock()

    @contextmanager
    def for_file(self, size: int) -> Iterator[Callable[[int], None]]:
        """Room for `size` bytes, or `JobFailed` before the disk is full; tell the function of what is written."""
        with self._lock:
            free = free_bytes(self._folder) - self._announced
            if size > free:
                raise JobFailed(f"it needs {size / GIB:.2f} GiB, and the worker's disk has {free / GIB:.2f} GiB left")
            self._announced += size
        left = size

        def written(count: int) -> None:
            nonlocal left
            with self._lock:
                count = min(count, left)
                left -= count
                self._announced -= count

        try:
            yield written
        finally:
            written(left)


class _Refusals:
    """Counts refusals in a row, so that an expired request is told from one that is refused for good."""

    def __init__(self) -> None:
        self._count = 0

    def none(self) -> None:
        self._count = 0

    def add(self, response: requests.Response) -> Unavailable:
        """The error that asks for a new request, as long as there is hope; else raises `JobFailed`."""
        self._count += 1
        status = response.status_code
        if self._count >= _REFUSALS_IN_A_ROW:
            raise JobFailed(f"the storage refuses it ({status}): {_said(response)}")
        return _Expired(f"the storage refuses the request ({status})", status=status)


def _advance(
    ask: Callable[[], RequestToMake], part: Path, space: Space, refusals: _Refusals, cancelled: Cancellation
) -> bool:
    """One request for the rest of `part`. True when it is complete, False when it was cut but came nearer.

    Raises `Unavailable` if nothing came: only that is worth a wait.
    """
    request = ask()
    start = part.stat().st_size if part.exists() else 0
    version_file = _version_file(part)
    if start and not version_file.exists():
        start = 0  # what is there cannot be told from another version of the file
    headers = {**request.headers, "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": version_file.read_text()}
    try:
        response = http.send(request.method, request.url, headers=headers, stream=True, redirects=True)
    except http.UnusableRequest as error:
        raise JobFailed(f"the API handed out an address that cannot be used ({error})") from None
    with response:
        if start and response.status_code == 416:  # nothing is left to send: all is there, or it is another file
            complete = response.headers.get("Content-Range") == f"bytes */{start}"
            if not complete:
                part.unlink()
            return complete
        start = _start_of(response, start, refusals)
        if response.raw.length_remaining is None and not response.raw.chunked:  # a cut would pass for the end, even
            raise InvalidAnswer("the storage does not tell the length of the file")  # one in the midst of the header
        if start == 0:
            part.unlink(missing_ok=True)  # first, lest a crash makes it a part of the version that comes now
            _remember_version(response, version_file)
        with space.for_file(_length(response, 0)) as written:
            return _save(response, part, start, written, cancelled)


def _start_of(response: requests.Response, asked: int, refusals: _Refusals) -> int:
    """Where the body of `response` begins in the file; raises what its status means if it is not the file."""
    status = response.status_code
    if status == 206:
        if not response.headers.get("Content-Range", "").startswith(f"bytes {asked}-"):
            raise Unavailable("the storage sent another range than it was asked for", status=status)
        refusals.none()
        return asked
    if status == 200:
        refusals.none()
        return 0
    if status == 404:
        raise JobFailed("the storage has no such file")
    if status in (400, 401, 403):
        raise refusals.add(response)
    raise JobFailed(f"the storage answered {status}: {_said(response)}")


def _save(
    response: requests.Response, part: Path, start: int, written: Callable[[int], None], cancelled: Cancellation
) -> bool:
    """Write the body to `part` from `start` on. True when it came whole, False when cut after at least a block."""
    size = 0
    with part.open("r+b" if part.exists() else "wb") as file:
        file.truncate(start)
        file.seek(start)
        try:
            for block in response.raw.stream(BLOCK, decode_content=False):
                cancelled.check()
                file.write(block)
                size += len(block)
                written(len(block))
        except (urllib3.exceptions.HTTPError, requests.RequestException) as error:
            if size >= BLOCK:
                return False
            raise Unavailable(f"the connection broke: {http.reason(error)}") from None
        except OSError as error:
            raise _full_disk(error) from error
    return True


def _version_file(part: Path) -> Path:
    """Beside a part: of which version of the file it is a part, for `If-Range` (RFC 9110, 13.1.5)."""
    return part.with_name(part.name + ".version")


def _remember_version(response: requests.Response, version_file: Path) -> None:
    etag = response.headers.get("ETag", "")
    version = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    if version and _length(response, BLOCK) >= BLOCK:  # else it is not worth a file
        version_file.write_text(version)
    else:
        version_file.unlink(missing_ok=True)


def _length(response: requests.Response, otherwise: int) -> int:
    """The announced length of the body in bytes; `otherwise` if there is none, or nonsense."""
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else otherwise


def _full_disk(error: OSError) -> Exception:
    if is_full(error):
        return JobFailed("the worker's disk is full")
    return Unavailable(f"the connection broke: {error.strerror or error}")


class _FormBody:
    """A multipart/form-data body: the fields, then `file`, read in blocks as it is sent (RFC 7578).

    Its length is known beforehand, so that it is sent with `Content-Length`, as S3 demands. If the file has become
    shorter meanwhile, the rest is zeros; if longer, it is cut.
    """

    def __init__(self, fields: dict[str, str], name: str, file: BinaryIO, size: int, cancelled: Cancellation) -> None:
        body, self.content_type = encode_multipart_formdata(
            [*fields.items(), ("file", (name, b"", "application/octet-stream"))]
        )
        end = b"\r\n--" + self.content_type.split("boundary=")[1].encode() + b"--\r\n"
        self._head, self._tail = body.removesuffix(end), end
        self._file, self._size, self._cancelled = file, size, cancelled

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        self._file.seek(0)
        left = self._size
        while left:
            self._cancelled.check()
            try:
                block = self._file.read(min(BLOCK, left)) or bytes(min(BLOCK, left))
            except OSError as error:  # which would else pass for one of the connection's, to be tried again
                raise JobFailed(f"it cannot be read: {error.strerror}") from error
            left -= len(block)
            yield block
        yield self._tail


def upload(
    ask: Callable[[RequestToMake | None], RequestToMake],
    name: str,
    file: BinaryIO,
    *,
    cancelled: Cancellation,
    when_failed: Callable[[Unavailable], None] = lambda _: None,
) -> None:
    """Send the open `file` as `name` with the form that `ask(refused)` gives, which is to be another than `refused`.

    Raises `JobFailed` if the file is larger than S3 takes, or the storage refuses it.
    """
    size = file.seek(0, os.SEEK_END)
    if size > MAX_UPLOAD:
        raise JobFailed(f"it is {size / GIB:.2f} GiB large, and the storage takes {MAX_UPLOAD / GIB:.0f} GiB at most")
    refusals = _Refusals()
    refused: RequestToMake | None = None

    def send() -> None:
        nonlocal refused
        form = ask(refused)
        body = _FormBody(form.data, name, file, size, cancelled)
        headers = {**form.headers, "Content-Type": body.content_type, "Content-Length": str(len(body))}
        try:
            response = http.send(form.method, form.url, headers=headers, body=body)
        except http.UnusableRequest as error:
            raise JobFailed(f"the API handed out an address that cannot be used ({error})") from None
        if response.status_code in (401, 403):
            refused = form
            raise refusals.add(response)
        if response.status_code == 400 and "<Code>RequestTimeout</Code>" in response.text:  # S3's word for a slow line
            raise Unavailable("the storage waited too long for the next bytes", status=400)
        if response.status_code >= 300:
            raise JobFailed(f"the storage answered {response.status_code}: {_said(response)}")

    http.retrying(cancelled, when_failed=when_failed)(send)


def _said(response: requests.Response) -> str:
    """The beginning of an error's body; storage hosts put the reason there, never a signature."""
    return " ".join(response.text[:200].split())
