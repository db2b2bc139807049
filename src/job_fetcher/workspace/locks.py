"""Locks between the workers of one `PATH_BASE`: flock(2), which the kernel releases when a worker dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(base: Path) -> Iterator[None]:
    """Hold the lock of `base`, which is made if it does not exist. Raises `OSError`.

    Whoever holds it may let folders of jobs appear and vanish, and take one up.
    """
    base.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(base / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def lock(file: Path) -> int | None:
    """The descriptor that holds the lock `file`, which is made if it does not exist. Raises `OSError`.

    `None` if another process holds it.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
