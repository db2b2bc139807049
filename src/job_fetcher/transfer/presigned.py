"""Presigned requests: the requests to make that the API hands out for a file, valid for minutes, and their refusals."""

from collections.abc import Callable
from threading import Lock
from time import monotonic

import requests

from job_fetcher.core.errors import JobFailed, Unavailable
from job_fetcher.core.job import RequestToMake
from job_fetcher.transfer import storage_errors

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
