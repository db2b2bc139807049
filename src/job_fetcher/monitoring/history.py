"""The jobs that have left this worker, over restarts: JSON lines in `PATH_BASE`, the last 1,000.

It is dispensable. Whatever is wrong with the file or the disk costs history, and never a job; the log says it once.
"""

import logging
import os
import threading
from collections import deque
from pathlib import Path

from pydantic import ValidationError

from job_fetcher.monitoring.snapshot import PastJob

HISTORY = ".history.jsonl"
"""Its name in `PATH_BASE`."""
KEPT = 1_000
"""Jobs in the history."""
MAX_LINE = 16 << 10
"""Bytes of a line; one that is longer is no line of ours."""
MAX_FILE = 2 * KEPT * MAX_LINE
"""Bytes of a file that the worker reads; of a larger one, the end."""

log = logging.getLogger(__name__)


class History:
    """The history in the file `path`; `None`: it ends with the process. Every method is safe for threads.

    `tells`: whether the log says what is wrong with it.
    """

    def __init__(self, path: Path | None, *, tells: bool = True) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._lines = 0
        self._has_failed = not tells
        self._jobs: deque[PastJob] = deque(maxlen=KEPT)
        for line in self._read():
            self._lines += 1
            try:
                self._jobs.append(PastJob.model_validate_json(line))
            except (ValidationError, ValueError):  # a line that was cut, or of another version
                continue

    def add(self, job: PastJob) -> None:
        """Add a job that is over."""
        line = job.model_dump_json().encode()
        if len(line) >= MAX_LINE:
            job = job.model_copy(update={"report": None})
            line = job.model_dump_json().encode()
        with self._lock:
            self._jobs.append(job)
            self._write(line + b"\n")

    def last(self, count: int = KEPT) -> list[PastJob]:
        """The last `count` jobs, the latest first."""
        with self._lock:
            jobs = list(self._jobs)
        return jobs[::-1][:count]

    def _read(self) -> list[bytes]:
        if self._path is None:
            return []
        try:
            with os.fdopen(_open(self._path, os.O_RDONLY), "rb") as file:
                begin = max(0, os.fstat(file.fileno()).st_size - MAX_FILE)
                file.seek(begin)
                text = file.read(MAX_FILE)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._tell(error)
            return []
        return [line for line in text.split(b"\n") if 0 < len(line) <= MAX_LINE]

    def _write(self, line: bytes) -> None:
        if self._path is None:
            return
        try:
            if self._lines >= 2 * KEPT:
                self._rewrite(self._path)
                return
            with os.fdopen(_open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT), "r+b", buffering=0) as file:
                if file.seek(0, os.SEEK_END) and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n":
                    line = b"\n" + line  # the line before was cut
                file.write(line)
            self._lines += 1
        except OSError as error:
            self._tell(error)
        else:
            self._has_failed = False

    def _rewrite(self, path: Path) -> None:
        """Write the last jobs anew, in one step: the file has twice as many lines as are kept."""
        new = path.with_name(path.name + ".new")
        new.unlink(missing_ok=True)
        with os.fdopen(_open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            file.writelines(each.model_dump_json().encode() + b"\n" for each in self._jobs)
        new.replace(path)
        self._lines = len(self._jobs)

    def _tell(self, error: OSError) -> None:
        if not self._has_failed:
            log.warning("The worker cannot keep the history of its jobs: %s. The jobs go on", error.strerror)
        self._has_failed = True


def _open(path: Path, flags: int) -> int:
    """Open a regular file: neither a link nor something that blocks. Raises `OSError`."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
