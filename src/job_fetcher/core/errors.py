"""Every error of the worker, one class per decision of its loop.

::

    JobFetcherError
    ├── JobFailed               the job cannot succeed: report `error` with this sentence, go on with the next job
    │   ├── NoRoom              … for now: an input does not fit on the disk, on which another job may lie
    │   └── MachineFault          … on this machine, for a reason of its own: requeue the job
    ├── Cancelled               the job is to be left at once, wherever it is
    │   ├── JobGone             … it was deleted or given to another worker: clean up, report nothing
    │   ├── StopRequested       … the worker was told to stop: requeue the job
    │   └── DetachRequested      … the worker is replaced: the container runs on, the next start goes on with it
    ├── Unavailable             somebody does not answer properly now: try again, the job keeps its state
    │   ├── InvalidAnswer       … the answer is not what the contract says
    │   │   └── NotThePlatform    … it comes from something in front of the platform's API
    │   ├── EngineUnavailable   … the Docker engine
    │   └── GpuUnavailable      … the GPU
    └── WorkerError             the worker itself cannot go on: exit with `exit_code`
        ├── SettingsError       2
        ├── CredentialsError    3
        ├── EngineError         4
        └── GpuError            5

Errors of libraries are translated where they occur; what arrives at the loop as anything else is unforeseen (exit
code 1). The messages are sentences for the one who reads them: the job's user (`JobFailed`), the worker's (the rest).
"""


class JobFetcherError(Exception):
    """The root: everything that this package raises on purpose."""


class JobFailed(JobFetcherError):
    """The job cannot succeed, and its user is told why."""


class NoRoom(JobFailed):
    """An input does not fit on the worker's disk now."""


class MachineFault(JobFailed):
    """This worker cannot take the job, for a reason that has nothing to do with it: another one may."""


class Cancelled(JobFetcherError):
    """The job in hand is to be left at once. Set by one place, raised wherever the job is waited for."""


class JobGone(Cancelled):
    """The job is no longer ours."""

    def __init__(self, message: str = "The job was deleted, or given to another worker") -> None:
        super().__init__(message)


class StopRequested(Cancelled):
    """The worker was told to stop; the message is the reason for the requeue."""


class DetachRequested(Cancelled):
    """The worker was told to leave its container running for the worker that comes after it."""


class Unavailable(JobFetcherError):
    """The API, a storage host, the registry or the engine does not answer properly now.

    `retry_after_s`: how many seconds the answer asked to wait (`Retry-After`), if it did.
    `status`: the HTTP status, `None` if there was no answer, or only that of something in between.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.status = status


class InvalidAnswer(Unavailable):
    """An answer that the contract does not have. It is not waited out for ever: see `core.retry`."""


class NotThePlatform(InvalidAnswer):
    """A load balancer, firewall or proxy answered in the place of the platform's API.

    The answer says nothing about the account or the job. It is waited out like an API that does not answer.

    `alone`: the API itself answered another request at the same time, so that the page may be for this request only.
    """

    alone = False


class EngineUnavailable(Unavailable):
    """The Docker engine does not answer, or answers with 500."""


class GpuUnavailable(Unavailable):
    """NVML does not answer for the GPU, or at all."""


class WorkerError(JobFetcherError):
    """The worker cannot go on; `exit_code` is what its process ends with."""

    exit_code = 1


class SettingsError(WorkerError):
    """A setting is missing or wrong."""

    exit_code = 2


class CredentialsError(WorkerError):
    """The platform's API or Cognito refuses the credentials.

    `by_login`: Cognito refuses the login itself. Each repeat counts against the account, until Cognito locks it.
    """

    exit_code = 3

    def __init__(self, message: str, *, by_login: bool = False) -> None:
        super().__init__(message)
        self.by_login = by_login


class EngineError(WorkerError):
    """The Docker engine cannot be used at all."""

    exit_code = 4


class GpuError(WorkerError):
    """There is a GPU, and it cannot be used."""

    exit_code = 5
