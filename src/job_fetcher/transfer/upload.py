"""One file up: streamed, in bounded memory, verified.

A transfer tries for as long as it takes (`core.retry`), and raises `JobFailed` for what no patience changes.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO

import requests
from urllib3.filepost import encode_multipart_formdata

from job_fetcher.core import retry
from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import InvalidAnswer, JobFailed, Unavailable
from job_fetcher.platform import http
from job_fetcher.transfer.presigned import BLOCK, PresignedRequest, Refusals
from job_fetcher.workspace.disk import GIB

log = logging.getLogger(__name__)

MAX_UPLOAD = 5 * GIB
"""S3's limit on the file of a form POST, in bytes (Amazon S3 User Guide, "POST Object")."""

INVALID_FOR_S = 3600.0
"""What a job has made is not given up while something else (a proxy, a log-in page) answers in the storage's place."""

_DIFFERENCES_IN_A_ROW = 3
"""An `ETag` that looks like an MD5 and differs so often is none."""

_MD5 = re.compile(r"[0-9a-f]{32}")


class _FormBody:
    """A multipart/form-data body: the fields, then `file`, read in blocks as it is sent (RFC 7578).

    Its length is known beforehand, so that it is sent with `Content-Length`, as S3 demands. If the file has become
    shorter meanwhile, the rest is zeros; if longer, it is cut. `md5` is that of the file as it was sent.
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
        self._file.seek(0)
        left = self._size
        while left:
            self._cancelled.check()
            try:
                block = self._file.read(min(BLOCK, left)) or bytes(min(BLOCK, left))
            except OSError as error:  # which would else pass for one of the connection's, to be tried again
                raise JobFailed(f"it cannot be read: {error.strerror}") from error
            left -= len(block)
            self.md5.update(block)
            yield block
        yield self._tail


def _is_other(response: requests.Response, md5: str) -> bool:
    """Whether the answer tells another MD5 than `md5`: an `ETag` is one on S3, unless KMS encrypts (S3 API, "ETag")."""
    etag = response.headers.get("ETag", "").strip('"')
    by_kms = "kms" in response.headers.get("x-amz-server-side-encryption", "")
    return not by_kms and bool(_MD5.fullmatch(etag)) and etag != md5


def upload(
    presigned: PresignedRequest,
    name: str,
    file: BinaryIO,
    *,
    cancelled: Cancellation,
    when_failed: Callable[[Unavailable], None] = lambda _: None,
) -> None:
    """Send the open `file` as `name`, with the form that the API has handed out for its folder.

    Raises `JobFailed` if the file is larger than S3 takes, or the storage refuses it.
    """
    size = file.seek(0, os.SEEK_END)
    if size > MAX_UPLOAD:
        raise JobFailed(f"it is {size / GIB:.2f} GiB large, and the storage takes {MAX_UPLOAD / GIB:.0f} GiB at most")
    refusals = Refusals()
    differences: list[str] = []

    def send() -> None:
        form = presigned.get(refusals.last)
        body = _FormBody(form.data, name, file, size, cancelled)
        headers = {**form.headers, "Content-Type": body.content_type, "Content-Length": str(len(body))}
        try:
            response = http.send(form.method, form.url, headers=headers, body=body)
        except http.UnusableRequest as error:
            raise JobFailed(f"the API handed out an address that cannot be used ({error})") from None
        if response.status_code in (401, 403):
            raise refusals.add(form, response)
        if response.status_code == 400 and "<Code>RequestTimeout</Code>" in http.said(
            response, 1000
        ):  # S3's word for a slow line
            raise Unavailable("the storage waited too long for the next bytes", status=400)
        if response.status_code >= 400:
            raise JobFailed(f"the storage answered {response.status_code}: {http.said(response)}")
        if response.status_code >= 300 or (response.status_code == 200 and "ETag" not in response.headers):
            refusals.last = form  # a new one may lead to where it should
            raise InvalidAnswer(f"the storage answered {response.status_code}, neither 201 nor 204")
        if _is_other(response, body.md5.hexdigest()):
            differences.append(response.headers["ETag"])
            if len(differences) < _DIFFERENCES_IN_A_ROW:
                raise Unavailable("the storage has received something else than was sent")
            log.warning("The storage's ETags are no MD5s: what arrives is not verified")

    retry.retrying(cancelled, invalid_for_s=INVALID_FOR_S, when_failed=when_failed)(send)
