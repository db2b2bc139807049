"""Notes of the jobs that workers of this folder have requeued: what it takes to take a job back later.

The platform gives a job to an account once. A lab with one account loses a requeued job unless it takes it back.

::

    PATH_BASE/
      .requeued.lock                      held (flock) by the worker that takes a job back
      .requeued-<job id>-<owner>.json     `Note`; `<owner>` is a digest of the account and the API

A worker replaces a note as a whole (`disk.write_durably`), and renames one that it does not understand. A note holds
the job's environment, which may have secrets of the job's user: only the worker's own user can read the file.
"""

import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import Field, ValidationError

from job_fetcher.core.errors import JobFailed, JobFetcherError, StopRequested
from job_fetcher.core.job import Job, Model
from job_fetcher.workspace.disk import write_durably

VERSION = 1
"""Of the format of a note. A worker leaves the notes of another version alone."""

log = logging.getLogger(__name__)


class Requeues(Model):
    """How often workers of this folder have requeued a job, by the reason."""

    stops: int = Field(default=0, ge=0)
    """Because the worker was told to stop."""
    faults: int = Field(default=0, ge=0)
    """For a reason of the machine: its folder, its GPU, its engine, a registry, its credentials."""
    last_was_stop: bool = False

    def plus(self, reason: JobFetcherError) -> "Requeues":
        """One more, for `reason`."""
        if isinstance(reason, StopRequested):
            return Requeues(stops=self.stops + 1, faults=self.faults, last_was_stop=True)
        return Requeues(stops=self.stops, faults=self.faults + 1)

    def sent_before(self, reason: JobFetcherError) -> bool:
        """Whether the job's user has read about a reason of this kind already."""
        return bool(self.stops if isinstance(reason, StopRequested) else self.faults)


class Note(Model):
    """A job that this worker's account has requeued."""

    version: int = VERSION
    owner: str
    job: Job
    requeues: Requeues
    confirmed: bool
    """Whether the API has said that the job is queued. If not, the account may still hold it."""
    written_at: float
    """When, in seconds since the epoch."""
    wait_s: float = Field(default=0, ge=0)
    """No worker takes the job back earlier than this many seconds after `written_at`."""
    untold: bool = False
    """The worker has given the job up, and the API has answered 500: it may know that while the job's user does not."""

    def is_due(self, started_at: float) -> bool:
        """Whether the wait is over. A worker that has started since does not wait, nor after the clock was set back."""
        waited_s = time.time() - self.written_at
        return self.written_at < started_at or not 0 <= waited_s < self.wait_s


class RequeuedJobs:
    """The notes of `owner` (an account at an API) below `base` (`PATH_BASE`)."""

    def __init__(self, base: Path, owner: str) -> None:
        self._base, self._owner = base, owner
        self._in_memory: dict[str, Note] = {}
        self._suffix = f"-{hashlib.sha256(owner.encode()).hexdigest()[:16]}.json"

    def write(self, job: Job, requeues: Requeues, *, confirmed: bool, wait_s: float = 0, untold: bool = False) -> None:
        """Note that `job` is requeued. A note that the disk does not take is logged, and kept until this process ends.

        A job whose id cannot name a file gets none; it cannot run here either.
        """
        note = Note(
            owner=self._owner, job=job, requeues=requeues, confirmed=confirmed, written_at=time.time(), wait_s=wait_s,
            untold=untold,
        )  # fmt: skip
        self._in_memory.pop(job.id, None)
        try:
            write_durably(self._path(job), note.model_dump_json(), private=True)
        except JobFailed:
            return
        except OSError as error:
            log.warning("job %s: note of the requeue failed: %s", job.id, error.strerror)
            self._in_memory[job.id] = note

    def remove(self, job: Job) -> None:
        """Forget a job, if it has a note."""
        self._in_memory.pop(job.id, None)
        with suppress(OSError, JobFailed):
            self._path(job).unlink(missing_ok=True)

    def notes(self) -> list[Note]:
        """The notes of the jobs that have no folder here, the oldest first. A worker has, or resumes, the others."""
        files = sorted(self._base.glob(f".requeued-*{self._suffix}"))
        found = [note for path in files if (note := self._read(path)) and note.job.id not in self._in_memory]
        found += self._in_memory.values()
        return sorted(found, key=lambda note: note.written_at)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of all notes here; another worker that looks at them waits. Raises `OSError`."""
        descriptor = os.open(
            self._base / ".requeued.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, job: Job) -> Path:
        return self._base / f".requeued-{job.folder_name}{self._suffix}"

    def _read(self, path: Path) -> Note | None:
        try:
            note = Note.model_validate_json(path.read_bytes())
            named_so = self._path(note.job) == path and note.owner == self._owner
        except FileNotFoundError:  # another worker has just taken the job back
            return None
        except OSError as error:  # it may pass
            log.warning("The worker cannot read the note %s now: %s. It tries again.", path, error.strerror)
            return None
        except (ValidationError, JobFailed) as error:
            self._put_aside(path, error)
            return None
        if note.version != VERSION or not named_so or os.path.lexists(self._base / note.job.folder_name):
            return None
        return note

    def _put_aside(self, path: Path, error: Exception) -> None:
        what = "it is not valid" if isinstance(error, ValidationError) else str(error)
        with suppress(OSError):
            path.rename(path.with_suffix(".unreadable"))
            log.error("The worker does not understand the note %s (%s). It renames it to *.unreadable.", path, what)
