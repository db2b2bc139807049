"""Taking back: the worker resumes jobs that it has requeued, before it asks for new ones.

The platform gives a job to an account once, so that a lab with one account would lose each job that it requeues. As
long as the API says `queued`, nobody else has the job, and this account may take it back (docs/operations.md).
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from job_fetcher import steps
from job_fetcher.core import whose
from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobFailed, JobGone, Unavailable
from job_fetcher.core.job import Job, JobStatus
from job_fetcher.engine import hardware, image_names
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.ending import failed
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.requeued import Note, RequeuedJobs, Requeues

MAX_TAKE_BACKS = 3
"""The worker takes a job back this many times after stops. After one more stop the job fails."""
MAX_FAILURES = 5
"""After so many failed questions about one job the worker asks for others meanwhile."""
_HELD = frozenset({JobStatus.QUEUED, JobStatus.PULLED, JobStatus.PREPROCESSING})
"""The statuses of a job that this account may still hold: the API has not confirmed that it is queued."""

Begin = Callable[[Job, Requeues], JobFolder | None]
"""Makes the folder of a job that the worker has now; `None` if it cannot, and has told the API so."""

log = logging.getLogger(__name__)


class TakeBack:
    """Takes back the jobs that `notes` has, for a worker whose jobs may use the images `allowed` (patterns)."""

    def __init__(self, api: WorkerApi, notes: RequeuedJobs, allowed: tuple[str, ...], ending: Cancellation) -> None:
        self._api, self._notes, self._allowed, self._ending = api, notes, allowed, ending
        self._started_at = time.time()
        self._failures: Counter[str] = Counter()

    def next_folder(self, offer: Mapping[str, str | int], begin: Begin) -> JobFolder | None:
        """The folder of a job that this machine can run now; `None` if there is none.

        `offer` is what the machine has, as the query parameters of `GET /jobs`. One worker of a folder looks at a time.
        Raises what `WorkerApi` raises, but no `JobFailed`.
        """
        if not self._candidates(offer):
            return None
        try:
            with self._notes.locked():
                for note in self._candidates(offer):  # another worker may have taken one back meanwhile
                    folder = self._try(note, begin)
                    if folder is not None:
                        return folder
        except OSError as error:
            log.warning("The worker cannot lock the notes of requeued jobs, and takes none back: %s", error)
        return None

    def _candidates(self, offer: Mapping[str, str | int]) -> list[Note]:
        return [
            note
            for note in self._notes.notes()
            if note.is_due(self._started_at)
            and hardware.fits(offer, _part(note.job.raw, "hardware"))
            and self._is_allowed(_part(note.job.raw, "handler").get("image_url"))
        ]

    def _is_allowed(self, image: Any) -> bool:
        """Whether jobs may use `image`. A name that is none is the job's own error, which its run reports."""
        try:
            return image_names.is_allowed(image_names.parse(str(image)), self._allowed)
        except JobFailed:
            return True

    def _try(self, note: Note, begin: Begin) -> JobFolder | None:
        try:
            return self._take(note, begin)
        except (JobGone, JobFailed) as over:
            log.info("job %s: not taken back: %s", note.job.id, over)
            self._notes.remove(note.job)
        except Unavailable as error:
            self._failures[note.job.id] += 1
            if self._failures[note.job.id] < MAX_FAILURES:
                raise
            log.warning("job %s: not taken back now: %s", note.job.id, error)
        return None

    def _take(self, note: Note, begin: Begin) -> JobFolder | None:
        """Take back the job of `note`. Raises `JobGone` if somebody else has it, or it has ended.

        The API accepts a status from the account that had the job last, and would revive a job that has ended. So the
        question comes immediately before.
        """
        job, requeues = note.job, note.requeues
        self._ending.check()
        if note.untold:
            self._give_up(job, requeues, untold=True)
            return None
        status = self._api.get_status(job.id)
        if status is None:
            raise JobGone
        if status not in (_HELD if not note.confirmed else {JobStatus.QUEUED}):
            raise JobGone(f"its status is {status}")
        if requeues.stops > MAX_TAKE_BACKS:
            self._give_up(job, requeues)
            return None
        self._notes.write(job, requeues, confirmed=False)
        self._api.put_status(job.id, JobStatus.PREPROCESSING)
        log.info("job %s: taken back%s", job.id, whose.noted(job.raw))
        folder = begin(job, requeues)
        if folder is not None:
            self._notes.remove(job)
        return folder

    def _give_up(self, job: Job, requeues: Requeues, *, untold: bool = False) -> None:
        """End the job as `error`. `untold`: an earlier start has tried, and the API has answered 500."""
        reason = f"The owner of this worker stopped it {requeues.stops} times while it had the job."
        note_it = partial(self._notes.write, job, requeues, confirmed=True, untold=True)
        steps.report(self._api, job.id, failed(reason), cancelled=self._ending, untold=untold, when_untold=note_it)
        log.warning("job %s: failed: %s", job.id, reason)
        self._notes.remove(job)


def _part(raw: Any, name: str) -> Mapping[str, Any]:
    """A part of a job's description that is an object; an empty one if it is none."""
    part = raw.get(name) if isinstance(raw, Mapping) else None
    return part if isinstance(part, Mapping) else {}
