"""The status as a file, for `job-fetcher status` on the same machine, or in the same container: no port is needed.

Each worker has its own, by the name of its `PATH_BASE`, in the folder for temporary files. It is its user's alone.
"""

import hashlib
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath

from pydantic import ValidationError

from job_fetcher.monitoring.snapshot import Status

EVERY_S = 2.0
"""How often the worker writes it."""
STALE_S = 30.0
"""A worker that has not written for so long does not run, or hangs."""

log = logging.getLogger(__name__)


class NoStatus(Exception):
    """There is no status to read; the message is a sentence for the person at the terminal."""


def path_for(path_base: PurePath) -> Path:
    """Where the worker of `path_base` writes its status."""
    digest = hashlib.sha256(str(path_base).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir(), f"job-fetcher-{digest}.status.json")


def write(path: Path, status: Status) -> None:
    """Replace the file in one step. Raises `OSError`."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(status.model_dump_json())
    new.replace(path)


def keep_writing(path: Path, status: Callable[[], Status]) -> None:
    """Write it for ever. A disk that does not take it costs `status`, and nothing else; the log says so once."""
    pause = threading.Event()
    has_failed = False
    while True:
        try:
            write(path, status())
            has_failed = False
        except OSError as error:
            if not has_failed:
                log.warning("`status` cannot be shown: %s cannot be written: %s", path, error.strerror)
            has_failed = True
        pause.wait(EVERY_S)


def read(path: Path) -> Status:
    """The status of the worker that writes `path`. Raises `NoStatus`."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(file.fileno())
            text = file.read(4 << 20)
    except FileNotFoundError:
        raise NoStatus(
            "No worker with this PATH_BASE has run here. Ask in its container: `docker exec CONTAINER job-fetcher"
            " status`"
        ) from None
    except OSError as error:
        raise NoStatus(f"The status of the worker cannot be read ({path}): {error.strerror}") from None
    if found.st_uid not in (0, os.geteuid()):
        raise NoStatus(f"Another user has made {path}. Remove it")
    age_s = time.time() - found.st_mtime
    if age_s > STALE_S:
        raise NoStatus(f"The worker does not run, or it hangs: it last told its status {age_s:.0f} s ago")
    try:
        return Status.model_validate_json(text)
    except ValidationError:
        raise NoStatus(f"Another version of the worker has written {path}. Use that version's `status`") from None
