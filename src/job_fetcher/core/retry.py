"""When and for how long a call that failed is tried again: one policy, and its variants by name.

| variant | for | gives up |
|---|---|---|
| `retrying` | the API, the storage, the registry | when cancelled, when `give_up` says so, or as `CredentialRefusals` and `INVALID_ANSWERS` say |
| `retrying_engine`, `call_engine` | the Docker engine | when cancelled, or after `ENGINE_ERRORS` answers of 500 in a row |
| `keep_alive_wait_s` | keep-alives | when the job is gone, or as `CredentialRefusals` says |
"""  # noqa: E501 - a table

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import tenacity

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import CredentialsError, EngineUnavailable, InvalidAnswer, NotThePlatform, Unavailable
from job_fetcher.core.events import TriedAgain, tell

FIRST_SPAN_S = 2.0
"""The first wait lies between 0 s and this. The span doubles with each try."""
MAX_WAIT_S = 60.0
"""Longest wait between two tries, besides what `Retry-After` asks for."""
MAX_RETRY_AFTER_S = 600.0
"""So much of `Retry-After` is waited out while something depends on the answer."""
ENGINE_MAX_WAIT_S = 10.0
"""The same for the Docker engine, which is on this machine."""
ENGINE_ERRORS = 5
"""After this many answers of 500 in a row the worker believes the engine."""
INVALID_ANSWERS = 10
"""After this many answers in a row that are not understood the call fails: some minutes."""
REFUSED_FOR_S = 180.0
"""Refused credentials are believed after this many seconds of refusals.

The job stays this worker's meanwhile. The API gives a job to another account after 300 s of silence
(`TIMEOUT_FAILURE`), and the longest interval of keep-alives is 120 s."""
MIN_REFUSALS = 3
"""... and after this many in a row."""
PAGES_FOR_S = 3600.0
"""After this many seconds of waits a page in the API's place is believed, if it is there for one request alone."""
HARMLESS_WAIT_S = 30.0
"""A wait that costs no job: the API gives a job up after 300 s of silence (`TIMEOUT_FAILURE`)."""

log = logging.getLogger(__name__)
T = TypeVar("T")


def retrying(
    cancelled: Cancellation,
    *,
    max_wait_s: float = MAX_WAIT_S,
    give_up: Callable[[tenacity.RetryCallState], bool] = lambda _: False,
    invalid_for_s: float = 0,
    when_failed: Callable[[Unavailable], None] = lambda _: None,
) -> tenacity.Retrying:
    """The retry policy: on `Unavailable`, for as long as it takes, until `cancelled` or `give_up`.

    An `InvalidAnswer` is raised after `INVALID_ANSWERS` of them and `invalid_for_s` seconds, but `NotThePlatform` only
    if it is for one request alone, after `PAGES_FOR_S`. A `CredentialsError` is raised when `CredentialRefusals`
    believes it. Each of these counts from the first of its kind in a row: any other outcome begins anew.

    Each wait is drawn at random between 0 s and a span ("full jitter"). So a thousand workers do not come back in the
    same second. The span is `FIRST_SPAN_S` at first and doubles up to `max_wait_s`. Before that `Retry-After` is waited
    out, or `MAX_RETRY_AFTER_S` of it.
    `when_failed` hears of every `Unavailable`. Use: `retrying(cancelled)(call, *arguments)`.
    """
    is_believed = _Belief(invalid_for_s).is_final

    def wait_s(state: tenacity.RetryCallState) -> float:
        span_s = min(_span_s(state.attempt_number), max_wait_s)
        retry_after_s = getattr(_error(state), "retry_after_s", None) or 0.0
        return min(retry_after_s, MAX_RETRY_AFTER_S) + random.uniform(0, span_s)  # noqa: S311 - jitter, not a secret

    def is_final(state: tenacity.RetryCallState) -> bool:
        return is_believed(state) or (not isinstance(_error(state), CredentialsError) and give_up(state))

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type((Unavailable, CredentialsError)),
        wait=wait_s,
        stop=is_final,
        sleep=cancelled.wait,
        before_sleep=partial(_before_sleep, when_failed),
        reraise=True,
    )


class EngineCall(Protocol):
    """Calls `call(*arguments)` until the engine has answered."""

    def __call__(self, call: Callable[..., T], *arguments: Any) -> T: ...


def call_engine(cancelled: Cancellation) -> EngineCall:
    """The retry policy for the engine: wait while it does not answer, and believe it when it keeps answering 500.

    A cancellation ends the wait at once, even while the engine hangs. The call then ends by its own time-out.
    """

    def call_until_answered(call: Callable[..., T], *arguments: Any) -> T:
        return retrying_engine(cancelled)(lambda: cancelled.call(partial(call, *arguments), "engine"))

    return call_until_answered


def retrying_engine(cancelled: Cancellation) -> tenacity.Retrying:
    """The same policy, for a thread of its own: nobody waits for it without a way to leave."""

    errors = EngineErrors()
    return retrying(cancelled, max_wait_s=ENGINE_MAX_WAIT_S, give_up=lambda state: errors.are_final(_error(state)))


class EngineErrors:
    """The engine's answers of 500 in a row. An engine that does not answer, as in a restart, begins a new row."""

    def __init__(self) -> None:
        self._count = 0

    def are_final(self, error: BaseException | None) -> bool:
        """Count `error` of a call, and tell whether the worker believes the engine now."""
        answered = isinstance(error, EngineUnavailable) and error.status is not None
        self._count = self._count + 1 if answered else 0
        return self._count >= ENGINE_ERRORS


class _Row:
    """Outcomes of one kind in a row: `count` of them, without another outcome in between."""

    def __init__(self) -> None:
        self.count = 0
        self._since_s = 0.0

    def add(self, now_s: float) -> float:
        """Count one at `now_s`, on any clock in seconds, and tell the seconds since the first."""
        if self.count == 0:
            self._since_s = now_s
        self.count += 1
        return now_s - self._since_s

    def reset(self) -> None:
        """There was another outcome."""
        self.count = 0


class CredentialRefusals:
    """Refusals of the credentials in a row.

    The API's own way to check a token may be in trouble for a minute. So refusals are believed only when they have gone
    on for `REFUSED_FOR_S`, and `MIN_REFUSALS` times.
    """

    def __init__(self) -> None:
        self._row = _Row()

    def are_final(self, now_s: float) -> bool:
        """Count a refusal at `now_s`, on any clock in seconds, and tell whether the refusals are believed now."""
        lasts_s = self._row.add(now_s)
        return self._row.count >= MIN_REFUSALS and lasts_s >= REFUSED_FOR_S

    def reset(self) -> None:
        """There was another outcome: the API accepted the credentials, or did not answer."""
        self._row.reset()


class _Belief:
    """Whether the failures of one call are believed, by those of the same kind in a row."""

    def __init__(self, invalid_for_s: float) -> None:
        self._invalid_for_s = invalid_for_s
        self._refusals, self._pages, self._invalid = CredentialRefusals(), _Row(), _Row()

    def is_final(self, state: tenacity.RetryCallState) -> bool:
        """Count the outcome of a try, and tell whether it is believed."""
        error = _error(state)
        now_s = max(state.idle_for, state.seconds_since_start or 0.0)
        rows = (self._refusals, self._pages, self._invalid)
        row = self._row_of(error)
        for other in rows:
            if other is not row:
                other.reset()
        if row is self._refusals:
            return self._refusals.are_final(now_s)
        if row is self._pages:
            return self._pages.add(now_s) >= PAGES_FOR_S
        if row is self._invalid:
            return self._invalid.add(now_s) >= self._invalid_for_s and self._invalid.count >= INVALID_ANSWERS
        return False

    def _row_of(self, error: BaseException | None) -> CredentialRefusals | _Row | None:
        if isinstance(error, CredentialsError):
            return self._refusals
        if isinstance(error, NotThePlatform):
            return self._pages if error.alone else None
        return self._invalid if isinstance(error, InvalidAnswer) else None


def keep_alive_wait_s(failures: int, interval_s: float) -> float:
    """Seconds until the next keep-alive after `failures` failures in a row: growing and jittered.

    It is at most half of `interval_s`, or all of an `interval_s` that is shorter than `HARMLESS_WAIT_S`.
    """
    most = max(interval_s / 2, min(interval_s, HARMLESS_WAIT_S))
    longest = min(_span_s(failures), most)
    return random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret


def _span_s(failures: int) -> float:
    return FIRST_SPAN_S * 2.0 ** min(failures - 1, 9)


def _before_sleep(when_failed: Callable[[Unavailable], None], state: tenacity.RetryCallState) -> None:
    error = _error(state)
    tell(TriedAgain(state.next_action.sleep if state.next_action else 0.0))
    level = logging.WARNING if state.attempt_number == 1 else logging.DEBUG
    log.log(level, "%s; trying again until it works", error)
    if isinstance(error, Unavailable):
        when_failed(error)


def _error(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
