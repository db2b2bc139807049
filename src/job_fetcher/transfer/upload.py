"""One file up: streamed, in bounded memory, verified."""

import logging
import os
import re
from collections.abc import Callable
from typing import BinaryIO

import requests
import tenacity

from job_fetcher.core import retry
from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import InvalidAnswer, JobFailed, NotThePlatform, Unavailable
from job_fetcher.core.job import RequestToMake
from job_fetcher.platform import http
from job_fetcher.transfer import storage_errors
from job_fetcher.transfer.form import FormBody, fields_for, redirected
from job_fetcher.transfer.presigned import PresignedRequest, Refusals
from job_fetcher.workspace.disk import GIB

log = logging.getLogger(__name__)

MAX_UPLOAD = 5 * GIB
"""S3's limit on the file of a form POST, in bytes (Amazon S3 User Guide, "POST Object")."""
MAX_REDIRECTS = 5
"""Of one upload, one after the other."""
INVALID_FOR_S = 3600.0
"""Seconds before an output is given up while something else (a proxy, a log-in page) answers for the storage."""

_DIFFERENCES_IN_A_ROW = 3
"""An `ETag` that looks like an MD5 is none if it differs this many times in a row."""

_MD5 = re.compile(r"[0-9a-f]{32}")


def upload(
    presigned: PresignedRequest,
    name: str,
    file: BinaryIO,
    *,
    cancelled: Cancellation,
    when_failed: Callable[[Unavailable], None] = lambda _: None,
    gives_up: Callable[[], bool] = lambda: False,
    once: bool = False,
) -> None:
    """Send the open `file` as `name`, with the form that the API has handed out for its folder.

    Tries for as long as it takes. Raises `JobFailed` if the file is larger than S3 takes, the storage refuses it, or
    would change its name. Raises `InvalidAnswer` if something else has answered for the storage for an hour. Once
    is enough if `gives_up` says that it has done so for another file. `once`: raises `Unavailable` instead of trying
    again.
    """
    size = file.seek(0, os.SEEK_END)
    if size > MAX_UPLOAD:
        raise JobFailed(f"it is {size / GIB:.2f} GiB large, and the storage takes {MAX_UPLOAD / GIB:.0f} GiB at most")
    refusals = Refusals()
    differences: list[str] = []

    def send() -> None:
        form = presigned.get(refusals.last)
        body = FormBody(fields_for(form, name), name, file, size, cancelled)
        response, at = _post_where_it_leads(form, body)
        _expect_arrival(response, form, refusals)
        presigned.replace(form, at)
        if _is_other(response, body.md5.hexdigest()):
            differences.append(response.headers["ETag"])
            if len(differences) < _DIFFERENCES_IN_A_ROW:
                raise Unavailable("the storage has received something else than was sent")
            log.warning("The storage's ETags are not MD5s: the worker cannot verify what arrives")

    def is_hopeless(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return once or (isinstance(error, InvalidAnswer) and not isinstance(error, NotThePlatform) and gives_up())

    retry.retrying(cancelled, invalid_for_s=INVALID_FOR_S, give_up=is_hopeless, when_failed=when_failed)(send)


def _post_where_it_leads(form: RequestToMake, body: FormBody) -> tuple[requests.Response, RequestToMake]:
    """The answer to the form, and the form for where the storage has redirected it to."""
    for _ in range(MAX_REDIRECTS + 1):
        response = _post(form, body)
        following = redirected(form, response)
        if following is None:
            return response, form
        form = following
    raise JobFailed(f"the storage redirects it more than {MAX_REDIRECTS} times")


def _post(form: RequestToMake, body: FormBody) -> requests.Response:
    headers = {**form.headers, "Content-Type": body.content_type, "Content-Length": str(len(body))}
    try:
        return http.send(form.method, form.url, headers=headers, body=body)
    except http.UnusableRequest as error:
        raise JobFailed(f"the API handed out an address that cannot be used ({error})") from None


def _expect_arrival(response: requests.Response, form: RequestToMake, refusals: Refusals) -> None:
    """Raise what an answer means that does not say that the file has arrived."""
    status = response.status_code
    if status in (401, 403):
        raise refusals.add(form, response)
    if status == 400 and storage_errors.code(response) == "RequestTimeout":  # S3's word for a slow line
        raise Unavailable("the storage waited too long for the next bytes", status=400)
    if status >= 400:
        raise JobFailed(f"the storage answered {status}: {storage_errors.explain(response)}")
    if status >= 300 and storage_errors.code(response):  # S3 itself: a new form may lead to where it should
        raise refusals.add(form, response)
    if status >= 300 or (status == 200 and "ETag" not in response.headers):
        refusals.last = form
        raise InvalidAnswer(f"the storage answered {status}, neither 201 nor 204")


def _is_other(response: requests.Response, md5: str) -> bool:
    """Whether the answer tells another MD5 than `md5`: an `ETag` is one on S3, unless KMS encrypts (S3 API, "ETag")."""
    etag = response.headers.get("ETag", "").strip('"')
    by_kms = "kms" in response.headers.get("x-amz-server-side-encryption", "")
    return not by_kms and bool(_MD5.fullmatch(etag)) and etag != md5
