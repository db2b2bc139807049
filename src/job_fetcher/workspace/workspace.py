"""The jobs' folders on disk, which are all that the worker remembers: they let it resume jobs after a crash.

::

    PATH_BASE/
      .lock                 held (flock) for the moment in which a folder appears or a worker takes one up
      .gpu-…                held (flock) by the worker of that GPU
      .images.json          the images that jobs have brought
      .history.jsonl        the last jobs of the workers here, for the page (`monitoring.history`)
      .requeued-….json      the jobs that workers have requeued and may take back (`requeued`)
      .requeued.lock        held (flock) by the worker that takes one back
      .cache/               inputs of earlier jobs, for the next one that is given them (`input_cache`)
      .paused               exists while no worker here may ask for a job
      .making-…/            a job's folder that is not complete yet
      .probe-…/             exists while a container tests whether it sees the folder
      .removing-…/          the folder of a job that is over, while the worker removes it
      .trial-…              exists while a worker tries out the file system
      .unreadable-…/        a folder that the worker does not understand, put aside for a person
      <job id>/
        job.json            `JobState`
        lock                held (flock) by the worker that has the job; the kernel releases it when that worker dies
        files/              mounted at /files in the job's container
        names/              exists while the worker tries the names of the inputs (`names`)
        parts/              inputs in transfer, with their ranges (`transfer.arrived`); a complete one moves to files/
        uploads.jsonl       what has arrived, one line for each file
        container.log       the container's log, once the container has ended
        ballast             removed when the disk is full, so that the worker can still write `job.json`

The worker replaces `job.json` as a whole (temporary name, fsync, rename). `uploads.jsonl` only grows, and readers
ignore a last line that was cut. A power cut at any byte leaves both readable.
"""

import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from pydantic import ValidationError

from job_fetcher.core.background import in_background
from job_fetcher.core.errors import JobFailed, MachineFault, SettingsError
from job_fetcher.core.job import Job
from job_fetcher.workspace.disk import boot_id, is_there, remove_tree, sync_names
from job_fetcher.workspace.input_cache import InputCache
from job_fetcher.workspace.job_folder import VERSION, JobFolder, JobState
from job_fetcher.workspace.locks import lock, locked
from job_fetcher.workspace.requeued import RequeuedJobs, Requeues
from job_fetcher.workspace.trial import BALLAST, FileSystem, Unusable, try_out, try_to_write

STALE_S = 600.0
"""A worker that was killed has left a `.probe-…` or `.trial-…` folder of this age."""

log = logging.getLogger(__name__)


class Workspace:
    """The folders below `base` (`PATH_BASE`) that belong to the worker of `owner`, an account of an API."""

    def __init__(self, base: Path, owner: str) -> None:
        self.base, self._owner = base, owner
        self.requeued = RequeuedJobs(base, owner)
        self._gpu_lock: int | None = None
        self._in_doubt = True
        self._left: set[Path] = set()

    def prepare(self) -> None:
        """Make `base` if it does not exist, and try it out. Logs what its file system cannot do.

        Raises `SettingsError` if the worker cannot make jobs' folders in it. A full disk is left to `reason_against`.
        """
        try:
            for limit in self.try_out().limits:
                log.warning("Jobs run, but %s", limit)
        except Unusable as error:
            if not error.is_full:
                raise

    def try_out(self) -> FileSystem:
        """What the file system of `base` does. Raises `SettingsError` if the worker cannot make jobs' folders in it."""
        self._in_doubt = True
        found = try_out(self.base)
        try:
            with self.locked():
                pass
        except OSError as error:  # the file is another user's
            raise Unusable(
                f"PATH_BASE ({self.base}) cannot be written to: {error.strerror} - let this user write there, or set"
                " another"
            ) from error
        self._in_doubt = False
        return found

    def doubt(self) -> None:
        """Try the file system out before the next job: something has failed there."""
        self._in_doubt = True

    def reason_against(self) -> str | None:
        """Why the worker could not make a job's folder now; `None` if it could. Removes what had to stay meanwhile."""
        try:
            if self._in_doubt:
                self.try_out()
            else:
                try_to_write(self.base)
        except SettingsError as error:
            return str(error)
        for path in sorted(self._left):
            remove_tree(path)
            if not is_there(path):
                self._left.remove(path)
        return None

    @property
    def is_paused(self) -> bool:
        """Whether no worker here may ask for a new job."""
        with suppress(OSError):  # a broken disk: `reason_against` says so
            return (self.base / ".paused").exists()
        return False

    def pause(self) -> None:
        """Let no worker here ask for a job until `resume`. A restart does not change that."""
        (self.base / ".paused").touch()

    def resume(self) -> None:
        """Let the workers here ask for jobs again."""
        (self.base / ".paused").unlink(missing_ok=True)

    def claim_gpu(self, gpu: str) -> bool:
        """Whether no other worker here uses the GPU with that UUID. This process then holds it until it ends."""
        with suppress(OSError):  # a full disk, which readiness reports
            self._gpu_lock = self._gpu_lock or lock(self.base / f".gpu-{gpu}")
            return self._gpu_lock is not None
        return True

    def input_cache(self, max_bytes: int, max_age_s: float, min_free: int) -> InputCache:
        """The cache of inputs of this owner. With 0 for `max_bytes` it keeps nothing, and removes what it has."""
        return InputCache(self.base, self._owner, max_bytes, max_age_s=max_age_s, min_free=min_free)

    def create(self, job: Job, gpu: str | None = None, requeues: Requeues | None = None) -> JobFolder:
        """A new, empty folder for `job`. Removes first what an earlier try of the same job has left.

        `requeues`: what came before, if the worker takes the job back. Raises `MachineFault` if `base` does not take
        the folder, or something else has its name: a folder of another worker or account, or anything else. Raises
        `JobFailed` if the job's id cannot name a folder.
        """
        path = self.base / job.folder_name
        try:
            with self.locked():
                if os.path.lexists(path):
                    self._take_away(path)
                requeues = requeues or Requeues()
                return self._make(
                    path, JobState(boot_id=boot_id(), owner=self._owner, gpu=gpu, job=job, requeues=requeues)
                )
        except OSError as error:
            self.doubt()
            raise MachineFault(f"The worker cannot make the job's folder: {error.strerror}.") from error

    def _make(self, path: Path, state: JobState) -> JobFolder:
        """Make the folder under another name, and rename it when it is complete: a crash leaves no half of it.

        It is locked after that: some file systems (SMB) rename no folder in which a file is open.
        """
        making = path.with_name(f".making-{path.name}")
        remove_tree(making)
        making.mkdir(mode=0o700)
        try:
            folder = JobFolder(making, None, state, self._left)
            folder.reset()
            (making / "lock").touch(mode=0o600)
            (making / "ballast").write_bytes(bytes(BALLAST))
            making.rename(path)
            sync_names(path.parent)
            held = lock(path / "lock")
        except OSError:
            remove_tree(making)
            remove_tree(path)
            raise
        assert held is not None  # the workspace's lock keeps others away
        return JobFolder(path, held, folder.state, self._left)

    def resumable(self, gpu: str | None = None) -> Iterator[JobFolder]:
        """The folders that workers of this owner and `gpu` left behind and nobody holds. This process holds each."""
        with suppress(OSError), self.locked():  # a full disk on which no worker has run yet: nothing is to be removed
            for path in self.base.glob(".making-*"):
                remove_tree(path)
        for path in [*self.base.glob(".probe-*"), *self.base.glob(".trial-*")]:  # another worker may be using it now
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime < time.time() - STALE_S:
                    remove_tree(path)
        left = sorted(self.base.glob(".removing-*"))
        in_background(lambda: _remove(left), "remove-folders")  # that may take minutes
        for path in sorted(path.parent for path in self.base.glob("[!.]*/lock")):
            if not any((path / name).exists() for name in ("job.json", "files")):  # somebody else's
                continue
            with self.locked():
                folder = self._take_up(path, gpu)
            if folder is not None:
                yield folder

    def _take_up(self, path: Path, gpu: str | None) -> JobFolder | None:
        try:
            if not path.is_dir() or (held := _lock_of(path)) is None:
                return None
        except OSError as error:
            _warn_of_unread(path, error)
            return None
        try:
            state = JobState.model_validate_json((path / "job.json").read_bytes())
            made_here = state.version == VERSION and path.name == state.job.folder_name
        except (FileNotFoundError, ValueError, JobFailed) as error:
            os.close(held)
            self._put_aside(path, error)
            return None
        except OSError as error:  # it may pass: the job and its container stay as they are
            os.close(held)
            _warn_of_unread(path, error)
            return None
        if not made_here:
            os.close(held)
            self._put_aside(path, ValueError("another version of the worker made it, or a person renamed it"))
            return None
        if state.owner != self._owner:
            os.close(held)
            log.warning(
                "job %s: left alone: its folder %s belongs to another account (%s)", state.job.id, path, state.owner
            )
            return None
        if state.gpu not in (None, gpu):
            os.close(held)
            log.warning(
                "job %s: left alone: its folder %s waits for a worker with the GPU %s", state.job.id, path, state.gpu
            )
            return None
        return JobFolder(path, held, state, self._left)

    def _put_aside(self, path: Path, error: Exception) -> None:
        aside = path.with_name(f".unreadable-{path.name}-{time.time_ns()}")
        path.rename(aside)
        what = "its job.json is not valid" if isinstance(error, ValidationError) else str(error)
        log.error("The worker cannot resume the job in %s (%s). It renames the folder to %s.", path, what, aside.name)

    def _take_away(self, path: Path) -> None:
        try:
            ours = JobState.model_validate_json((path / "job.json").read_bytes()).owner == self._owner
        except (OSError, ValueError):
            ours = False
        if not ours:
            raise MachineFault("Something else has the name of this job in the worker's folder.")
        held = _lock_of(path)
        if held is None:
            raise MachineFault("Another worker on this machine uses a folder of this job.")
        os.close(held)  # the workspace's lock keeps others away
        doomed = path.with_name(f".removing-{path.name}-{time.time_ns()}")
        path.rename(doomed)
        remove_tree(doomed)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the workspace's own lock: no other worker looks between the making of a folder and of its lock."""
        return locked(self.base)


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        remove_tree(folder)


def _warn_of_unread(path: Path, error: OSError) -> None:
    log.warning("The worker cannot read the job in %s now: %s. The next start tries again.", path, error.strerror)


def _lock_of(folder: Path) -> int | None:
    """The descriptor that holds the lock of `folder`. `None` if another process holds or has just removed it."""
    try:
        return lock(folder / "lock")
    except FileNotFoundError:  # its holder has removed it in this moment
        return None
