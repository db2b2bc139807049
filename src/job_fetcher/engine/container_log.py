"""The log of a job's container, kept as a file: what the engine has of it, and a word where some is missing."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.core.retry import call_engine
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.engine.isolation import LOG_FILES, LOG_SIZE_MB
from job_fetcher.workspace.disk import is_broken, is_full

LOG_OVERHEAD = 80
BEGINNING_MISSING = (
    f"\n[job-fetcher] The last {LOG_SIZE_MB * LOG_FILES} MB of this log are kept: its beginning may be missing.\n"
)
LINES_MISSING = "\n[job-fetcher] The Docker engine was restarted while the command ran: lines may be missing.\n"
END_MISSING = "\n[job-fetcher] The end of this log may be missing. {}\n"
NOT_READ = "The log could not be read. {}\n"
REMOVED = "Somebody removed the container before the worker had read the log."
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

    def save(self, *, lines_missing: bool = False) -> None:
        """Write all that the container has printed; `lines_missing`: what is said then may have a hole."""
        try:
            self._save(self._read, lines_missing=lines_missing)
        except OSError as error:
            if not (is_full(error) or is_broken(error)):
                raise
            self._path = self._in_memory()
            self._save(self._read_end, lines_missing=lines_missing)

    def _save(self, read: Callable[[Path], None], *, lines_missing: bool) -> None:
        try:
            call_engine(self._cancelled)(read, self._path)
            if lines_missing:
                self._add(LINES_MISSING)
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
            for chunk in _chunks(self._client, self._container):
                file.write(chunk)
                kept += _size_kept(chunk)
            if kept > LOG_SIZE_MB * 10**6 * (LOG_FILES - 1):
                file.write(BEGINNING_MISSING.encode())

    def _read_end(self, path: Path) -> None:
        end = bytearray()
        for chunk in _chunks(self._client, self._container):
            end += chunk
            if len(end) > 2 * MAX_IN_MEMORY:
                del end[:-MAX_IN_MEMORY]
        path.write_bytes(DISK_FAILS.encode() + end[-MAX_IN_MEMORY:])


def _chunks(client: Client, container: str) -> Iterator[bytes]:
    with translate_errors("read the job's log"):
        client.inspect_container(container)  # docker-py would leave a connection open where there is no container
        chunks = client.logs(container, stream=True, follow=False)
    while True:
        with translate_errors("read the job's log"):
            chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def _size_kept(chunk: bytes) -> int:
    """How many bytes of the engine's own file hold a chunk: a JSON object, in which some characters take six.

    Those are moby's (`jsonlog.JSONLogs.MarshalJSONBuf`): controls, `<`, `>`, `&`, and whatever is not UTF-8.
    """
    text = chunk.decode(errors="replace")
    longer = 5 * sum(map(text.count, "<>&")) + 4 * text.count("\t") + 3 * text.count("\ufffd")
    return len(json.dumps(text, ensure_ascii=False).encode()) + longer + LOG_OVERHEAD
