"""The last status of a job on this worker: `finished`, `error`, or `queued` when the worker requeues it."""

import logging
import random
from collections.abc import Callable
from concurrent.futures import wait
from functools import partial

from job_fetcher import steps
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import Cancelled, DetachRequested, JobFailed, JobGone, StopRequested, Unavailable
from job_fetcher.core.events import JobEnd, JobEnded, tell
from job_fetcher.core.job import Final, Job, JobStatus
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.shutdown import Shutdown
from job_fetcher.workspace.requeued import RequeuedJobs, Requeues

MAX_WAIT_S = 900.0
"""Longest wait before a worker takes back a job that this machine could not run."""
_VERBS = {JobStatus.FINISHED: "finished", JobStatus.ERROR: "failed", JobStatus.QUEUED: "requeued"}
_ENDS = {JobStatus.FINISHED: JobEnd.FINISHED, JobStatus.ERROR: JobEnd.ERROR, JobStatus.QUEUED: JobEnd.REQUEUED}

log = logging.getLogger(__name__)


class Reporter:
    """Sends last statuses, and keeps `notes` of the jobs that the worker requeues.

    `first_wait_s`: the waits before a job is taken back that this machine could not run grow from here.
    """

    def __init__(self, api: WorkerApi, notes: RequeuedJobs, shutdown: Shutdown, *, first_wait_s: float) -> None:
        self._api, self._notes, self._shutdown, self._first_wait_s = api, notes, shutdown, first_wait_s

    def report(
        self,
        job: Job,
        final: Final,
        cancelled: Cancellation,
        *,
        requeues: Requeues,
        again: bool = False,
        worker_ends: bool = False,
        untold: bool = False,
        when_untold: Callable[[], None] = lambda: None,
    ) -> bool:
        """Send the last status. Whether the job is over then; if not, its folder stays.

        `requeues` counts this time, too, if `final` is `queued`. `again`: an earlier start may have sent it.
        `worker_ends`: the worker ends afterwards, and waits for no answer but for some seconds. `untold` and
        `when_untold` are those of `steps.report`, for a job that is not requeued.
        """
        try:
            if final.status is JobStatus.QUEUED:
                self._requeue(job, final, requeues, again=again, worker_ends=worker_ends)
            else:
                send = partial(steps.report, again=again, untold=untold, when_untold=when_untold)
                self._send(partial(send, self._api, job.id, final, cancelled=cancelled), cancelled)
        except JobGone as gone:
            log.info("job %s: dropped: %s", job.id, gone)
            tell(JobEnded(job.id, JobEnd.DROPPED, str(gone)))
        except JobFailed as refusal:
            log.error("job %s: last status refused: %s", job.id, refusal)  # noqa: TRY400
            tell(JobEnded(job.id, JobEnd.DROPPED, str(refusal)))
        except (Cancelled, Unavailable) as reason:
            log.info("job %s: kept: %s", job.id, reason)
            tell(JobEnded(job.id, JobEnd.KEPT, str(reason)))
            return False
        else:
            log.info("job %s: %s", job.id, _VERBS[final.status])
            tell(JobEnded(job.id, _ENDS[final.status], final.details))
            if final.status is JobStatus.QUEUED:
                return True
        self._notes.remove(job)
        return True

    def _send(self, report: Callable[[], None], cancelled: Cancellation) -> None:
        """Send `finished` or `error`. One that is on its way when the worker is stopped has some seconds to arrive."""
        sending = in_background(report, "report")
        try:
            cancelled.result_of(sending)
        except StopRequested:
            wait([sending], timeout=self._shutdown.left_s())
            if not sending.done():
                raise
            sending.result()

    def _requeue(self, job: Job, final: Final, requeues: Requeues, *, again: bool, worker_ends: bool) -> None:
        """Requeue the job, and note it.

        Waits for an API that does not answer. A worker that has to end waits for `Shutdown.left_s` only.
        """
        wait_s = self._wait_s(requeues)
        self._notes.write(job, requeues, confirmed=False, wait_s=wait_s)
        deadline = Cancellation()

        def begin_deadline() -> None:
            deadline.after(self._shutdown.left_s(), DetachRequested("the API does not take it back"))

        if worker_ends:
            begin_deadline()
        else:
            self._shutdown.stopped.call_when_set(begin_deadline)
        deadline.call(partial(steps.report, self._api, job.id, final, again=again, cancelled=deadline), "requeue")
        self._notes.write(job, requeues, confirmed=True, wait_s=wait_s)

    def _wait_s(self, requeues: Requeues) -> float:
        """The wait before the job is taken back: none after a stop, a growing one if the machine cannot run it."""
        if requeues.last_was_stop:
            return 0
        longest_s = min(self._first_wait_s * 2.0 ** min(requeues.faults, 20), MAX_WAIT_S)
        return longest_s * random.uniform(0.75, 1)  # noqa: S311 - jitter, not a secret
