"""The log of a job's container, kept as a file: what the engine has of it, and a word where some may be missing."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from itertools import pairwise
from pathlib import Path

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.core.retry import call_engine
from job_fetcher.engine import image_cleanup
from job_fetcher.engine.client import Client, Missing
from job_fetcher.engine.first_line import FirstLine
from job_fetcher.engine.isolation import LOG_FILES, LOG_SIZE_MB
from job_fetcher.engine.log_so_far import so_far
from job_fetcher.workspace.disk import free_bytes, is_broken, is_full

LOG_OVERHEAD = 80
BEGINNING_MISSING = (
    f"\n[job-fetcher] The last {LOG_SIZE_MB * LOG_FILES} MB of this log are kept: its beginning may be missing.\n"
)
LINES_MISSING = "\n[job-fetcher] The Docker engine was restarted while the command ran: lines may be missing here.\n"
DISK_FULL = "\n[job-fetcher] The disk of the Docker engine is full: lines may be missing.\n"
PODMAN_BEGINNING = (
    f"[job-fetcher] Podman keeps at most the last {LOG_SIZE_MB} MB of a log: the beginning of this one is missing.\n"
)
END_MISSING = "\n[job-fetcher] The end of this log may be missing. {}\n"
NOT_READ = "The log could not be read. {}\n"
REMOVED = "Somebody removed the container before the worker had read the log."
LEAST_FREE = 1 << 20
"""Bytes on the engine's disk. With less, the engine drops lines without a word (moby: `json-file` driver)."""
MAX_IN_MEMORY = 1 << 20
"""Bytes of a log that the worker keeps in memory if its disk takes none."""
DISK_FAILS = "[job-fetcher] The disk of this worker does not take the log. Its end follows, at most 1 MiB.\n"


class ContainerLog:
    """The log of `container`, to be kept at `path`, standard output and error as they came.

    A log that cannot be read is replaced by a sentence: the job's outputs do not depend on it. If the disk does not
    take the log, its end goes to the file that `in_memory` returns.
    """

    def __init__(
        self, client: Client, container: str, path: Path, cancelled: Cancellation, in_memory: Callable[[], Path]
    ) -> None:
        self._client, self._container, self._path = client, container, path
        self._cancelled, self._in_memory = cancelled, in_memory
        self._first_line = FirstLine(client, container, cancelled)

    def save(self, gaps: Sequence[float] = ()) -> None:
        """Write all that the container has printed. It may have holes at `gaps`, in seconds since the epoch."""
        self._gaps = sorted(gaps)
        try:
            self._save(self._read)
        except OSError as error:
            if not (is_full(error) or is_broken(error)):
                raise
            self._path = self._in_memory()
            self._save(self._read_end)

    def _save(self, read: Callable[[Path], None]) -> None:
        try:
            call_engine(self._cancelled)(read, self._path)
            if self._engine_disk_is_full():
                self._add(DISK_FULL)
        except (EngineUnavailable, JobFailed, Missing) as error:
            self._save_what_there_is(REMOVED if isinstance(error, Missing) else str(error))

    def _save_what_there_is(self, reason: str) -> None:
        if self._path.exists() and self._path.stat().st_size > 0:
            self._add(END_MISSING.format(reason))
        else:
            self._path.write_text(NOT_READ.format(reason), encoding="utf-8")

    def _add(self, text: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _read(self, path: Path) -> None:
        kept = 0
        with path.open("wb") as file:
            if self._first_line.is_gone():
                file.write(PODMAN_BEGINNING.encode())
            for chunk in self._chunks():
                file.write(chunk)
                kept += _size_kept(chunk)
            if kept > LOG_SIZE_MB * 10**6 * (LOG_FILES - 1):
                file.write(BEGINNING_MISSING.encode())

    def _read_end(self, path: Path) -> None:
        end = bytearray()
        for chunk in self._chunks():
            end += chunk
            if len(end) > 2 * MAX_IN_MEMORY:
                del end[:-MAX_IN_MEMORY]
        path.write_bytes(DISK_FAILS.encode() + end[-MAX_IN_MEMORY:])

    def _chunks(self) -> Iterator[bytes]:
        """What the container has printed, with a sentence at each gap."""
        for since, until in pairwise([None, *self._gaps, None]):
            with closing(so_far(self._client, self._container, since=since, until=until)) as pieces:
                yield from pieces
            if until is not None:
                yield LINES_MISSING.encode()

    def _engine_disk_is_full(self) -> bool:
        with suppress(OSError, EngineUnavailable, JobFailed, Missing):
            return free_bytes(image_cleanup.disk(self._client)) < LEAST_FREE
        return False


def _size_kept(chunk: bytes) -> int:
    """How many bytes of the engine's own file hold a chunk: a JSON object, in which some characters take six.

    Those are moby's (`jsonlog.JSONLogs.MarshalJSONBuf`): controls, `<`, `>`, `&`, and whatever is not UTF-8.
    """
    text = chunk.decode(errors="replace")
    longer = 5 * sum(map(text.count, "<>&")) + 4 * text.count("\t") + 3 * text.count("\ufffd")
    return len(json.dumps(text, ensure_ascii=False).encode()) + longer + LOG_OVERHEAD
