"""How a worker shuts down: stop, drain or detach. Any thread may ask for it, at any time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import DetachRequested, JobFetcherError, StopRequested

STOP_S = 6.0
"""So long a worker that is stopped waits for the API and the engine; what they did not do by then is left to the next
start. `docker stop` gives 10 s."""
HAND_BACK_S = 2.0
"""… but so long at least for the API to take the job back."""


class Shutdown:
    """Requests to end the worker, each as the `Cancellation` of what it ends.

    `ending` ends the worker between jobs. `stopped` ends whatever it does. `cleanup_deadline` ends the cleanup, too.
    """

    def __init__(self) -> None:
        self.ending = Cancellation()
        self.stopped = Cancellation()
        self.cleanup_deadline = Cancellation()
        self._job = Cancellation()
        self._stopped_at = 0.0  # on the monotonic clock
        self._lock = threading.Lock()

    def stop(self, reason: str) -> None:
        """Requeue the job in hand, then end."""
        self._end(StopRequested(reason))

    def detach(self) -> None:
        """End at once; the container of the job in hand runs on for the next start."""
        self._end(DetachRequested("another worker goes on with it"))

    def drain(self) -> None:
        """Finish the job in hand, then end."""
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
        timer = threading.Timer(
            STOP_S, self.cleanup_deadline.set, [DetachRequested("the Docker engine does not answer")]
        )
        timer.daemon = True
        timer.start()
