"""Whether the worker is getting on, for `/healthz` and for the HEALTHCHECK of its image: `python -m job_fetcher.core.health`.

The loop that looks for jobs, each job, and the keep-alive of each job are lives of their own. Each says by when it will
have got on. The worker is well while none of them lets that time pass: a loop that gets on does not hide a keep-alive
that hangs. What waits for another life rests meanwhile, and does not count: the loop rests while a job has its turn, and
a job rests while its keep-alive stands for it. The earliest of these times is the time stamp of a file.
"""  # noqa: E501 - a command

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

MARGIN_S = 300.0
"""What one step may take besides what is waited for: requests and their time-outs, images that are removed."""


class Life:
    """Something that has to get on. It counts from its first beat to its end. Any thread may call it.

    `instead_of` rests meanwhile.
    """

    def __init__(self, instead_of: "Life | None" = None) -> None:
        self._instead_of = instead_of
        self._rests = 0
        self._is_over = False
        if instead_of is not None:
            instead_of.rest()

    def beat(self, wait_s: float = 0.0) -> None:
        """Tell that all is well, and will be told again after `wait_s` and at most `MARGIN_S` more."""
        with _lock:
            if not self._rests and not self._is_over:
                _until_s[self] = time.monotonic() + wait_s + MARGIN_S
                _write()

    def end(self) -> None:
        """It is over, whether it hangs or not. A second end does nothing."""
        with _lock:
            if self._is_over:
                return
            self._is_over = True
            _until_s.pop(self, None)
            _write()
        if self._instead_of is not None:
            self._instead_of.go_on()

    def rest(self) -> None:
        """It waits for another life."""
        with _lock:
            self._rests += 1
            _until_s.pop(self, None)
            _write()

    def go_on(self) -> None:
        """It waits no more."""
        with _lock:
            self._rests -= 1
            self.beat()


_lock = threading.RLock()
_until_s: dict[Life, float] = {}
"""By when, on the monotonic clock, each life that counts will have got on."""
_earliest_s = 0.0
"""The earliest of these times. Between two lives the last one stays."""
_loop = Life()
_job: ContextVar[Life | None] = ContextVar("life", default=None)


def beat(wait_s: float = 0.0) -> None:
    """The job that this thread works for gets on, or else the loop: see `Life.beat`."""
    (_job.get() or _loop).beat(wait_s)


@contextmanager
def job() -> Iterator[None]:
    """The block, and what it starts with `background`, is a job's."""
    life = Life()
    token = _job.set(life)
    life.beat()
    try:
        yield
    finally:
        _job.reset(token)
        life.end()


def this_job() -> Life | None:
    """The life of the job that this thread works for; `None` if that is the loop."""
    return _job.get()


@contextmanager
def loop_rests() -> Iterator[None]:
    """The loop waits for a job in this block."""
    _loop.rest()
    try:
        yield
    finally:
        _loop.go_on()


def is_well() -> bool:
    """Whether something has counted in this process, and nothing has let its time pass."""
    return _earliest_s > time.monotonic()


def file() -> Path:
    """Where the time stamp is. Raises `FileNotFoundError` where there is no folder for temporary files."""
    return Path(tempfile.gettempdir(), "job-fetcher.alive")


def _write() -> None:
    """Write the earliest of the times down."""
    global _earliest_s
    if not _until_s:
        return
    _earliest_s = min(_until_s.values())
    until = time.time() + _earliest_s - time.monotonic()
    with suppress(OSError):  # a worker whose /tmp cannot be written to works all the same
        descriptor = os.open(file(), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            os.utime(descriptor, (until, until))
        finally:
            os.close(descriptor)


def file_is_well() -> bool:
    """Whether the time of the file has not passed yet: what another process knows of the worker."""
    try:
        return file().stat(follow_symlinks=False).st_mtime > time.time()
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(0 if file_is_well() else 1)
