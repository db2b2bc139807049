"""The end of what a running job has printed, for the owner's page: read anew each time, and never held in memory."""

import os
from collections.abc import Callable, Generator
from contextlib import closing, suppress

from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.engine.client import Missing
from job_fetcher.transfer.log_folder import LogFolder, is_text

LINES = 1_000
"""Lines that are asked for."""
MOST_READ = 16 << 20
"""Bytes that are read for one answer: a line may be endless."""


class LogEnd:
    """Gives the last bytes of a container's log, which `read` gives in pieces.

    If the container has printed nothing, it gives those of the newest text of the job's log folder, `files`.
    """

    def __init__(self, read: Callable[[int | None], Generator[bytes]], files: LogFolder | None) -> None:
        self._read, self._files = read, files

    def __call__(self, size: int) -> bytes:
        """The last `size` bytes; nothing, if nobody tells them now."""
        printed = b""
        with suppress(EngineUnavailable, JobFailed, Missing):
            printed = self._printed(size)
        if printed or self._files is None:
            return printed
        with suppress(OSError):
            return self._newest(self._files, size)
        return b""

    def _printed(self, size: int) -> bytes:
        end, read = bytearray(), 0
        with closing(self._read(LINES)) as pieces:
            for piece in pieces:
                end += piece
                read += len(piece)
                if len(end) > 2 * size:
                    del end[:-size]
                if read > MOST_READ:
                    break
        return bytes(end[-size:])

    @staticmethod
    def _newest(files: LogFolder, size: int) -> bytes:
        for each in files.look():
            with files.open(each.path) as file:
                if is_text(file):
                    file.seek(max(0, os.fstat(file.fileno()).st_size - size))
                    return f"{each.path}:\n".encode() + file.read(size)
        return b""
