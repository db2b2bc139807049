"""How far the transfers of the job in hand are, and how fast."""

import time
from collections import deque

from job_fetcher.core.events import Transfer
from job_fetcher.monitoring.snapshot import Progress

WINDOW_S = 30.0
"""The speed is that of the last so many seconds."""
_EVERY_S = 1.0


class TransferMeter:
    """Counts the bytes of one kind of transfer. Its user locks: it is not safe for threads."""

    def __init__(self) -> None:
        self._planned = self._moved = 0
        self._points: deque[tuple[float, int]] = deque()

    def plan(self, count: int) -> None:
        """`count` bytes more are to move."""
        self._planned += count

    def move(self, count: int) -> None:
        """`count` bytes have moved."""
        now_s = time.monotonic()
        if not self._points or now_s - self._points[-1][0] >= _EVERY_S:
            self._points.append((now_s, self._moved))
        while self._points[0][0] < now_s - WINDOW_S and len(self._points) > 1:
            self._points.popleft()
        self._moved += count

    def progress(self, transfer: Transfer) -> Progress | None:
        """How far it is; `None` if nothing is planned, or all has moved."""
        if self._planned <= self._moved:
            return None
        since_s, before = self._points[0] if self._points else (time.monotonic(), self._moved)
        spent_s = time.monotonic() - since_s
        speed = (self._moved - before) / spent_s if spent_s >= _EVERY_S else None
        left_s = (self._planned - self._moved) / speed if speed else None
        return Progress(
            transfer=transfer, done_bytes=self._moved, total_bytes=self._planned, bytes_per_s=speed, left_s=left_s
        )
