"""The statuses of one job on their way to the API, and the two questions that tell whether the job is gone.

A 404 to a status means that the job was deleted, or given to another worker. For a deleted job it comes once, and 500
follows it; but a 500 may mean anything. So both are doubts, which `GET …/status` and a second status resolve (shared
contract of the platform, "Status and keep-alive").
"""

from contextlib import suppress

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobGone, Unavailable
from job_fetcher.core.job import JobStatus
from job_fetcher.platform.api import TIMEOUT_S, WorkerApi


class StatusSender:
    """Sends the statuses of one job. For one thread at a time.

    Every method raises the errors of `WorkerApi`, and `JobGone` only when that is confirmed. `put` raises the reason of
    `cancelled` instead of sending anything after it.
    """

    def __init__(self, api: WorkerApi, job_id: str, cancelled: Cancellation) -> None:
        self._api, self._job_id, self._cancelled = api, job_id, cancelled
        self._heard_404 = False
        self._heard_500 = False

    def doubt(self) -> None:
        """Something else about the job was answered with 500: the next call finds out whether the job is gone."""
        self._heard_500 = True

    def put(self, status: JobStatus, details: str | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        """Send `status`. After a 404 nothing more is sent until `GET …/status` has said that the job is there."""
        while True:
            self._resolve_doubt(timeout_s)
            self._cancelled.check()
            try:
                self._api.put_status(self._job_id, status, details, timeout_s=timeout_s)
            except JobGone:
                if self._heard_404:  # the second one, of a job that is there: it is another worker's
                    raise
                self._heard_404 = True
            except Unavailable as error:
                self._heard_404 |= error.status == 404
                self._heard_500 |= error.status == 500
                raise
            else:
                self._heard_404 = self._heard_500 = False
                return

    def ask(self, *, timeout_s: float = TIMEOUT_S) -> JobStatus:
        """The status that the API has for the job; raises `JobGone` if it was deleted."""
        status = self._api.get_status(self._job_id, timeout_s=timeout_s)
        if status is None:
            raise JobGone
        self._heard_500 = False
        return status

    def open_status(self, *, timeout_s: float = TIMEOUT_S) -> JobStatus:
        """The status that the API has. Raises `JobGone` if the job was deleted, or has ended.

        Somebody has ended it, or its last status had arrived.
        """
        status = self.ask(timeout_s=timeout_s)
        if status in (JobStatus.FINISHED, JobStatus.ERROR):
            raise JobGone(f"its status is {status}")
        return status

    def _resolve_doubt(self, timeout_s: float) -> None:
        if self._heard_404:
            self.ask(timeout_s=timeout_s)
        elif self._heard_500:
            with suppress(Unavailable):  # an API in trouble: the status is sent all the same
                self.ask(timeout_s=timeout_s)
