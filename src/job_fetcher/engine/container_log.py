"""The log of a job's container, kept as a file: what the engine has of it, and a word where some is missing."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.core.retry import call_engine
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.engine.isolation import LOG_FILES, LOG_SIZE_MB
from job_fetcher.workspace.disk import is_full

LOG_OVERHEAD = 80
LOG_CUT = f"\n[job-fetcher] The last {LOG_SIZE_MB * LOG_FILES} MB of this log are kept: its beginning may be missing.\n"


def save(
    client: Client, container: str, path: Path, cancelled: Cancellation, make_room: Callable[[], None] = lambda: None
) -> None:
    """Write all that `container` has printed to `path`, standard output and error as they came.

    A log that cannot be read or kept is replaced by a sentence: the job's outputs do not depend on it. On a full
    disk, `make_room` makes room for the sentence.
    """

    def once() -> None:
        kept = 0
        with path.open("wb") as file:
            for chunk in _chunks(client, container):
                file.write(chunk)
                kept += _size_kept(chunk)
            if kept > LOG_SIZE_MB * 10**6 * (LOG_FILES - 1):
                file.write(LOG_CUT.encode())

    try:
        call_engine(cancelled)(once)
    except (EngineUnavailable, JobFailed, Missing) as error:
        path.write_text(f"The log could not be read. {error}\n", encoding="utf-8")
    except OSError as error:
        if not is_full(error):
            raise
        make_room()
        path.write_text("The log could not be kept, since the worker's disk is full.\n", encoding="utf-8")


def _chunks(client: Client, container: str) -> Iterator[bytes]:
    with translate_errors("read the job's log"):
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
