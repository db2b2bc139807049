"""Time in which this process had its turns: pauses of a machine that others share are left out.

A test that is about seconds counts those alone, since nobody can say when a machine that does nothing for three of them
does the rest. So it fails for a program that takes its time, and not for a neighbour that takes the processor.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

MOST_S = 0.1
"""A turn counts so much at most. Between two looks there are 0.02 s."""
LOOK_S = 0.02


class Turns:
    """A clock: `tick` it again and again. `seconds` are those since it was made."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        self.seconds += min(now - self._last, MOST_S)
        self._last = now


def wait_within(seconds: float, condition: Callable[[], object], what: str) -> None:
    """Wait until `condition` is true. `AssertionError` if it is not after so many seconds of turns."""
    clock = Turns()
    while not condition():
        assert clock.seconds < seconds, f"waited {seconds:g} s in vain for {what}"
        time.sleep(LOOK_S)
        clock.tick()


@contextmanager
def counted_turns() -> Iterator[Callable[[float, float], float]]:
    """Gives what tells the seconds of turns between two times of this block (in seconds since the epoch)."""
    clock, ended, ticks = Turns(), Event(), [(time.time(), 0.0)]

    def count() -> None:
        while not ended.wait(LOOK_S):
            clock.tick()
            ticks.append((time.time(), clock.seconds))

    def between(begin: float, end: float) -> float:
        within = [seconds for at, seconds in list(ticks) if begin <= at <= end]
        return within[-1] - within[0] if within else 0.0

    counting = Thread(target=count, name="count-turns")
    counting.start()
    try:
        yield between
    finally:
        ended.set()
        counting.join()
