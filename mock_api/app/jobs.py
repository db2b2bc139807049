"""The queue: which job goes to whom, whose it is, and what became of it. Knows nothing of HTTP."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from .config import MockConfig


class Status(StrEnum):
    QUEUED = "queued"
    PULLED = "pulled"
    PREPROCESSING = "preprocessing"
    RUNNING = "running"
    POSTPROCESSING = "postprocessing"
    FINISHED = "finished"
    ERROR = "error"


HELD = frozenset({Status.PULLED, Status.PREPROCESSING, Status.RUNNING, Status.POSTPROCESSING})


class JobGone(Exception):
    """The job was deleted or given to another account (404)."""


class NoRecord(Exception):
    """There is no record of this job for this account, or no longer (500)."""


@dataclass(frozen=True)
class Update:
    """One line of a job's history. `account` is `None` where the platform acted by itself."""

    time: float
    status: Status
    runtime_details: str | None
    account: str | None


@dataclass
class Job:
    """A job. `holder` is the account that pulled it last: the only one that the API listens to."""

    id: str
    specs: dict[str, Any]
    group: str | None
    queued_at: float
    status: Status = Status.QUEUED
    holder: str | None = None
    tried: set[str] = field(default_factory=set)
    dismissed: set[str] = field(default_factory=set)  # accounts that have had their one 404
    retries: int = 0
    deleted: bool = False
    last_update: float = 0.0
    history: list[Update] = field(default_factory=list)

    def belongs_to(self, account: str) -> bool:
        return self.holder == account and not self.deleted


@dataclass(frozen=True)
class Offer:
    """What a worker has, in MiB and cores."""

    memory: int
    cpu_cores: int = 1
    gpu_mem: int = 0
    gpu_model: str | None = None
    gpu_archi: str | None = None
    groups: tuple[str, ...] = ()

    def fits(self, job: Job) -> bool:
        """Numbers must suffice, names must be equal; what a job does not ask for does not matter."""
        wanted: Mapping[str, Any] = job.specs.get("hardware") or {}
        enough = all((wanted.get(name) or 0) <= getattr(self, name) for name in ("cpu_cores", "memory", "gpu_mem"))
        same = all(wanted.get(name) in (None, getattr(self, name)) for name in ("gpu_model", "gpu_archi"))
        return enough and same and (job.group is None or job.group in self.groups)


class JobQueue:
    """All jobs of one mock. Every look at them first queues those again that nobody has updated for too long."""

    def __init__(self, config: MockConfig, now: Callable[[], float]) -> None:
        self._config = config
        self._now = now
        self._numbers = itertools.count(1)
        self._jobs: dict[str, Job] = {}
        self._held: set[str] = set()
        self._waiting: dict[str, None] = {}  # an ordered set: first in, first out
        self._lock = threading.RLock()

    # What people do.

    def submit(self, specs: dict[str, Any], group: str | None = None) -> str:
        """Queue a job and return its id, which is deliberately not its `meta.job_id`."""
        with self._current() as now:
            number = next(self._numbers)
            created = datetime.fromtimestamp(now, UTC).isoformat()
            meta = {"job_id": 1000 + number, "date_created": created} | (specs.get("meta") or {})
            job = Job(id=str(number), specs=specs | {"meta": meta}, group=group, queued_at=now)
            self._jobs[job.id] = job
            self._set(job, Status.QUEUED, None, None, now)
            return job.id

    def delete(self, job_id: str) -> None:
        """Cancel a job as its user does. Raises `KeyError`."""
        with self._current():
            job = self._jobs[job_id]
            if job.deleted:
                raise KeyError(job_id)
            job.deleted = True
            self._held.discard(job.id)
            self._waiting.pop(job.id, None)

    def get(self, job_id: str) -> Job:
        """Return a job, deleted ones too. Raises `KeyError`."""
        with self._current():
            return self._jobs[job_id]

    def all(self) -> list[Job]:
        """All jobs, deleted ones too, oldest first."""
        with self._current():
            return list(self._jobs.values())

    # What workers do.

    def pull(self, account: str, offer: Offer, limit: int = 1, older_than: float = 0) -> dict[str, dict[str, Any]]:
        """Give up to `limit` jobs that fit to this account, those that have waited longest first."""
        with self._current() as now:
            waiting = (self._jobs[job_id] for job_id in self._waiting)
            fitting = (
                job
                for job in waiting
                if account not in job.tried and job.queued_at + older_than <= now and offer.fits(job)
            )
            jobs = list(itertools.islice(fitting, max(limit, 0)))
            for job in jobs:
                job.holder = account
                job.tried.add(account)
                self._set(job, Status.PULLED, None, account, now)
            return {job.id: job.specs for job in jobs}

    def update(self, job_id: str, account: str, status: Status, runtime_details: str | None) -> None:
        """Take a worker's word, late or not. Raises `JobGone` once per account, `NoRecord` ever after."""
        with self._current() as now:
            job = self._jobs.get(job_id)
            if job is None or account in job.dismissed:
                raise NoRecord
            if not job.belongs_to(account):
                job.dismissed.add(account)
                raise JobGone
            self._set(job, status, runtime_details, account, now)

    def status(self, job_id: str, account: str) -> Status:
        """Raises `JobGone`, every time, for a job that is unknown, deleted or another account's."""
        with self._current():
            job = self._jobs.get(job_id)
            if job is None or job.deleted or job.holder not in (None, account):
                raise JobGone
            return job.status

    def check_upload(self, job_id: str, account: str) -> None:
        """Raises `NoRecord` unless the job is this account's."""
        with self._current():
            job = self._jobs.get(job_id)
            if job is None or not job.belongs_to(account):
                raise NoRecord

    # The platform itself.

    @contextmanager
    def _current(self) -> Iterator[float]:
        """Hold the lock over jobs that are up to date, and tell the time."""
        with self._lock:
            now = self._now()
            for job in [self._jobs[job_id] for job_id in self._held]:
                deadline = job.last_update + self._config.timeout_failure_s
                if deadline <= now:
                    self._give_up_waiting(job, deadline)
            yield now

    def _give_up_waiting(self, job: Job, deadline: float) -> None:
        silence = f"no update for {self._config.timeout_failure_s:g} s"
        if job.retries >= self._config.max_retries:
            self._set(job, Status.ERROR, f"{silence}, after {job.retries} retries", None, deadline)
        else:
            job.retries += 1
            self._set(job, Status.QUEUED, silence, None, deadline)

    def _set(self, job: Job, status: Status, details: str | None, account: str | None, now: float) -> None:
        if status is Status.QUEUED:
            job.queued_at = now
            self._waiting.setdefault(job.id)
        else:
            self._waiting.pop(job.id, None)
        if status in HELD:
            self._held.add(job.id)
        else:
            self._held.discard(job.id)
        job.status = status
        job.last_update = now
        job.history.append(Update(now, status, details, account))
