"""The jobs' folders on disk, which are all that the worker remembers: what it takes to go on after a crash.

::

    PATH_BASE/
      .lock                 held for the moment in which a folder appears or is taken up
      .gpu-…                held (flock) by the worker of that card
      .images.json          the images that jobs have brought
      .paused               there while no job is to be asked for
      .making-…/            a job's folder that is not complete yet
      .probe-…/             there while a container looks whether it sees it
      .removing-…/          a finished job's folder on its way out
      .unreadable-…/        a folder that was not understood, put aside for a person to look at
      <job id>/
        job.json            `JobState`
        lock                held (flock) by the worker that works on the job; the system lets go of it when that dies
        files/              mounted at /files in the job's container
        parts/              inputs on their way, renamed into files/ when they are complete
        uploads.jsonl       what has arrived, a line each
        container.log       the container's log, once it has ended
        ballast             thrown off when the disk is full, so that `job.json` can still be written

`job.json` is replaced whole (temporary name, fsync, rename), `uploads.jsonl` only grows, and a last line that was cut
is ignored: a power cut at any byte leaves both readable.
"""

import errno
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from job_fetcher.core.errors import JobFailed, MachineFault, SettingsError
from job_fetcher.core.job import Job
from job_fetcher.workspace.disk import boot_id, remove_tree, sync_names
from job_fetcher.workspace.job_folder import VERSION, JobFolder, JobState

BALLAST = 65_536
STALE_S = 600.0
"""A folder to try (`probe`) of this age has been left by a worker that was killed."""

log = logging.getLogger(__name__)


class Workspace:
    """The folders below `base` (`PATH_BASE`) that belong to the worker of `owner`, an account of an API."""

    def __init__(self, base: Path, owner: str) -> None:
        self.base, self._owner = base, owner
        self._card: int | None = None

    def prepare(self) -> None:
        """Make `base` if it is not there; raises `SettingsError` if jobs' folders cannot be made in it."""
        try:
            with self.locked():
                pass
        except OSError as error:
            cure = "mount it without :ro" if error.errno == errno.EROFS else "let this user write there, or set another"
            raise SettingsError(f"PATH_BASE ({self.base}) cannot be written to: {error.strerror} - {cure}") from error

    @property
    def is_paused(self) -> bool:
        """Whether no new job is to be asked for, by any worker here."""
        return (self.base / ".paused").exists()

    def pause(self) -> None:
        """Let no worker here ask for a job, after a restart neither, until `resume`."""
        (self.base / ".paused").touch()

    def resume(self) -> None:
        """Let jobs be asked for again."""
        (self.base / ".paused").unlink(missing_ok=True)

    def claim_gpu(self, gpu: str) -> bool:
        """Whether no other worker here uses the card with that UUID; it is this one's then, until its process ends."""
        with suppress(OSError):  # a full disk, which others tell
            self._card = self._card or _flock(self.base / f".gpu-{gpu}")
            return self._card is not None
        return True

    def create(self, job: Job, gpu: str | None = None) -> JobFolder:
        """A new, empty folder for `job`. One that is left of an earlier try of the same job is removed first.

        Raises `MachineFault` if something else has that name: another worker's folder, another account's, anybody's.
        Raises `JobFailed` if its id is no name for a folder or the disk is full.
        """
        path = self.base / job.folder_name
        try:
            with self.locked():
                if os.path.lexists(path):
                    self._take_away(path)
                return self._make(path, JobState(boot_id=boot_id(), owner=self._owner, gpu=gpu, job=job))
        except OSError as error:
            raise JobFailed(f"The worker cannot make the job's folder: {error.strerror}.") from error

    def _make(self, path: Path, state: JobState) -> JobFolder:
        """The folder appears under its name when it is complete: a crash on the way leaves no half of one."""
        making = path.with_name(f".making-{path.name}")
        remove_tree(making)
        making.mkdir(mode=0o700)
        lock = _lock(making)
        assert lock is not None  # under the workspace's lock nobody else is here
        folder = JobFolder(making, lock, state)
        try:
            folder.reset()
            (making / "ballast").write_bytes(bytes(BALLAST))
            making.rename(path)
            sync_names(path.parent)
        except OSError:
            os.close(lock)
            remove_tree(making)
            raise
        return JobFolder(path, lock, state)

    def resumable(self, gpu: str | None = None) -> Iterator[JobFolder]:
        """The folders of jobs that a worker of this owner and `gpu` left behind and that nobody holds, held by now."""
        with self.locked():
            for path in self.base.glob(".making-*"):
                remove_tree(path)
        for path in self.base.glob(".probe-*"):  # another worker may be looking now
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime < time.time() - STALE_S:
                    remove_tree(path)
        for path in sorted(self.base.glob(".removing-*")):
            remove_tree(path)
        for path in sorted(path.parent for path in self.base.glob("[!.]*/lock")):
            if not any((path / name).exists() for name in ("job.json", "files")):  # somebody else's
                continue
            with self.locked():
                folder = self._take_up(path, gpu)
            if folder is not None:
                yield folder

    def _take_up(self, path: Path, gpu: str | None) -> JobFolder | None:
        if not path.is_dir() or (lock := _lock(path)) is None:
            return None
        try:
            state = JobState.model_validate_json((path / "job.json").read_bytes())
            made_here = state.version == VERSION and path.name == state.job.folder_name
        except (OSError, ValueError, JobFailed) as error:
            os.close(lock)
            self._put_aside(path, error)
            return None
        if not made_here:
            os.close(lock)
            self._put_aside(path, ValueError("made by another version of the worker, or renamed"))
            return None
        if state.owner != self._owner:
            os.close(lock)
            log.warning("Job %s in %s belongs to another account (%s): left alone", state.job.id, path, state.owner)
            return None
        if state.gpu not in (None, gpu):
            os.close(lock)
            log.warning("Job %s in %s waits for a worker with the card %s", state.job.id, path, state.gpu)
            return None
        return JobFolder(path, lock, state)

    def _put_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f".unreadable-{path.name}-{time.time_ns()}")
        path.rename(aside)
        what = "is not understood" if isinstance(error, ValidationError) else str(error)
        log.error("The folder %s cannot be gone on with (%s): put aside as %s", path, what, aside.name)

    def _take_away(self, path: Path) -> None:
        try:
            ours = JobState.model_validate_json((path / "job.json").read_bytes()).owner == self._owner
        except (OSError, ValueError):
            ours = False
        if not ours:
            raise MachineFault("The worker's folder has something else of the job's name in it.")
        lock = _lock(path)
        if lock is None:
            raise MachineFault("Another worker on this machine has a folder of this job in use.")
        doomed = path.with_name(f".removing-{path.name}-{time.time_ns()}")
        path.rename(doomed)
        os.close(lock)
        remove_tree(doomed)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The workspace's own lock: between the making of a folder and of its lock nobody else looks."""
        self.base.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.base / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _lock(folder: Path) -> int | None:
    """The descriptor that holds `folder`'s lock; `None` if another process holds it, or has just removed it."""
    try:
        return _flock(folder / "lock")
    except FileNotFoundError:  # removed in this moment, by the one who held it
        return None


def _flock(file: Path) -> int | None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
