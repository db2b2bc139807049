"""The end of the log of the job in hand, as the page shows it while it grows."""

import threading
import time

from job_fetcher.core.log_text import clean, log_tail
from job_fetcher.monitoring.recorder import Recorder

SHOWN = 64 << 10
"""Bytes of it."""
FRESH_S = 0.5
"""The engine is asked once in so many seconds, however many look."""


class LogTail:
    """The end of the log of the job that `recorder` knows. It is safe for threads."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._lock = threading.Lock()
        self._text, self._until_s = "", 0.0

    def text(self) -> str:
        """It as plain text; nothing without a job, or a log."""
        with self._lock:
            if time.monotonic() >= self._until_s:
                self._text = self._now()
                self._until_s = time.monotonic() + FRESH_S
            return self._text

    def _now(self) -> str:
        path, end = self._recorder.log()
        if end is not None:
            return clean(end(SHOWN).decode(errors="replace"))
        return "" if path is None else log_tail(path, SHOWN)
