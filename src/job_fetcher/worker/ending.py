"""How a job ends on this worker: what each error means for the job and for the worker, in one table (`ending_of`)."""

from dataclasses import dataclass, field, replace

from job_fetcher.core import logs
from job_fetcher.core.errors import (
    Cancelled,
    CredentialsError,
    EngineUnavailable,
    JobFailed,
    JobFetcherError,
    JobGone,
    MachineFault,
    StopRequested,
    Unavailable,
    WorkerError,
)
from job_fetcher.core.events import JobEnd, JobEnded, tell
from job_fetcher.core.job import Final, JobStatus, details
from job_fetcher.workspace.disk import is_broken, is_full
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.requeued import Requeues

DISK_FAILS = "The disk of this worker fails: {}. The owner of this worker has to check it."
NO_LOGIN = "This worker cannot log in at the platform. The owner of this worker has to correct that."


@dataclass(frozen=True)
class Ending:
    """How a job ends here.

    `final` is the last status to send, if there is one. `requeues` counts this time, too, if that is `queued`. `stays`:
    the folder stays, and the worker resumes the job before it asks for the next one, or at its next start. `fatal` is
    the error that ends the worker afterwards.
    `suspect`: try a container and the folder before the next job. `reason`: why there is no last status to send.
    """

    final: Final | None = None
    requeues: Requeues = field(default_factory=Requeues)
    stays: bool = False
    fatal: Exception | None = None
    suspect: bool = False
    reason: str = field(default="", compare=False)

    @property
    def verb(self) -> str:
        """What the worker does with the job, for the log."""
        if self.final is None:
            return "kept" if self.stays else "dropped"
        return "requeueing" if self.final.status is JobStatus.QUEUED else "failing"

    def record(self, folder: JobFolder) -> None:
        """Write the last status down, if there is one, before anybody hears of it."""
        if self.final is not None:
            requeued = self.final.status is JobStatus.QUEUED
            folder.keep(final=self.final, requeues=self.requeues if requeued else folder.state.requeues)
        else:
            tell(JobEnded(folder.job_id, JobEnd.KEPT if self.stays else JobEnd.DROPPED, self.reason))


def ending_of(error: Exception, folder: JobFolder) -> Ending:
    """What `error` means for the job in `folder` and for the worker.

    | error | the job | the worker |
    |---|---|---|
    | `JobGone` | nothing is sent, the folder is removed | next job |
    | `StopRequested` | requeued and noted (*) | ends |
    | `DetachRequested` | stays | ends, unless the engine has failed after the command's end |
    | `MachineFault`, `EngineUnavailable` | requeued and noted (*) | tries a container, then the next job |
    | `CredentialsError` | as for `StopRequested` | ends with its exit code |
    | another `WorkerError`: the platform's address answers with nonsense, say | stays for the next start | the same |
    | `JobFailed`, `Unavailable` (for good) | `error` with the reason | next job |
    | the disk fails: read-only, damaged, out of reach | as for `MachineFault` | as for `MachineFault` |
    | the disk is full, or somebody has removed the folder | `error` that says so | next job |
    | anything else | `error` with the exception's type and message | ends with its traceback |

    (*) A job whose command has ended is never requeued: its folder stays, and the worker finishes it (`KeptJobs`).
    """
    state = folder.state
    error = _as_machine_fault(error)
    match error:
        case JobGone():
            return Ending(reason=str(error))
        case StopRequested() | MachineFault() | CredentialsError() if state.has_ended:
            return Ending(stays=True, fatal=error if isinstance(error, WorkerError) else None, reason=str(error))
        case StopRequested() if state.final is not None:  # the runner has recorded it
            return Ending(state.final, state.requeues)
        case StopRequested():
            return _requeue(error, str(error), state.requeues)
        case Cancelled():
            return Ending(stays=True, reason=str(error))
        case MachineFault():
            return replace(_requeue(error, str(error), state.requeues), suspect=True)
        case CredentialsError():
            return replace(_requeue(error, NO_LOGIN, state.requeues), fatal=error)
        case WorkerError():
            return Ending(stays=True, fatal=error, reason=str(error))
        case JobFailed() | Unavailable():
            return Ending(failed(str(error)))
        case OSError() if is_full(error):
            return Ending(failed("The worker's disk is full. The owner of this worker has to make room."))
        case OSError() if not folder.is_there:
            return Ending(failed("Somebody has removed the job's folder on the worker."))
    return _unforeseen(error)


def ending_without_folder(error: JobFailed, requeues: Requeues) -> Ending:
    """What `error` means for a job that the worker has no folder for. `requeues`: what came before."""
    return _requeue(error, str(error), requeues) if isinstance(error, MachineFault) else Ending(failed(str(error)))


def _as_machine_fault(error: Exception) -> Exception:
    """The same error as a fault of this machine, if its disk or its engine fails."""
    if isinstance(error, OSError) and is_broken(error):
        return MachineFault(DISK_FAILS.format(error.strerror))
    return MachineFault(f"{error}.") if isinstance(error, EngineUnavailable) else error


def _requeue(error: JobFetcherError, reason: str, before: Requeues) -> Ending:
    """Requeue the job for `error`. Its user reads `reason` once, not each time that the machine tries and fails."""
    final = Final(status=JobStatus.QUEUED, details="" if before.sent_before(error) else details(reason))
    return Ending(final, before.plus(error))


def _unforeseen(error: Exception) -> Ending:
    reason = logs.without_secrets(f"Unforeseen: {type(error).__name__}: {error}")
    return Ending(failed(reason), fatal=error)


def failed(reason: str) -> Final:
    """The last status of a job that has failed; `reason` is a sentence for its user."""
    return Final(status=JobStatus.ERROR, details=details(reason))
