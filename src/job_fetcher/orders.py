"""What a worker is told from outside: stop, drain, leave. From any thread, at any time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from job_fetcher.background import Cancellation
from job_fetcher.errors import JobFetcherError, LeaveRequested, StopRequested

STOP_S = 6.0
"""So long a worker that is stopped waits for the API and the engine; what they did not do by then is left to the next
start. `docker stop` gives 10 s."""
HAND_BACK_S = 2.0
"""… but so long at least for the API to take the job back."""


class Orders:
    """Orders to end, as `Cancellation`s of what is to be left for them.

    `ending`: of the worker, between jobs. `stopped`: of whatever it does. `hurried`: of cleaning up after that, too.
    """

    def __init__(self) -> None:
        self.ending = Cancellation()
        self.stopped = Cancellation()
        self.hurried = Cancellation()
        self._job = Cancellation()
        self._stopped_at = 0.0  # on the monotonic clock
        self._lock = threading.Lock()

    def stop(self, reason: str) -> None:
        """Hand the job in hand back, and end."""
        self._end(StopRequested(reason))

    def leave(self) -> None:
        """End at once; the container of the job in hand runs on for the next start."""
        self._end(LeaveRequested("another worker goes on with it"))

    def drain(self) -> None:
        """Finish the job in hand, and end."""
        self.ending.set(StopRequested("drained"))

    @contextmanager
    def job(self) -> Iterator[Cancellation]:
        """A `Cancellation` for one job, which `stop` and `leave` set, too."""
        with self._lock:
            self._job = Cancellation()
            if (reason := self.stopped.reason) is not None:
                self._job.set(reason)
        yield self._job

    def left_s(self) -> float:
        """How many seconds may be spent on handing a job back."""
        since_stop_s = time.monotonic() - self._stopped_at if self.stopped.is_set() else 0
        return max(HAND_BACK_S, STOP_S - since_stop_s)

    def _end(self, reason: JobFetcherError) -> None:
        with self._lock:
            self._stopped_at = time.monotonic()
            for each in (self.stopped, self.ending, self._job):
                each.set(reason)
        timer = threading.Timer(STOP_S, self.hurried.set, [LeaveRequested("the Docker engine does not answer")])
        timer.daemon = True
        timer.start()
