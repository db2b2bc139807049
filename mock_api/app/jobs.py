"""The queue: which job goes to whom, whose it is, and what became of it. Knows nothing of HTTP."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from .config import Environment, MockConfig


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
    """There is no record of this job, or no longer, or an upload is for another account's job (500)."""


class UsersSideDown(Exception):
    """The queue has kept a status, and could not tell the users' side of it (500)."""


@dataclass(frozen=True)
class Update:
    """One line of the queue's history of a job. `account` is `None` where the platform acted by itself.

    `reported`: the users' side knows of it, too.
    """

    time: float
    status: Status
    runtime_details: str | None
    account: str | None
    reported: bool = True


@dataclass
class Job:
    """A job. `holder` is the account that pulled it last: the only one that the API listens to.

    `deleted`: its user has cancelled it. `forgotten`: the queue has heard of that, and dropped its record.
    """

    id: str
    specs: dict[str, Any]
    group: str | None
    environment: Environment
    queued_at: float
    status: Status = Status.QUEUED
    holder: str | None = None
    tried: set[str] = field(default_factory=set)
    retries: int = 0
    deleted: bool = False
    forgotten: bool = False
    last_update: float = 0.0
    history: list[Update] = field(default_factory=list)


@dataclass(frozen=True)
class Offer:
    """What a worker has, in MiB and cores, and the groups whose jobs it wants first."""

    memory: int
    cpu_cores: int = 1
    gpu_mem: int = 0
    gpu_model: str | None = None
    gpu_archi: str | None = None
    groups: tuple[str, ...] = ()
    environment: Environment = "local"

    def fits(self, job: Job) -> bool:
        """Numbers must suffice, names must be equal; what a job does not ask for does not matter."""
        wanted: Mapping[str, Any] = job.specs.get("hardware") or {}
        enough = all((wanted.get(name) or 0) <= getattr(self, name) for name in ("cpu_cores", "memory", "gpu_mem"))
        same = all(wanted.get(name) in (None, getattr(self, name)) for name in ("gpu_model", "gpu_archi"))
        return enough and same and job.environment == self.environment


class JobQueue:
    """All jobs of one mock. Every look at them first queues those again that nobody has updated for too long."""

    def __init__(self, config: MockConfig, now: Callable[[], float]) -> None:
        self._config = config
        self._now = now
        self._jobs: dict[str, Job] = {}
        self._held: set[str] = set()
        self._waiting: dict[str, None] = {}  # an ordered set: first in, first out
        self._lock = threading.RLock()

    # What people do.

    def submit(self, specs: dict[str, Any], group: str | None = None, environment: Environment = "local") -> str:
        """Queue a job and return its id, which is deliberately not its `meta.job_id`."""
        with self._current() as now:
            number = self._next_number()
            created = datetime.fromtimestamp(now, UTC).isoformat()
            meta = {"job_id": 1000 + number, "date_created": created} | (specs.get("meta") or {})
            job = Job(str(number), specs | {"meta": meta}, group, environment, queued_at=now)
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

    def pull(
        self, account: str, offer: Offer, limit: int = 1, older_than: float = 0, *, reported: bool = True
    ) -> dict[str, dict[str, Any]]:
        """Give up to `limit` jobs that fit to this account, which has had none of them before.

        Those of its groups come first, then those that have waited longest. Raises `UsersSideDown` if the users' side
        is not `reported`: the jobs are given, and nobody knows to whom.
        """
        with self._current() as now:
            waiting = [self._jobs[job_id] for job_id in self._waiting]
            in_order = itertools.chain(
                (job for job in waiting if job.group in offer.groups),
                (job for job in waiting if job.group not in offer.groups),
            )
            fitting = (
                job
                for job in in_order
                if account not in job.tried and job.queued_at + older_than <= now and offer.fits(job)
            )
            jobs = list(itertools.islice(fitting, max(limit, 0)))
            for job in jobs:
                job.holder = account
                job.tried.add(account)
                self._set(job, Status.PULLED, None, account, now, reported)
            if jobs and not reported:
                raise UsersSideDown
            return {job.id: job.specs for job in jobs}

    def update(
        self, job_id: str, account: str, status: Status, runtime_details: str | None, *, reported: bool = True
    ) -> None:
        """Take the word of the account that had the job last, in whatever state the job is.

        Raises `JobGone` every time for another account's job, once for a deleted one, and then `NoRecord`. Raises
        `UsersSideDown` if the users' side is not `reported`: the status is kept, but nobody hears of a deleted job.
        """
        with self._current() as now:
            job = self._record(job_id)
            if job.holder != account:
                raise JobGone
            if job.deleted and reported:
                job.forgotten = True
                raise JobGone
            if not job.deleted:
                self._set(job, status, runtime_details, account, now, reported)
            if not reported:
                raise UsersSideDown

    def status(self, job_id: str) -> Status:
        """Whoever has the job. Raises `JobGone`, every time, for one that is unknown or deleted."""
        with self._current():
            job = self._jobs.get(job_id)
            if job is None or job.deleted:
                raise JobGone
            return job.status

    def check_upload(self, job_id: str, account: str) -> None:
        """Raises `NoRecord` unless there is a record of the job, and it is this account's."""
        with self._current():
            if self._record(job_id).holder != account:
                raise NoRecord

    def _record(self, job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None or job.forgotten:
            raise NoRecord
        return job

    # The platform itself.

    def _next_number(self) -> int:
        last = len(self._jobs)
        while self._config.reuse_ids and last and self._jobs[str(last)].forgotten:
            last -= 1
        return last + 1

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

    def _set(
        self, job: Job, status: Status, details: str | None, account: str | None, now: float, reported: bool = True
    ) -> None:
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
        job.history.append(Update(now, status, details, account, reported))
