"""STATUS_HOLD: how long a status stays at the platform before the next one follows, for observers that poll."""

import time

_INSTANT_S = 0.001


class StatusHold:
    """Holds each status for `seconds` from its arrival on. Its user locks: it is not safe for threads."""

    def __init__(self, seconds: float = 0) -> None:
        self._seconds = seconds
        self._until = 0.0  # on the monotonic clock

    def begin(self) -> None:
        """A status has arrived."""
        self._until = time.monotonic() + self._seconds

    def lift(self) -> None:
        """Hold nothing any more."""
        self._seconds = self._until = 0

    @property
    def left_s(self) -> float:
        """Seconds until the next status may follow."""
        left_s = self._until - time.monotonic()
        return left_s if left_s > _INSTANT_S else 0
