"""A job's folder, held by this process: the recorded state of the job, and where its files are. See `workspace`."""

import logging
import os
import secrets
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from job_fetcher.core.job import Final, Job, Model, Outcome
from job_fetcher.workspace.disk import boot_id, is_full, is_there, open_to_all, remove_tree, run_tool, write_durably
from job_fetcher.workspace.locks import lock, locked
from job_fetcher.workspace.names import check_names
from job_fetcher.workspace.requeued import Requeues

VERSION = 1
"""Of the format of `job.json`."""

log = logging.getLogger(__name__)


class CommandStart(Model):
    """When the command was started, by a clock that nobody sets: that of the host since its boot, suspends included."""

    boot_id: str
    boottime_s: float
    """`CLOCK_BOOTTIME` of clock_gettime(2), in seconds."""

    @classmethod
    def before(cls, age_s: float) -> Self:
        """The start of a command that has been running for `age_s`."""
        return cls(boot_id=boot_id(), boottime_s=time.clock_gettime(time.CLOCK_BOOTTIME) - age_s)

    @property
    def age_s(self) -> float:
        """How long ago that was; 0 if the host was started since, which the command did not survive."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.boottime_s if self.boot_id == boot_id() else 0


class JobState(Model):
    """What the worker records of a job: all that it cannot find out otherwise (files on disk, containers by label)."""

    version: int = VERSION
    boot_id: str
    """The boot of the host in which the inputs came: a power cut may have lost what was not on disk yet."""
    owner: str
    """The account and the API that the job came from: no worker of another account resumes it."""
    job: Job
    gpu: str | None = None
    """The UUID of the GPU that its container has: only a worker of that GPU resumes it."""
    requeues: Requeues = Requeues()
    """How often workers of this folder have requeued the job, this time included once `final` is `queued`."""
    runs: int = 0
    """How many containers the worker has prepared for it: more than one only if the engine's shutdown killed one."""
    token: str | None = None
    """What its container is found by, whatever path the folder has then; `None` in records of earlier releases."""
    started: CommandStart | None = None
    """When the command of the present run was started, or prepared; `None` before that, and in old records."""
    container_started_at: str | None = None
    """`State.StartedAt` of the present run's container. It changes when the owner restarts the container."""
    stopped_after_s: float | None = None
    """The time limit that the worker stops the command for: recorded before the stop."""
    exited: bool = False
    """The command of the present run has ended, and the engine could not tell its outcome yet: never requeued."""
    outcome: Outcome | None = None
    """How its command ended. From then on its container is only left to be removed, and the job is never requeued."""
    final: Final | None = None
    """The last status, recorded before the worker sends it: a worker that is killed in between sends it once."""
    untold: bool = False
    """The API has answered 500 to `final`, and may know it while the job's user does not."""

    @property
    def has_ended(self) -> bool:
        """Whether the job's command has ended, its outcome known or not: from then on the job is never requeued."""
        return self.exited or self.outcome is not None


class JobFolder:
    """The folder of one job, held by this process until it leaves the `with` block, or the last one of several."""

    def __init__(self, path: Path, lock: int | None, state: JobState, left: set[Path]) -> None:
        """`lock` is the descriptor that holds its lock. `left` gets the folder if `remove` cannot remove it."""
        self.path, self._lock, self._state, self._left = path, lock, state, left
        self._blocks = 0
        self._counting = threading.Lock()
        self.files = path / "files"
        self.parts = path / "parts"
        self.uploads = path / "uploads.jsonl"
        self.log = path / "container.log"
        """The container's log: a file of the folder, or of memory (`keep_log_in_memory`)."""
        self._ballast = path / "ballast"
        self._memory: int | None = None

    @property
    def state(self) -> JobState:
        return self._state

    @property
    def survived_reboot(self) -> bool:
        """Whether the host has booted again since the inputs came."""
        return self._state.boot_id != boot_id()

    @property
    def is_there(self) -> bool:
        """Whether the folder still exists: a person may have removed it. True if a broken disk does not tell."""
        return is_there(self.path)

    @property
    def job_id(self) -> str:
        return self._state.job.id

    @property
    def command_age_s(self) -> float:
        """For how many seconds the command has been running."""
        return self._state.started.age_s if self._state.started else 0

    def record(self, **changes: Any) -> None:
        """Change fields of `state`, on disk first. Raises `OSError`, and changes nothing then."""
        new = self._state.model_copy(update=changes)
        try:
            write_durably(self.path / "job.json", new.model_dump_json())
        except OSError as error:
            if not is_full(error):
                raise
            self.drop_ballast()
            write_durably(self.path / "job.json", new.model_dump_json())
        self._state = new

    def keep(self, **changes: Any) -> None:
        """Change fields of `state`, on disk if that works, else in memory. The job can then still end as it should."""
        try:
            self.record(**changes)
        except OSError as error:
            self.keep_with_next(**changes)
            if self.is_there:  # else somebody has removed it
                log.warning("job %s: recording failed: %s", self.job_id, error.strerror)

    def keep_with_next(self, **changes: Any) -> None:
        """Change fields of `state`, on disk with the next record: one fsync for both."""
        self._state = self._state.model_copy(update=changes)

    def check_names(self, files: Iterable[str], folders: Iterable[str]) -> None:
        """Raise `JobFailed`, naming the paths, if the file system does not take them or takes two of them for one."""
        check_names(self.path / "names", files, folders)

    def keep_log_in_memory(self) -> Path:
        """Give `log` a new, empty file in memory, and return it: the disk does not take the log."""
        if self._memory is None:
            with suppress(OSError):  # what there is of it on disk takes room that `job.json` needs
                self.log.unlink(missing_ok=True)
            self._memory = os.memfd_create("container.log", os.MFD_CLOEXEC)
            self.log = Path(f"/proc/{os.getpid()}/fd/{self._memory}")
        return self.log

    def drop_ballast(self) -> None:
        """Make room on a full disk for what the worker has to write."""
        self._ballast.unlink(missing_ok=True)

    def flush(self) -> None:
        """Let all that the container wrote outlive a power cut, as `job.json` does: sync(1)."""
        problem = run_tool("sync", "--file-system", str(self.path))
        if problem:
            log.warning("job %s: flush failed: the outputs may not be on disk yet: %s", self.job_id, problem)

    def reset(self) -> None:
        """Empty `files` and remove all that followed from it, for a run from clean inputs and outputs."""
        for each in (self.files, self.parts):
            remove_tree(each)
            _make_folder(each)
        for file in (self.uploads, self.path / "container.log"):
            file.unlink(missing_ok=True)
        token = self._state.token or secrets.token_hex(16)
        self.record(
            boot_id=boot_id(), token=token, started=None, container_started_at=None, stopped_after_s=None, exited=False
        )

    def remove(self) -> None:
        """Remove the folder and all that is in it. Never raises.

        What cannot be removed is logged, and left to the next look for a job or the next start.
        """
        doomed = self.path.with_name(f".removing-{self.path.name}-{time.time_ns()}")
        if self._rename(doomed):
            self._release()  # before the removal: NFS keeps files that are open
        else:
            doomed = self.path
        try:
            remove_tree(doomed)
        except OSError as error:
            log.warning("job %s: removal of the folder %s failed: %s", self.job_id, doomed, error.strerror)
        if is_there(doomed):
            self._left.add(doomed)

    def _rename(self, new: Path) -> bool:
        """Rename the folder; whether that worked, or it was gone."""
        try:
            self.path.rename(new)
            return True
        except FileNotFoundError:  # a person has removed it already
            return True
        except OSError:
            pass
        with suppress(OSError), locked(self.path.parent):  # SMB renames no folder in which a file is open
            self._release()
            try:
                self.path.rename(new)
                return True
            finally:
                self._lock = lock(self.path / "lock") if self.path.is_dir() else None
        return False

    def _release(self) -> None:
        held, self._lock = self._lock, None
        if held is not None:
            with suppress(OSError):  # NFS tells here what it could not write
                os.close(held)

    def __enter__(self) -> Self:
        with self._counting:
            self._blocks += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._counting:
            self._blocks -= 1
            if self._blocks > 0:
                return
        self._release()
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None


def _make_folder(path: Path) -> None:
    """A folder that the container's user may write into, whoever that is."""
    path.mkdir(exist_ok=True)
    open_to_all(path, 0o777)
