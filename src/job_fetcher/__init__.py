"""The DECODE OpenCloud worker: it pulls jobs, runs their containers on this machine, and uploads their outputs.

`__all__` is the public interface: the steps of a job as functions, for callers elsewhere (docs/cloud.md). None of them
needs Docker or reads settings. docs/releasing.md says what a change of them means for the version. Python imports each
of them on first use, so that a worker, which does not need all of them, starts faster.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from job_fetcher.core.background import Cancellation
    from job_fetcher.core.errors import (
        Cancelled,
        CredentialsError,
        InvalidAnswer,
        JobFailed,
        JobFetcherError,
        JobGone,
        SettingsError,
        Unavailable,
        WorkerError,
    )
    from job_fetcher.core.job import Final, Job, JobSpecs, JobStatus, Outcome, OutputType, RequestToMake, details
    from job_fetcher.core.log_text import log_tail
    from job_fetcher.platform.api import WorkerApi, user_pool
    from job_fetcher.platform.auth import CognitoToken, FixedToken, Token, UserPool
    from job_fetcher.steps import conclude, download_inputs, make_output_folders, report, upload_outputs
    from job_fetcher.worker.keepalive import KeepAlive
    from job_fetcher.workspace.ledger import Ledger

__all__ = [
    "Cancellation",
    "Cancelled",
    "CognitoToken",
    "CredentialsError",
    "Final",
    "FixedToken",
    "InvalidAnswer",
    "Job",
    "JobFailed",
    "JobFetcherError",
    "JobGone",
    "JobSpecs",
    "JobStatus",
    "KeepAlive",
    "Ledger",
    "Outcome",
    "OutputType",
    "RequestToMake",
    "SettingsError",
    "Token",
    "Unavailable",
    "UserPool",
    "WorkerApi",
    "WorkerError",
    "conclude",
    "details",
    "download_inputs",
    "log_tail",
    "make_output_folders",
    "report",
    "upload_outputs",
    "user_pool",
]

_MODULES = (
    "core.errors",
    "core.job",
    "core.log_text",
    "core.background",
    "platform.auth",
    "platform.api",
    "workspace.ledger",
    "worker.keepalive",
    "steps",
)


def __getattr__(name: str) -> Any:
    """A name of `__all__`, from its module (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = (import_module(f"{__name__}.{module}") for module in _MODULES)
    return next(getattr(module, name) for module in modules if hasattr(module, name))
