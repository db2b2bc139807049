"""The thread that keeps a job alive: it alone sends the job's statuses, and decides that the job is over."""

import logging
import random
import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from types import TracebackType
from typing import Self

from job_fetcher.core import health
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import Cancelled, CredentialsError, Unavailable
from job_fetcher.core.events import StageBegan, StatusHeard, TriedAgain, tell
from job_fetcher.core.job import JobStatus
from job_fetcher.core.retry import REFUSED_FOR_S, CredentialRefusals, keep_alive_wait_s
from job_fetcher.platform.api import WorkerApi
from job_fetcher.platform.status_sender import StatusSender
from job_fetcher.worker.status_hold import StatusHold

LAST_REQUEST_S = 1.0
"""Seconds that the worker waits for the request under way when it leaves a job at once."""

log = logging.getLogger(__name__)


class KeepAlive:
    """Sends each status of a job when it is set, in order, then the last one again, at least every `interval_s`.

    The intervals are jittered: workers that an outage has brought into step fall out of it. Each status stays for
    `hold_s` at least before the next one follows, the last one of the job included, unless the job is `cancelled`.

    Nothing is sent after its `with` block, which waits for the request under way. After a cancellation it waits for
    `LAST_REQUEST_S` only: a slow API needs the rest of the time for taking the job back.

    It sets `cancelled` to `JobGone` when the API has confirmed that the job is gone (`StatusSender`). It sets it to
    `CredentialsError` when the API has refused the credentials for long enough (`CredentialRefusals`). The thread
    survives any other failure, and tries again no later than the next keep-alive is due.

    `resumed`: the job was left behind. It is gone, too, if it has ended meanwhile: the API accepts a status in every
    state, so that the first one would revive it. No status is sent that comes before the one that the API has.
    """

    def __init__(
        self,
        api: WorkerApi,
        job_id: str,
        status: JobStatus,
        cancelled: Cancellation,
        interval_s: float,
        *,
        hold_s: float = 0,
        resumed: bool = False,
    ) -> None:
        self._job_id, self._cancelled, self._interval_s = job_id, cancelled, interval_s
        self._sender = StatusSender(api, job_id, cancelled)
        self._refusals = CredentialRefusals()
        self._last = status
        self._news: deque[JobStatus] = deque([status])
        self._changed = threading.Condition()
        self._hold = StatusHold(hold_s)
        self._woken = False
        self._closed = False
        self._heard_500 = False
        self._may_have_ended = resumed
        self._failures = 0
        self._ended: Future[None] = Future()
        self._next_heard: list[Future[None]] = []
        self._saying: str | None = None
        self._has_said = False
        self._life = health.Life()
        self.tried: Future[None] = Future()
        """Done when the first status has been tried to send, with whatever result."""

    def __enter__(self) -> Self:
        tell(StageBegan(self._job_id, self._last))
        self._life = health.Life(instead_of=health.this_job())
        self._life.beat(self._interval_s)
        self._ended = in_background(self._run, f"keep-alive-{self._job_id}")
        self._cancelled.call_when_set(self.lift_hold)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the thread, and wait for the request under way: nothing may arrive after the last status."""
        with self._changed:
            self._closed = True
            self._wake()
        self._life.end()
        if self._cancelled.is_set():
            wait([self._ended], timeout=LAST_REQUEST_S)
        else:
            self._cancelled.result_of(self._ended)

    def set(self, status: JobStatus) -> None:
        """Send `status` now, unless the thread is doing so already, and keep sending it."""
        with self._changed:
            if status != (self._news[-1] if self._news else self._last):
                self._news.append(status)
                self._wake()
                tell(StageBegan(self._job_id, status))

    def ask(self, failure: Unavailable) -> None:
        """A request about the job has failed. If the answer was a 500, find out at once whether the job is gone."""
        if failure.status == 500:
            with self._changed:
                self._heard_500 = True
                self._wake()

    def say(self, details: str) -> None:
        """Send `details` with the status `preprocessing`, at most once for the job: what it waits for, say."""
        with self._changed:
            if not self._has_said:
                self._has_said, self._saying = True, details
                self._wake()

    def next_heard(self) -> Future[None]:
        """Done when the API has accepted a status that was sent after this call: the job is still there then."""
        heard: Future[None] = Future()
        with self._changed:
            self._next_heard.append(heard)
        return heard

    def lift_hold(self) -> None:
        """Send what is left without holding it: the worker is to end, or the job."""
        with self._changed:
            self._hold.lift()
            self._changed.notify()

    def _wake(self) -> None:
        self._woken = True
        self._changed.notify()

    def _run(self) -> None:
        try:
            self._send_until_closed()
        finally:
            self._life.end()

    def _send_until_closed(self) -> None:
        due = time.monotonic()
        while self._wait_until(due):
            self._life.beat(self._interval_s)
            started = time.monotonic()
            try:
                self._send()
            except Cancelled as error:  # `JobGone`, or what has ended the job meanwhile
                self._cancelled.set(error)
                return
            except CredentialsError as error:
                if self._refusals.are_final(started):
                    self._cancelled.set(error)
                    return
                due = self._after_failure(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the job must not die of its keep-alive
                self._refusals.reset()
                due = self._after_failure(error)
            else:
                self._failures = 0
                self._refusals.reset()
                due = self._next_due(started)
                tell(StatusHeard(self._job_id))
            if not self.tried.done():
                self.tried.set_result(None)

    def _wait_until(self, due: float) -> bool:
        """Wait until `due`, or until something changes. False when there is nothing more to send."""
        with self._changed:
            while (wait_s := self._wait_s(due)) > 0:
                self._changed.wait(wait_s)
            self._woken = False
            return not self._closed or (bool(self._news) and self._failures == 0)

    def _wait_s(self, due: float) -> float:
        """Seconds until the next request, or until the end: a status that is held keeps the next one waiting."""
        if self._closed:
            return self._hold.left_s
        left_s = due - time.monotonic()
        if not self._woken:
            return left_s
        return min(left_s, self._hold.left_s) if self._news and not self._heard_500 else 0

    def _next_due(self, started: float) -> float:
        """When to send next after a request that has arrived, on the monotonic clock."""
        keep_alive = started + random.uniform(0.75, 1) * self._interval_s  # noqa: S311
        return min(keep_alive, time.monotonic() + self._hold.left_s) if self._news else keep_alive

    def _send(self) -> None:
        with self._changed:
            heard_500, self._heard_500 = self._heard_500, False
            waiting = list(self._next_heard)
        if heard_500:
            self._sender.doubt()
        timeout_s = max(10.0, self._interval_s / 2)
        if self._may_have_ended:
            self._go_on_from(self._sender.open_status(timeout_s=timeout_s))
            self._may_have_ended = False
        news = self._news[0] if self._news and not self._hold.left_s else None  # more may come meanwhile
        status = news or self._last
        saying, self._saying = (self._saying if status is JobStatus.PREPROCESSING else None), None
        self._sender.put(status, saying, timeout_s=timeout_s)
        self._last = status
        with self._changed:
            for each in waiting:
                self._next_heard.remove(each)
                each.set_result(None)
            if news is not None:
                self._news.popleft()
                self._hold.begin()

    def _go_on_from(self, known: JobStatus) -> None:
        """Leave out what the API has heard: the worker was killed before it could record how far the job was."""
        order = list(JobStatus)
        with self._changed:
            while self._news and order.index(self._news[0]) < order.index(known):
                self._news.popleft()
                self._last = known

    def _after_failure(self, error: Exception) -> float:
        """Log the first of several failures, and tell when to try again, on the monotonic clock."""
        self._failures += 1
        tell(TriedAgain())
        foreseen = isinstance(error, (Unavailable, CredentialsError))
        if self._failures == 1 or not foreseen:
            patience = f" for {REFUSED_FOR_S:g} s" if isinstance(error, CredentialsError) else ""
            log.warning(
                "job %s: keep-alive failed: %s; the worker tries again%s", self._job_id, error, patience,
                exc_info=not foreseen,
            )  # fmt: skip
        return time.monotonic() + keep_alive_wait_s(self._failures, self._interval_s)
