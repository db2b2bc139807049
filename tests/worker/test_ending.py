"""What each error means for the job and for the worker: the table of `ending_of`, row by row."""

import errno
from pathlib import Path
from typing import Any

import pytest

from job_fetcher.core.errors import (
    CredentialsError,
    DetachRequested,
    EngineUnavailable,
    GpuError,
    JobFailed,
    JobGone,
    MachineFault,
    SettingsError,
    StopRequested,
    Unavailable,
    WorkerError,
)
from job_fetcher.core.job import Final, Job, JobStatus, Outcome
from job_fetcher.worker.ending import DISK_FAILS, NO_LOGIN, Ending, ending_of, failed
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.requeued import Requeues
from job_fetcher.workspace.workspace import Workspace

STOP = StopRequested("The worker was stopped (SIGTERM).")
FAULT = MachineFault("This worker can start no container now.")
REFUSED = CredentialsError("The API refuses the token (401)")
FAILURES = [JobFailed("no such input"), Unavailable("the API is away")]
ENGINE = EngineUnavailable("The Docker engine cannot list containers: trouble", status=500)
NONSENSE = [SettingsError("no API"), GpuError("no driver")]
BROKEN = [OSError(errno.EROFS, "read-only"), OSError(errno.EIO, "damaged"), OSError(errno.ESTALE, "away")]
FINE = Outcome(exit_code=0, reason="The command ended with exit code 0.", succeeded=True)
FULL = [OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "full")]


def requeued(told: str) -> Final:
    return Final(status=JobStatus.QUEUED, details=told)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return Workspace(tmp_path, "me").create(Job(id="17", raw={}))


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (JobGone(), Ending()),
        (STOP, Ending(requeued(str(STOP)), Requeues(stops=1, last_was_stop=True))),
        (DetachRequested("another worker resumes it"), Ending(stays=True)),
        (FAULT, Ending(requeued(str(FAULT)), Requeues(faults=1), suspect=True)),
        (ENGINE, Ending(requeued(f"{ENGINE}."), Requeues(faults=1), suspect=True)),
        (REFUSED, Ending(requeued(NO_LOGIN), Requeues(faults=1), fatal=REFUSED)),
        *((error, Ending(stays=True, fatal=error)) for error in NONSENSE),
        *((error, Ending(failed(str(error)))) for error in FAILURES),
        *(
            (error, Ending(failed("The worker's disk is full. The owner of this worker has to make room.")))
            for error in FULL
        ),
        *(
            (error, Ending(requeued(DISK_FAILS.format(error.strerror)), Requeues(faults=1), suspect=True))
            for error in BROKEN
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_one_meaning(folder: JobFolder, error: Exception, ending: Ending) -> None:
    assert ending_of(error, folder) == ending


@pytest.mark.parametrize("known", [{"outcome": FINE}, {"exited": True}], ids=["outcome", "end"])
@pytest.mark.parametrize("error", [STOP, FAULT, ENGINE, REFUSED], ids=lambda error: type(error).__name__)
def test_a_job_whose_command_has_ended_is_never_requeued(
    folder: JobFolder, error: Exception, known: dict[str, Any]
) -> None:
    """Its end is known sooner than its outcome, which the engine has to tell."""
    folder.record(**known)
    fatal = error if isinstance(error, WorkerError) else None
    assert ending_of(error, folder) == Ending(stays=True, fatal=fatal)


@pytest.mark.parametrize("error", [STOP, FAULT, ENGINE, REFUSED], ids=lambda error: type(error).__name__)
def test_the_user_reads_once_why_a_job_was_requeued(folder: JobFolder, error: Exception) -> None:
    ending = ending_of(error, folder)
    folder.record(requeues=ending.requeues)
    again = ending_of(error, folder)
    assert ending.final is not None
    assert (bool(ending.final.details), again.final) == (True, requeued(""))
    assert again.requeues.stops + again.requeues.faults == 2


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "I/O error"), ZeroDivisionError("1 // 0"), AssertionError("x")])
def test_an_error_that_nobody_foresaw_fails_the_job_and_ends_the_worker(folder: JobFolder, error: Exception) -> None:
    told = f"Unforeseen: {type(error).__name__}: {error}"
    assert ending_of(error, folder) == Ending(failed(told), fatal=error)


def test_a_folder_that_somebody_has_removed_fails_the_job_alone(folder: JobFolder) -> None:
    folder.remove()
    ending = ending_of(OSError(errno.ENOENT, "No such file"), folder)
    assert ending == Ending(failed("Somebody has removed the job's folder on the worker."))
