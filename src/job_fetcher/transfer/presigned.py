"""Presigned requests: the requests to make that the API hands out for a file, their answers, and refusals."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from time import monotonic

import requests

from job_fetcher.core.errors import JobFailed, Unavailable
from job_fetcher.core.job import RequestToMake
from job_fetcher.platform import http
from job_fetcher.transfer import storage_errors
from job_fetcher.transfer.ranges import Answer, Range, Version

BLOCK = 1 << 20
"""Bytes read and written at a time: what a transfer holds in memory."""
LIFE_S = 480.0
"""A presigned request is valid for 10 minutes; after this many seconds the API is asked for a new one."""
_REFUSALS_IN_A_ROW = 3
"""A refusal is believed the third time in a row, since it may mean that the request has expired.

Downloads count 400, 401 and 403; uploads count 401, 403 and S3's redirects. A 400 of an upload is final."""


class PresignedRequest:
    """A request to make that the API hands out, for several transfers and threads as long as it is valid."""

    def __init__(self, ask: Callable[[], RequestToMake]) -> None:
        self._ask = ask
        self._request: RequestToMake | None = None
        self._asked_at = 0.0
        self._lock = Lock()

    def get(self, refused: RequestToMake | None = None) -> RequestToMake:
        """A request that is valid for two minutes and more, and is not `refused`."""
        with self._lock:
            if self._request is None or self._request is refused or monotonic() > self._asked_at + LIFE_S:
                self._asked_at = monotonic()
                self._request = self._ask()
            return self._request

    def replace(self, request: RequestToMake, better: RequestToMake) -> None:
        """Give `better`, where the storage redirected `request` to, for as long as `request` is valid."""
        with self._lock:
            if self._request is request:
                self._request = better


class Refusals:
    """Refusals in a row, so that an expired request is told from one that is refused for good."""

    def __init__(self) -> None:
        self._count = 0
        self.last: RequestToMake | None = None

    def reset(self) -> None:
        """The storage took a request."""
        self._count = 0

    def add(self, request: RequestToMake, response: requests.Response) -> Unavailable:
        """The error that lets a new request be tried, as long as there is hope; else raises `JobFailed`."""
        self._count += 1
        self.last = request
        status = response.status_code
        if self._count >= _REFUSALS_IN_A_ROW:
            raise JobFailed(f"the storage refuses it ({status}): {storage_errors.explain(response)}")
        return Unavailable(f"the storage refuses the request ({status})", status=status)


@contextmanager
def answer_to(
    request: PresignedRequest,
    wanted: Range | None,
    refusals: Refusals,
    version: Version | None = None,
    *,
    unless: str = "",
) -> Iterator[tuple[requests.Response, Answer]]:
    """The answer 200, 206 or 416 to a request for `wanted` (`None`: the whole file), and its head.

    `unless`: an `ETag`; the answer is 304 if the file has it still. Raises what any other status means.
    """
    now = request.get(refusals.last)
    headers = {**now.headers, "Accept-Encoding": "identity"}
    if wanted is not None:
        headers["Range"] = f"bytes={wanted[0]}-{wanted[1] - 1}"
    if version is not None and version.if_range:
        headers["If-Range"] = version.if_range
    if unless:
        headers["If-None-Match"] = unless
    try:
        response = http.send(now.method, now.url, headers=headers, stream=True, redirects=True)
    except http.UnusableRequest as error:
        raise JobFailed(f"the API handed out an address that cannot be used ({error})") from None
    with response:
        status = response.status_code
        if status in (400, 401, 403):
            raise refusals.add(now, response)
        refusals.reset()
        if status == 404:
            raise JobFailed("the storage has no such file")
        if status not in (200, 206, 416) and not (unless and status == 304):
            raise JobFailed(f"the storage answered {status}: {storage_errors.explain(response)}")
        yield response, Answer.of(response)
