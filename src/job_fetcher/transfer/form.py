"""The form that takes an output: its fields for a name, its body as it is sent, the host that it is redirected to."""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
from urllib3.filepost import encode_multipart_formdata

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import InvalidAnswer, JobFailed
from job_fetcher.core.events import Moved, Transfer, tell
from job_fetcher.core.job import RequestToMake
from job_fetcher.platform import http
from job_fetcher.transfer.presigned import BLOCK

MAX_KEY = 1024
"""Bytes of a key on S3 (Amazon S3 User Guide, "Naming Amazon S3 objects")."""

_FILENAME = "${filename}"
"""What S3 replaces, in the field `key`, by the file's name (Amazon S3 API, "POST Object")."""
_CHANGED_BY_S3 = re.compile(r'[\\"%\x00-\x1f\x7f]')
"""S3 cuts a file's name at its last slash or backslash. Of the others, the header of a form has no plain spelling."""
_CHANGED_BY_OWN_STORE = re.compile(r'(?s)[\x00-\x7f]:\\|.*(?:\\\\|["\r\n])')
r"""python-multipart, which reads forms for FastAPI, cuts `C:\x` and `\\host\x` (Windows paths), and unescapes `\\`.

urllib3 writes `%22`, `%0D` and `%0A` for a quote, CR and LF. python-multipart leaves that so."""
_PORTS = {"http": 80, "https": 443}


def fields_for(form: RequestToMake, name: str) -> dict[str, str]:
    """The fields that let a file arrive under `name`: on S3 with the whole key where S3 would change the name.

    Raises `JobFailed` for a name that the storage would change all the same.
    """
    key = form.data.get("key")
    if key is None and _CHANGED_BY_OWN_STORE.match(name):
        raise JobFailed("the storage would change its name")
    if key is None or not key.endswith(_FILENAME):
        return form.data
    folder = key.removesuffix(_FILENAME)
    if _FILENAME in folder or _FILENAME in name:
        raise JobFailed(f"S3 would replace the '{_FILENAME}' in its path")
    if len((folder + name).encode()) > MAX_KEY:
        raise JobFailed(f"its path is too long: S3 takes keys of {MAX_KEY:,} bytes")
    return {**form.data, "key": folder + name} if _CHANGED_BY_S3.search(name) else form.data


def redirected(form: RequestToMake, response: requests.Response) -> RequestToMake | None:
    """`form` for the address that a 307 or 308 names, `None` for any other answer (RFC 9110, 15.4.8).

    A new bucket in another region answers so for hours. No header of `form` goes to another host. Raises `JobFailed`
    for an address without TLS in place of one with it, and `InvalidAnswer` for no address.
    """
    if response.status_code not in (307, 308):
        return None
    try:
        url = urljoin(form.url, response.headers.get("Location", ""))
        old, new = urlsplit(form.url), urlsplit(url)
        same_host = _origin(old) == _origin(new)
    except ValueError:
        raise _no_address(response) from None
    if url == form.url or new.scheme not in _PORTS or not new.hostname:
        raise _no_address(response)
    if (old.scheme, new.scheme) == ("https", "http"):
        raise JobFailed(f"the storage redirects it to {http.without_query(url)}, which is not encrypted")
    return form.model_copy(update={"url": url, "headers": form.headers if same_host else {}})


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or _PORTS.get(url.scheme)


def _no_address(response: requests.Response) -> InvalidAnswer:
    return InvalidAnswer(f"the storage answered {response.status_code} without an address to go to")


class FormBody:
    """A multipart/form-data body: the fields, then `file`, read in blocks as it is sent (RFC 7578).

    S3 demands `Content-Length`, so the length is known beforehand. If the file has become shorter meanwhile, the rest
    is zeros; if longer, it is cut. `md5` is that of the file as it was sent. A thread beside the sending one computes
    it, since both take a processor about equally long; hashlib lets go of the interpreter meanwhile.
    """

    def __init__(self, fields: dict[str, str], name: str, file: BinaryIO, size: int, cancelled: Cancellation) -> None:
        body, self.content_type = encode_multipart_formdata(
            [*fields.items(), ("file", (name, b"", "application/octet-stream"))]
        )
        end = b"\r\n--" + self.content_type.split("boundary=")[1].encode() + b"--\r\n"
        self._head, self._tail = body.removesuffix(end), end
        self._file, self._size, self._cancelled = file, size, cancelled
        self.md5 = hashlib.md5(usedforsecurity=False)

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        self.md5 = hashlib.md5(usedforsecurity=False)  # anew: a body may be sent twice
        yield self._head
        if self._size <= BLOCK:
            for block in self._blocks():
                self.md5.update(block)
                yield block
        else:
            with ThreadPoolExecutor(1, "upload-md5") as beside:
                hashing: Future[None] | None = None
                for block in self._blocks():
                    if hashing is not None:
                        hashing.result()  # one block behind at most: what waits is in memory
                    hashing = beside.submit(self.md5.update, block)
                    yield block
        yield self._tail

    def _blocks(self) -> Iterator[bytes]:
        self._file.seek(0)
        left = self._size
        while left:
            self._cancelled.check()
            try:
                block = self._file.read(min(BLOCK, left)) or bytes(min(BLOCK, left))
            except OSError as error:  # which would else pass for one of the connection's, to be tried again
                raise JobFailed(f"it cannot be read: {error.strerror}") from error
            left -= len(block)
            tell(Moved(Transfer.UPLOAD, len(block)))
            yield block
