"""Whether the worker is getting on, for the `HEALTHCHECK` of its image: `python -m job_fetcher.core.health`.

The loop that looks for jobs, a wait before another try, and the keep-alive of a job tell that they make progress. Each
says by when it will have made some more: the time stamp of a file. A worker that hangs lets that time pass.
"""

import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

MARGIN_S = 300.0
"""What one step may take besides what is waited for: requests and their time-outs, images that are removed."""


def file() -> Path:
    """Where the time stamp is. Raises `FileNotFoundError` where there is no folder for temporary files."""
    return Path(tempfile.gettempdir(), "job-fetcher.alive")


def beat(wait_s: float = 0.0) -> None:
    """Tell that all is well, and will be told again after `wait_s` and at most `MARGIN_S` more."""
    until = time.time() + wait_s + MARGIN_S
    with suppress(OSError):  # a worker whose /tmp cannot be written to works all the same
        descriptor = os.open(file(), os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            os.utime(descriptor, (until, until))
        finally:
            os.close(descriptor)


def is_well() -> bool:
    """Whether the last time that was told has not passed yet."""
    try:
        return file().stat(follow_symlinks=False).st_mtime > time.time()
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(0 if is_well() else 1)
