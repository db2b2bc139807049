"""Listens to the events of the worker, and knows at any time what it is doing: `Recorder.status`."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from job_fetcher.core import health
from job_fetcher.core.events import (
    Event,
    GpuFound,
    JobBegan,
    JobEnd,
    JobEnded,
    JobReported,
    LogGrows,
    Looked,
    Moved,
    Offered,
    Planned,
    Polled,
    StageBegan,
    StatusHeard,
    Transfer,
    TriedAgain,
)
from job_fetcher.core.job import JobStatus
from job_fetcher.core.log_text import clean
from job_fetcher.core.whose import Whose, plain
from job_fetcher.monitoring import words
from job_fetcher.monitoring.job_progress import JobProgress
from job_fetcher.monitoring.snapshot import GpuState, JobNow, PastJob, Status

MAX_SENTENCE = 500
"""Characters of the sentence that says how a job ended."""


class Recorder:
    """Hears every event, in any thread. Every method is safe for threads, and returns at once."""

    def __init__(
        self,
        *,
        worker_version: str = "",
        account: str = "",
        settings: Mapping[str, str] | None = None,
        reserve_bytes: int = 0,
        free_bytes: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._lock = threading.RLock()
        self._fixed: dict[str, Any] = {
            "worker_version": worker_version,
            "account": account,
            "settings": dict(settings or {}),
            "disk_reserve_bytes": reserve_bytes,
            "started_at": _now(),
        }
        self._free_bytes = free_bytes
        self._offer: dict[str, str | int] = {}
        self._reason_against: str | None = None
        self._polled_at: float | None = None
        self._jobs: dict[str, JobProgress] = {}
        """By id: the job in hand is the last one. One that finishes behind it is the first."""
        self._ended: str | None = None
        self.gpu: GpuFound | None = None
        self.gpu_state: Callable[[], GpuState | None] = lambda: None
        """What is known of the GPU (`gpu.GpuWatch`)."""
        self.when_over: Callable[[PastJob], None] = lambda _: None
        """Called with each job that has left the worker, in the thread that says so."""
        self.ends: Counter[JobEnd] = Counter()
        self.stage_seconds: dict[JobStatus, tuple[int, float]] = {}
        """By stage, of all jobs that are over: how many were in it, and the seconds of all of them."""
        self.bytes_moved: Counter[Transfer] = Counter()
        self.retries = 0
        self.errors_in_a_row = 0

    def __call__(self, event: Event) -> None:
        """Take note of `event`."""
        with self._lock:
            past = self._note(event)
        if past is not None:
            self.when_over(past)

    def status(self) -> Status:
        """What the worker is doing now."""
        gpu = self.gpu_state()
        free_bytes = self._free_bytes()
        with self._lock:
            job = self._job.now() if self._job else None
            behind = next(iter(self._jobs.values())).now() if len(self._jobs) > 1 else None
            return Status(
                **self._fixed,
                at=_now(),
                is_well=health.is_well(),
                doing=words.doing(job, behind, self._reason_against, has_polled=self._polled_at is not None),
                job=job,
                finishing=behind,
                offer=self._offer,
                reason_against=self._reason_against,
                polled_s_ago=_ago(self._polled_at),
                status_heard_s_ago=_oldest(each.heard_at for each in self._jobs.values()),
                errors_in_a_row=self.errors_in_a_row,
                disk_free_bytes=free_bytes,
                gpu=gpu,
            )

    def jobs(self) -> list[JobNow]:
        """The jobs in hand as they are now: one that finishes behind the last one comes first."""
        with self._lock:
            return [each.now() for each in self._jobs.values()]

    def log(self) -> tuple[Path | None, Callable[[int], bytes] | None]:
        """Where the log of the job in hand is in the end, and what gives its last bytes while its command runs."""
        with self._lock:
            return (self._job.log, self._job.log_end) if self._job else (None, None)

    @property
    def _job(self) -> JobProgress | None:
        return next(reversed(self._jobs.values()), None)

    def _note(self, event: Event) -> PastJob | None:
        """Take note. Returns the job that is over, if one is."""
        match event:
            case GpuFound():
                self.gpu = event
            case Offered(offer):
                self._offer = dict(offer)
            case Looked(reason_against):
                self._reason_against = reason_against
            case Polled():
                self._polled_at = time.monotonic()
            case JobBegan(job, log):
                self._ended = None
                self._jobs[job.id] = JobProgress(job.id, Whose.of(job.raw), log)
            case StatusHeard(job_id) if job_id in self._jobs:
                self._jobs[job_id].heard_at = time.monotonic()
            case StageBegan(job_id, stage) if job_id in self._jobs:
                self._jobs[job_id].enter(stage)
            case LogGrows(job_id, end) if job_id in self._jobs:
                self._jobs[job_id].log_end = end
            case TriedAgain():
                self.retries += 1
            case Planned(transfer, size, str(job_id)) if job_id in self._jobs:
                self._jobs[job_id].meters[transfer].plan(size)
            case Moved(transfer, size, job_id):
                self.bytes_moved[transfer] += size
                if job_id in self._jobs:
                    self._jobs[job_id].meters[transfer].move(size)
            case JobReported(report) if report.job_id in self._jobs:
                self._jobs[report.job_id].report = report
            case JobEnded(job_id, end, sentence):
                return self._end(job_id, end, sentence)
            case _:
                pass
        return None

    def _end(self, job_id: str, end: JobEnd, sentence: str) -> PastJob | None:
        """The job is over. One without a folder has not begun here, and one that ended is told of once."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            if job_id == self._ended or end in (JobEnd.KEPT, JobEnd.DROPPED):
                return None
            job = JobProgress(job_id, Whose(), None)
        past = job.over(end, _in_a_line(sentence))
        self._ended = job_id
        self.ends[end] += 1
        for each in past.stages:
            count, seconds = self.stage_seconds.get(each.stage, (0, 0.0))
            self.stage_seconds[each.stage] = (count + 1, seconds + each.seconds)
        if end in (JobEnd.ERROR, JobEnd.FINISHED):
            self.errors_in_a_row = self.errors_in_a_row + 1 if end is JobEnd.ERROR else 0
        return past


def _in_a_line(details: str) -> str:
    """The sentences of a job's details, without the log's end, as one plain line."""
    text = clean(details.partition("\n\nThe end of the log:")[0])
    return plain(" ".join(text.split()), MAX_SENTENCE) or ""


def _now() -> datetime:
    return datetime.now(UTC)


def _oldest(times_s: Iterable[float | None]) -> float | None:
    """Seconds since the first of the times that are known."""
    return _ago(min((each for each in times_s if each is not None), default=None))


def _ago(then_s: float | None) -> float | None:
    return None if then_s is None else time.monotonic() - then_s
