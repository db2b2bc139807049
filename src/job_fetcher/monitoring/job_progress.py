"""The job in hand, as the recorder knows it: its stages with their times, its transfers, its report."""

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from job_fetcher.core.events import JobEnd, Transfer
from job_fetcher.core.job import JobStatus
from job_fetcher.core.job_report import JobReport
from job_fetcher.core.whose import Whose, plain
from job_fetcher.monitoring.snapshot import JobNow, PastJob, StageTime
from job_fetcher.monitoring.transfers import TransferMeter


class JobProgress:
    """A job from its begin on this worker to its end. Its user locks: it is not safe for threads."""

    def __init__(self, job_id: str, whose: Whose, log: Path | None) -> None:
        self.job_id, self._whose, self.log = job_id, whose, log
        self._began_at, self._began_s = datetime.now(UTC), time.monotonic()
        self._stages: list[tuple[JobStatus, float]] = []
        self.meters: defaultdict[Transfer, TransferMeter] = defaultdict(TransferMeter)
        self.report: JobReport | None = None
        self.log_end: Callable[[int], bytes] | None = None
        self.heard_at: float | None = None
        """When the platform has accepted a status of the job last, on the monotonic clock."""

    def enter(self, stage: JobStatus) -> None:
        """The job has a new status."""
        if not self._stages or self._stages[-1][0] is not stage:
            self._stages.append((stage, time.monotonic()))
            self.meters.clear()
            self.log_end = None

    def now(self) -> JobNow:
        """The job as it is now."""
        moving = (meter.progress(transfer) for transfer, meter in self.meters.items())
        return JobNow(
            **self._facts(),
            stage=self._stages[-1][0] if self._stages else JobStatus.PREPROCESSING,
            seconds=time.monotonic() - self._began_s,
            progress=tuple(filter(None, moving)),
        )

    def over(self, end: JobEnd, sentence: str) -> PastJob:
        """The job that has left the worker now."""
        return PastJob(**self._facts(), ended_at=datetime.now(UTC), end=end, sentence=sentence, report=self.report)

    def _facts(self) -> dict[str, Any]:
        ends_s = [began_s for _, began_s in self._stages[1:]] + [time.monotonic()]
        return {
            "job_id": plain(self.job_id) or "",
            "user_job_id": self._whose.user_job_id,
            "application": self._whose.application,
            "image": self._whose.image,
            "began_at": self._began_at,
            "stages": tuple(
                StageTime(stage=stage, seconds=end_s - began_s)
                for (stage, began_s), end_s in zip(self._stages, ends_s, strict=False)
            ),
        }
