"""How a job ends on this worker: what each error means for the job and for the worker, in one table (`ending_of`)."""

from dataclasses import dataclass

from job_fetcher.core import logs
from job_fetcher.core.errors import (
    Cancelled,
    CredentialsError,
    JobFailed,
    JobFetcherError,
    JobGone,
    MachineFault,
    StopRequested,
    Unavailable,
    WorkerError,
)
from job_fetcher.core.job import Final, JobStatus, details
from job_fetcher.workspace.disk import is_full
from job_fetcher.workspace.job_folder import JobFolder


@dataclass(frozen=True)
class Ending:
    """How a job ends here.

    `final` is the last status to send, if there is one. `stays`: the folder stays, and the next start resumes the job.
    `fatal` is the error that ends the worker afterwards. `suspect`: try a container before the next job.
    """

    final: Final | None = None
    stays: bool = False
    fatal: Exception | None = None
    suspect: bool = False


def ending_of(error: Exception, folder: JobFolder) -> Ending:
    """What `error` means for the job in `folder` and for the worker.

    | error | the job | the worker |
    |---|---|---|
    | `JobGone` | nothing is sent, the folder is removed | next job |
    | `StopRequested` | requeued | ends |
    | `DetachRequested` | stays for the next start | ends |
    | `MachineFault` | requeued | tries a container, then the next job |
    | `CredentialsError` | requeued | ends with its exit code |
    | another `WorkerError`: the platform's address answers with nonsense, say | stays for the next start | the same |
    | `JobFailed`, `Unavailable` (for good) | `error` with the reason | next job |
    | the disk is full, or somebody has removed the folder | `error` that says so | next job |
    | anything else | `error` with the exception's type and message | ends with its traceback |
    """
    match error:
        case JobGone():
            return Ending()
        case StopRequested():
            return Ending(requeued(error))
        case Cancelled():
            return Ending(stays=True)
        case MachineFault():
            return Ending(requeued(error), suspect=True)
        case CredentialsError():
            final = Final(status=JobStatus.QUEUED, details="The worker's credentials are refused.")
            return Ending(final, fatal=error)
        case WorkerError():
            return Ending(stays=True, fatal=error)
        case JobFailed() | Unavailable():
            return Ending(failed(str(error)))
        case OSError() if is_full(error):
            return Ending(failed("The worker's disk is full."))
        case OSError() if not folder.is_there:
            return Ending(failed("Somebody has removed the job's folder on the worker."))
        case _:
            told = logs.without_secrets(f"Unforeseen: {type(error).__name__}: {error}")
            return Ending(failed(told), fatal=error)


def requeued(reason: JobFetcherError) -> Final:
    """The last status of a job that this worker hands back."""
    return Final(status=JobStatus.QUEUED, details=details(str(reason)))


def failed(reason: str) -> Final:
    """The last status of a job that has failed; `reason` is a sentence for its user."""
    return Final(status=JobStatus.ERROR, details=details(reason))
