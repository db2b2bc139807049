"""How a worker shuts down: stop, drain or detach. Any thread may ask for it, at any time.

SIGTERM, step by step:

1. `signals.handle` receives it and calls `Shutdown.stop`, which sets `ending`, `stopped` and each job's cancellation.
2. Whatever a job's thread waits for raises `StopRequested`. In a job, `engine.container` stops and removes the
   container on the way out, until `cleanup_deadline` at the latest.
3. `ending.ending_of` makes that the last status `queued`. `Reporter` sends it for `left_s` seconds at most, and notes
   the job, so that the next start can take it back. Then the loop removes the job's folder.
4. A job whose command has ended is never requeued: `JobCancellation.finish`. Its outputs go up for `FINISH_S`. What
   is left then stays in its folder for the next start.
5. `Worker.run_forever` sees `ending` and returns; the process exits with code 0.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import DetachRequested, JobFetcherError, StopRequested

STOP_S = 6.0
"""Seconds that a stopped worker waits for the API and the engine. The next start does what they did not do by then.
`docker stop` gives 10 s."""
REQUEUE_S = 2.0
"""Seconds that the API has at least to accept the requeue."""
FINISH_S = STOP_S - REQUEUE_S
"""Seconds after a stop for which the outputs of a command that has ended may go up."""


class JobCancellation(Cancellation):
    """The cancellation of one job, and how far the job is: whether its command has ended, and its container is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.is_finishing = False
        """Whether the command has ended, so that a stop does not requeue the job."""
        self.container_gone: Future[None] = Future()
        """Done when the job needs the machine's GPU no more."""
        self._when_stopped: Callable[[], None] = lambda: None
        self._is_stopped = False
        self._state = threading.Lock()

    def finish(self) -> None:
        """The command has ended. From now on a stop leaves `FINISH_S` to its outputs."""
        with self._state:
            self.is_finishing = True

    def run_again(self) -> None:
        """The command that seemed to have ended runs again: the engine's shutdown had ended it. A stop requeues it."""
        with self._state:
            self.is_finishing = False

    def call_when_stopped(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the worker is told to end, at once if it was."""
        with self._state:
            self._when_stopped = callback
            is_stopped = self._is_stopped
        if is_stopped:
            callback()

    def end(self, reason: JobFetcherError) -> None:
        """The worker is to end for `reason`."""
        with self._state:
            self._is_stopped = True
            if self.is_finishing and isinstance(reason, StopRequested):
                self.after(FINISH_S, reason)
            else:
                self.set(reason)
            when_stopped = self._when_stopped
        when_stopped()


class Shutdown:
    """Requests to end the worker, each as the `Cancellation` of what it ends.

    `ending` ends the worker between jobs. `stopped` ends whatever it does. `cleanup_deadline` ends the cleanup, too.
    """

    def __init__(self) -> None:
        self.ending = Cancellation()
        self.stopped = Cancellation()
        self.cleanup_deadline = Cancellation()
        self._jobs: list[JobCancellation] = []
        self._stopped_at = 0.0  # on the monotonic clock
        self._lock = threading.Lock()

    def stop(self, reason: str) -> None:
        """Requeue the job in hand, then end."""
        self._end(StopRequested(reason))

    def detach(self) -> None:
        """End at once. The container of the job in hand runs on for the next start."""
        self._end(DetachRequested("another worker resumes it"))

    def drain(self) -> None:
        """Finish the job in hand, then end."""
        self.ending.set(StopRequested("The worker was told to drain (SIGQUIT)."))

    @contextmanager
    def job(self) -> Iterator[JobCancellation]:
        """A job that the worker has in hand in this block. `stop` and `detach` end it, too."""
        job = JobCancellation()
        with self._lock:
            self._jobs.append(job)
            reason = self.stopped.reason
        if reason is not None:
            job.end(reason)
        try:
            yield job
        finally:
            with self._lock:
                self._jobs.remove(job)

    def left_s(self) -> float:
        """Seconds that the worker may spend on the requeue of a job."""
        since_stop_s = time.monotonic() - self._stopped_at if self.stopped.is_set() else 0
        return max(REQUEUE_S, STOP_S - since_stop_s)

    def _end(self, reason: JobFetcherError) -> None:
        with self._lock:
            self._stopped_at = time.monotonic()
            for each in (self.stopped, self.ending):
                each.set(reason)
            jobs = list(self._jobs)
        for job in jobs:
            job.end(reason)
        self.cleanup_deadline.after(STOP_S, DetachRequested("the Docker engine does not answer"))
