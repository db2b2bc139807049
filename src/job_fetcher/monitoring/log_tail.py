"""The end of the log of the job in hand, as the page shows it while it grows."""

from job_fetcher.core.log_text import log_tail
from job_fetcher.monitoring.recorder import Recorder

SHOWN = 64 << 10
"""Bytes of it."""


def tail(recorder: Recorder) -> str:
    """The end of the log of the job in hand as plain text; nothing without a job, or a log."""
    path = recorder.log
    return "" if path is None else log_tail(path, SHOWN)
