"""Faults on demand: which requests are to go wrong, and how."""

import json
import re
import threading
from collections.abc import Callable
from fnmatch import translate
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

USERS_SIDE_DOWN = "mock_api.users_side_down"  # in the scope of a request that a fault of this kind has hit


class Fault(BaseModel):
    """One kind of trouble, for the requests that match it.

    Which: `method`, `path` and `query` (decoded) are globs, or regular expressions behind `re:`; the first `skip`
    matches pass, the next `times` (all, if null) are hit, and after `seconds` it is over.

    How: with `status` the request is answered without being done, with `headers` and `body`; without, those two change
    the real answer. A body is a page, of type text/plain unless `headers` say otherwise; with `detail` in its place
    the answer is the API's own, `{"detail": …}`. `cut` ends the connection without an answer, before or after the
    request was done. `users_side_down` lets the queue keep what the request says, and answer 500 because the users'
    side cannot be told.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: str = "*"
    path: str = "*"
    query: str = "*"
    skip: int = Field(default=0, ge=0)
    times: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)

    delay_s: float = Field(default=0.0, ge=0)  # before anything else
    hang: bool = False  # accept, and do nothing until the fault is cleared or the client leaves
    cut: Literal["before", "after"] | None = None
    status: int | None = Field(default=None, ge=200, le=599)
    headers: dict[str, str] = {}
    body: str | None = None
    detail: str | list[Any] | None = None
    users_side_down: bool = False
    short_body: int | None = Field(default=None, ge=0)  # only so many bytes, and a Content-Length that agrees
    cut_body_after: int | None = Field(default=None, ge=0)  # so many bytes of the announced ones, then the end

    @property
    def answer_body(self) -> str | None:
        """What is sent as the body; `None`: the real one."""
        return self.body if self.detail is None else json.dumps({"detail": self.detail})

    @property
    def answer_headers(self) -> dict[str, str]:
        """What is sent in place of the real headers of these names, which are in lower case."""
        of_detail = {} if self.detail is None else {"content-type": "application/json"}
        return of_detail | {name.lower(): value for name, value in self.headers.items()}


class ArmedFault:
    """A fault in force, and how often it has matched."""

    def __init__(self, fault: Fault, now: Callable[[], float]) -> None:
        self.fault = fault
        self.matched = 0
        self.cleared = False
        self._now = now
        self._ends_at = now() + fault.seconds if fault.seconds is not None else None
        self._patterns = [_pattern(text) for text in (fault.method.upper(), fault.path, fault.query)]

    @property
    def in_force(self) -> bool:
        """Whether it is neither cleared nor over: what a hanging request waits for."""
        return not self.cleared and (self._ends_at is None or self._now() < self._ends_at)

    def hits(self, method: str, path: str, query: str) -> bool:
        """Count a request, and say whether it is hit."""
        values = (method, path, query)
        if not self.in_force or not all(p.fullmatch(v) for p, v in zip(self._patterns, values, strict=True)):
            return False
        self.matched += 1
        last = self.fault.skip + self.fault.times if self.fault.times is not None else self.matched
        return self.fault.skip < self.matched <= last


class FaultBoard:
    """The faults of one mock, in the order in which they were added: the first that hits a request has it."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._armed: list[ArmedFault] = []
        self._lock = threading.RLock()

    def add(self, fault: Fault) -> ArmedFault:
        with self._lock:
            armed = ArmedFault(fault, self._now)
            self._armed.append(armed)
            return armed

    def clear(self) -> None:
        """End all faults, and let go of the requests that hang."""
        with self._lock:
            for armed in self._armed:
                armed.cleared = True
            self._armed.clear()

    def all(self) -> list[ArmedFault]:
        with self._lock:
            return list(self._armed)

    def find(self, method: str, path: str, query: str) -> ArmedFault | None:
        """The fault that hits this request, which is counted as a match of every fault before it."""
        if not self._armed:
            return None
        with self._lock:
            return next((armed for armed in self._armed if armed.hits(method, path, query)), None)


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text[3:], re.DOTALL) if text.startswith("re:") else re.compile(translate(text))
