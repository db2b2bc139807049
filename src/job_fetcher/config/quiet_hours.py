"""The hours in which a machine belongs to its owner: `Mon-Fri 08:00-18:00, Sat 22:00-06:00`."""

import re
from dataclasses import dataclass
from datetime import datetime, time

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = f"({'|'.join(_DAYS)})"
_TIME = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_HOURS = re.compile(rf"(?:{_DAY}(?:-{_DAY})? +)?({_TIME})-({_TIME}|24:00)")


@dataclass(frozen=True)
class QuietHours:
    """From `begin` to before `end` on some weekdays (0 is Monday); to the next day's `end` if that is not later."""

    days: frozenset[int]
    begin: time
    end: time

    def __contains__(self, now: datetime) -> bool:
        today, clock = now.weekday(), now.time()
        if self.begin < self.end:
            return today in self.days and self.begin <= clock < self.end
        return (today in self.days and clock >= self.begin) or ((today - 1) % 7 in self.days and clock < self.end)


def parse(text: str) -> tuple[QuietHours, ...]:
    """The hours in `text`; those without weekdays hold every day. Raises `ValueError` with what to write instead."""
    return tuple(_parse(part.strip().lower()) for part in text.split(","))


def _parse(text: str) -> QuietHours:
    match = _HOURS.fullmatch(text)
    if match is None:
        raise ValueError("write hours such as 08:00-18:00 or Mon-Fri 08:00-18:00, separated by commas")
    first, last, begin, end = match.groups()
    start = _DAYS.index(first or "mon")
    length = (_DAYS.index(last or first) - start) % 7 + 1 if first else 7
    days = frozenset((start + n) % 7 for n in range(length))
    return QuietHours(days, time.fromisoformat(begin), time.fromisoformat(end.replace("24:00", "00:00")))
