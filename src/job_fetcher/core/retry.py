"""When and for how long a call that failed is tried again: one policy, and its variants by name.

| variant | for | gives up |
|---|---|---|
| `retrying` | the API, the storage, the registry | when cancelled, or when `give_up` says so |
| `retrying_engine`, `call_engine` | the Docker engine | when cancelled, or after `ENGINE_ERRORS` answers of 500 |
| `keep_alive_wait_s` | keep-alives | never: the platform forgets the job before the worker does |
"""

import logging
import random
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import tenacity

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import InvalidAnswer, Unavailable

MAX_WAIT_S = 60.0
"""Longest wait between two tries, besides what `Retry-After` asks for."""
ENGINE_MAX_WAIT_S = 10.0
"""The same for the Docker engine, which is on this machine."""
ENGINE_ERRORS = 5
"""After this many answers of 500 in a row the engine is believed."""
INVALID_ANSWERS = 10
"""After this many answers that are not understood the call fails: some minutes."""
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

    An `InvalidAnswer` (a proxy's page, say) is raised after `INVALID_ANSWERS` tries and `invalid_for_s`.

    The waits grow from 1 s to `max_wait_s` and are drawn from the whole span ("full jitter"), so that a thousand
    workers do not come back in the same second; `Retry-After` is waited out before that. `when_failed` hears of
    every failure. Use: `retrying(cancelled)(call, *arguments)`.
    """

    def wait_s(state: tenacity.RetryCallState) -> float:
        error = _error(state)
        span_s = min(2.0 ** min(state.attempt_number, 10), max_wait_s)
        return (error.retry_after_s or 0.0) + random.uniform(0, span_s)  # noqa: S311 - jitter, not a secret

    def before_sleep(state: tenacity.RetryCallState) -> None:
        error = _error(state)
        log.log(
            logging.WARNING if state.attempt_number == 1 else logging.DEBUG,
            "%s; trying again until it works",
            error,
        )
        when_failed(error)

    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(Unavailable),
        wait=wait_s,
        stop=lambda state: give_up(state) or _invalid_for_good(state, invalid_for_s),
        sleep=cancelled.wait,
        before_sleep=before_sleep,
        reraise=True,
    )


class PatientCall(Protocol):
    """Calls `call(*arguments)` until the engine has answered."""

    def __call__(self, call: Callable[..., T], *arguments: Any) -> T: ...


def call_engine(cancelled: Cancellation) -> PatientCall:
    """The retry policy towards the engine: wait while it does not answer, believe it when it answers 500 for good.

    It is left at once when it is cancelled, while the engine hangs, too: the call then ends by its time-out.
    """

    def call_patiently(call: Callable[..., T], *arguments: Any) -> T:
        return retrying_engine(cancelled)(lambda: cancelled.call(partial(call, *arguments), "engine"))

    return call_patiently


def retrying_engine(cancelled: Cancellation) -> tenacity.Retrying:
    """The same for a thread that nobody waits for without a way to leave it."""

    def answered_often(state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        return isinstance(error, Unavailable) and error.status is not None and state.attempt_number >= ENGINE_ERRORS

    return retrying(cancelled, max_wait_s=ENGINE_MAX_WAIT_S, give_up=answered_often)


def keep_alive_wait_s(failures: int, interval_s: float) -> float:
    """Seconds until the next keep-alive after `failures` failures in a row: growing and jittered.

    Never so long that two failures in a row cost a keep-alive.
    """
    most = max(interval_s / 2, min(interval_s, HARMLESS_WAIT_S))
    longest = min(2.0 ** min(failures, 10), most)
    return random.uniform(longest / 2, longest)  # noqa: S311 - jitter, not a secret


def _invalid_for_good(state: tenacity.RetryCallState, for_s: float) -> bool:
    often = state.attempt_number >= INVALID_ANSWERS and (state.seconds_since_start or 0) >= for_s
    return often and isinstance(_error(state), InvalidAnswer)


def _error(state: tenacity.RetryCallState) -> Unavailable:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Unavailable)
    return error
