"""Leaves out of the log what repeats itself: a warning comes when it changes, then after 1, 10, 60 minutes.

A warning is the same if it differs in numbers only: waits, pids and sizes change each time. What the same module says
in between as information (it has a job, it asks again) makes the next warning a new one.
"""

import logging
import re
from dataclasses import dataclass

AFTER_S = (60.0, 600.0, 3600.0)
"""Seconds after its first time at which a warning comes again; from the last on, each time that many pass."""
MAX_KNOWN = 200
"""Warnings that are known at a time: whoever describes a job chooses some of their words."""

_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass
class _Known:
    text: str
    first_at: float
    said_at: float
    count: int = 1

    def due_at(self) -> float:
        said_after_s = self.said_at - self.first_at
        return min(
            (self.first_at + after_s for after_s in AFTER_S if after_s > said_after_s),
            default=self.said_at + AFTER_S[-1],
        )


class Repeats(logging.Filter):
    """A filter for a handler: `record.repeats` is how often a warning has come, and was left out in between."""

    def __init__(self) -> None:
        super().__init__()
        self._known: dict[tuple[str, str], _Known] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log `record`."""
        if record.levelno < logging.WARNING:
            for key in [key for key in self._known if key[0] == record.name]:
                del self._known[key]
            return True
        if record.levelno > logging.WARNING or record.exc_info:
            return True
        key, text = (record.name, str(record.msg)), _NUMBER.sub("", record.getMessage())
        known = self._known.get(key)
        if known is None or known.text != text:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[key] = _Known(text, record.created, record.created)
            return True
        known.count += 1
        if record.created < known.due_at():
            return False
        known.said_at = record.created
        minutes = max(1, round((record.created - known.first_at) / 60))
        record.msg, record.args = f"{record.getMessage()} ({known.count} times in {minutes} min)", None
        return True
