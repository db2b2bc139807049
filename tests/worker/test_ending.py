"""What each error means for the job and for the worker: the table of `ending_of`, row by row."""

import errno
from pathlib import Path

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
)
from job_fetcher.core.job import Job
from job_fetcher.worker.ending import Ending, ending_of, failed, requeued
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.workspace import Workspace

GONE = JobGone()
STOP = StopRequested("The worker was stopped (SIGTERM).")
DETACH = DetachRequested("another worker resumes it")
FAULT = MachineFault("This worker can start no container now.")
FAILURES = [JobFailed("no such input"), Unavailable("the API is away"), EngineUnavailable("500, again and again")]
NONSENSE = [SettingsError("no API"), GpuError("no driver")]


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    return Workspace(tmp_path, "me").create(Job(id="17", raw={}))


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (GONE, Ending()),
        (STOP, Ending(requeued(STOP))),
        (DETACH, Ending(stays=True)),
        (FAULT, Ending(requeued(FAULT), suspect=True)),
        *((error, Ending(stays=True, fatal=error)) for error in NONSENSE),
        *((error, Ending(failed(str(error)))) for error in FAILURES),
        *(
            (OSError(number, "full"), Ending(failed("The worker's disk is full.")))
            for number in (errno.ENOSPC, errno.EDQUOT)
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_one_meaning(folder: JobFolder, error: Exception, ending: Ending) -> None:
    assert ending_of(error, folder) == ending


def test_credentials_that_are_refused_requeue_the_job_and_end_the_worker(folder: JobFolder) -> None:
    error = CredentialsError("The API refuses the token (401)")
    ending = ending_of(error, folder)
    assert (ending.final is not None and ending.final.status, ending.fatal) == ("queued", error)


@pytest.mark.parametrize("error", [OSError(errno.EIO, "I/O error"), ZeroDivisionError("1 // 0"), AssertionError("x")])
def test_an_error_that_nobody_foresaw_fails_the_job_and_ends_the_worker(folder: JobFolder, error: Exception) -> None:
    told = f"Unforeseen: {type(error).__name__}: {error}"
    assert ending_of(error, folder) == Ending(failed(told), fatal=error)


def test_a_folder_that_somebody_has_removed_fails_the_job_alone(folder: JobFolder) -> None:
    folder.remove()
    ending = ending_of(OSError(errno.ENOENT, "No such file"), folder)
    assert ending == Ending(failed("Somebody has removed the job's folder on the worker."))
