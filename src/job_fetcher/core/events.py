"""What happens in the worker, told to whoever listens: its page, its metrics, its history, its progress bars.

It is to programs what `logging` is to people: a line where something happens, and nobody listens unless somebody asks
for that. The steps and the keep-alive tell their events in the cloud, too, where nobody listens.

Two jobs may be in hand. What moves bytes does not know for which one it works: `about` knows, and each event says it.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from job_fetcher.core.job import Job, JobStatus
from job_fetcher.core.job_report import JobReport

log = logging.getLogger(__name__)
_job_id: ContextVar[str | None] = ContextVar("job_id", default=None)


class Transfer(StrEnum):
    """What moves bytes for a job."""

    PULL = "pull"
    DOWNLOAD = "download"
    UPLOAD = "upload"


class JobEnd(StrEnum):
    """How a job ended on this worker."""

    FINISHED = "finished"
    ERROR = "error"
    REQUEUED = "requeued"
    DROPPED = "dropped"
    """Nobody waits for it any more: its user deleted it, another worker has it, or the API refuses its last status."""
    KEPT = "kept"
    """Its folder stays: the worker goes on with it before the next job, or at its next start."""


@dataclass(frozen=True)
class GpuFound:
    """The worker uses this GPU."""

    uuid: str
    model: str
    memory_mib: int


@dataclass(frozen=True)
class Offered:
    """What the worker offers to the platform: the query parameters of `GET /jobs`."""

    offer: Mapping[str, str | int]


@dataclass(frozen=True)
class Looked:
    """The worker has looked whether it could run a job now: the reason against that, or `None`."""

    reason_against: str | None


@dataclass(frozen=True)
class Polled:
    """The platform has answered the question for a job."""


@dataclass(frozen=True)
class JobBegan:
    """The worker has a job in hand; `log` is where its container's log is in the end."""

    job: Job
    log: Path


@dataclass(frozen=True)
class StageBegan:
    """The job in hand has a new status."""

    job_id: str
    stage: JobStatus


@dataclass(frozen=True)
class LogGrows:
    """The job's command runs; `end` gives the last bytes of what it has printed, that many at most."""

    job_id: str
    end: Callable[[int], bytes]


@dataclass(frozen=True)
class StatusHeard:
    """The platform has accepted a status of the job."""

    job_id: str


@dataclass(frozen=True)
class TriedAgain:
    """A request has failed, and is tried again after `wait_s` seconds, which are not told of keep-alives."""

    wait_s: float | None = None
    job_id: str | None = field(default_factory=_job_id.get)
    """The job that it was for; `None` without one."""


@dataclass(frozen=True)
class Planned:
    """So many bytes more are to be moved for a job; negative: so many fewer."""

    transfer: Transfer
    size: int
    job_id: str | None = field(default_factory=_job_id.get)


@dataclass(frozen=True)
class Moved:
    """So many bytes more have been moved for a job."""

    transfer: Transfer
    size: int
    job_id: str | None = field(default_factory=_job_id.get)


@dataclass(frozen=True)
class JobReported:
    """The report of the job in hand, complete."""

    report: JobReport


@dataclass(frozen=True)
class JobEnded:
    """The job has left this worker; `sentence` is what its user reads, or the reason."""

    job_id: str
    end: JobEnd
    sentence: str


Event = (
    GpuFound
    | Offered
    | Looked
    | Polled
    | JobBegan
    | StageBegan
    | LogGrows
    | StatusHeard
    | TriedAgain
    | Planned
    | Moved
    | JobReported
    | JobEnded
)
Observer = Callable[[Event], None]
"""Hears of every event, in the thread that tells it: it returns at once."""

_observers: tuple[Observer, ...] = ()


@contextmanager
def about(job_id: str) -> Iterator[None]:
    """What is told in this block, and in threads that `background` starts in it, is about this job."""
    token = _job_id.set(job_id)
    try:
        yield
    finally:
        _job_id.reset(token)


def tell(event: Event) -> None:
    """Tell `event` to everybody who listens. Whoever fails at that is not told anything any more."""
    for each in _observers:
        try:
            each(event)
        except Exception:
            _leave(each)
            log.exception("The worker stops watching itself: an unforeseen error. Its jobs go on")


@contextmanager
def listening(observer: Observer) -> Iterator[None]:
    """`observer` hears of every event in this block."""
    listen(observer)
    try:
        yield
    finally:
        _leave(observer)


def listen(observer: Observer) -> None:
    """From now on `observer` hears of every event."""
    global _observers
    _observers = (*_observers, observer)


def _leave(observer: Observer) -> None:
    global _observers
    _observers = tuple(each for each in _observers if each is not observer)
