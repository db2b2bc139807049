"""The worker's own version, for its reports, its page and its metrics."""

from importlib import metadata

UNKNOWN = "unknown"
"""The version of a source tree that is not installed."""


def worker_version() -> str:
    """The version of the installed package, `UNKNOWN` without one: a job does not lose its report for that."""
    try:
        return metadata.version("job-fetcher")
    except metadata.PackageNotFoundError:
        return UNKNOWN
