"""The thread that uploads the log of a running command: what there is of it so far, again and again.

Its uploads are best effort. A failure is logged once for a job, and costs nothing: the complete logs follow in
`postprocessing` (`steps.upload_outputs`), which waits until no upload of this thread is on its way.
"""

import hashlib
import logging
import posixpath
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from functools import partial
from threading import Lock
from typing import BinaryIO

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import Cancelled, Unavailable
from job_fetcher.core.events import LogGrows, Planned, Transfer, tell
from job_fetcher.core.job import JobSpecs, OutputType
from job_fetcher.platform.api import WorkerApi
from job_fetcher.transfer.excerpt import Excerpt, excerpt_of
from job_fetcher.transfer.log_folder import LogFolder, is_text
from job_fetcher.transfer.outbox import CONTAINER_LOG, free_name
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.upload import upload
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.log_end import LogEnd
from job_fetcher.workspace.job_folder import JobFolder

MAX_FILES = 4
"""Files of the job's log folder that go up in one round, besides the container's log: those that were written last."""
LAST_LINES = 2_000
"""Lines of a container's log that is longer than an excerpt, which are asked for in each round."""

ReadLog = Callable[[int | None], Generator[bytes]]
"""Gives what a container has printed so far, or that many last lines of it, in pieces."""

log = logging.getLogger(__name__)


class LiveLog:
    """Uploads the logs of one job while its command runs, every `interval_s` seconds (0: never), if they have grown.

    What goes up is the container's log and the newest text files of the job's log folder, at most an excerpt of each
    (`MAX_EXCERPT`). Each upload follows a keep-alive that the API has accepted, and has a form of its own, so that the
    folder of a deleted job does not appear again. Nothing begins after `cancelled`.
    """

    def __init__(
        self,
        api: WorkerApi,
        folder: JobFolder,
        specs: JobSpecs,
        keep_alive: KeepAlive,
        cancelled: Cancellation,
        *,
        interval_s: float,
    ) -> None:
        self._api, self._keep_alive, self._cancelled, self._interval_s = api, keep_alive, cancelled, interval_s
        self._job_id, self._scratch = folder.job_id, folder.path
        declared = (specs.handler.files_up or {}).get(OutputType.LOG)
        self._folder = declared or "log"
        inputs = specs.handler.files_down or {}
        self._files = LogFolder(folder.files, declared, inputs) if declared else None
        self._watched = LogFolder(folder.files, declared, inputs) if declared else None
        self._sent: dict[str, object] = {}
        self._on_its_way: Future[None] | None = None
        self._lock = Lock()
        self._has_told = False
        self.sent_bytes = 0
        """Bytes that have gone up so far."""

    @contextmanager
    def following(self, read: ReadLog) -> Iterator[None]:
        """In this block the log goes up that `read` gives. Afterwards no upload begins; one may be on its way."""
        tell(LogGrows(self._job_id, LogEnd(read, self._watched)))
        ended = Cancellation()
        self._cancelled.call_when_set(lambda: ended.set(Cancelled("The job is cancelled")))
        if self._interval_s:
            in_background(partial(self._run, read, ended), f"live-log-{self._job_id}")
        try:
            yield
        finally:
            with self._lock:
                ended.set(Cancelled("The command has ended"))

    def wait_until_quiet(self, cancelled: Cancellation) -> None:
        """Return when no upload is on its way. Raises the reason of `cancelled`."""
        if self._on_its_way is not None:
            cancelled.result_of(self._on_its_way)

    def _run(self, read: ReadLog, ended: Cancellation) -> None:
        while True:
            try:
                ended.wait(self._interval_s)
                self._round(read, ended)
            except Cancelled:
                return
            except Unavailable as failure:
                self._keep_alive.ask(failure)  # the job may be gone
                self._tell_once(failure)
            except Exception as error:  # noqa: BLE001 - whatever it is, the job does not hear of it
                self._tell_once(error)

    def _round(self, read: ReadLog, ended: Cancellation) -> None:
        """Upload each log that has grown since the last round, one after the other."""
        self._wait_until_heard(ended)
        files = self._files.look() if self._files is not None else []
        paths = {each.path for each in files}
        own = posixpath.join(self._folder, free_name(self._folder, CONTAINER_LOG, paths))
        self._sent = {path: version for path, version in self._sent.items() if path in {own, *paths}}
        digest = self._send(own, partial(_take_container_log, read), ended, known=self._sent.get(own))
        if digest is not None:
            self._sent[own] = digest
            self._wait_until_heard(ended)
        sent = 0
        for each in files:
            if sent == MAX_FILES:
                return
            if self._sent.get(each.path) == each.version:
                continue
            if self._send(each.path, partial(self._take_file, each.path), ended) is not None:
                self._wait_until_heard(ended)
                sent += 1
            self._sent[each.path] = each.version

    def _wait_until_heard(self, ended: Cancellation) -> None:
        ended.result_of(self._keep_alive.next_heard())

    def _take_file(self, path: str, excerpt: Excerpt) -> None:
        assert self._files is not None
        with self._files.open(path) as file:
            if is_text(file):
                excerpt_of(file, excerpt)

    def _send(
        self, path: str, take: Callable[[Excerpt], None], ended: Cancellation, *, known: object = None
    ) -> bytes | None:
        """Upload what `take` gives an excerpt of, to `path` of the job, and return its digest.

        Returns `None` if nothing goes up: there is none, or its digest is `known`.
        """
        with (self._scratch / "live.log").open("w+b") as kept, (self._scratch / "live.part").open("w+b") as part:
            excerpt = Excerpt(kept)
            take(excerpt)
            excerpt.write_to(part)
            size = part.tell()
            part.seek(0)
            digest = hashlib.file_digest(part, "blake2b").digest()
            if not size or digest == known:
                return None
            self._upload(path, part, size, ended)
        self.sent_bytes += size
        return digest

    def _upload(self, path: str, part: BinaryIO, size: int, ended: Cancellation) -> None:
        """One try with a new form. Raises whatever goes wrong."""
        ended.check()
        base_path, name = posixpath.split(path)
        form = self._api.output_request(self._job_id, OutputType.LOG, base_path)
        with self._lock:
            ended.check()
            on_its_way: Future[None] = Future()
            self._on_its_way = on_its_way
        tell(Planned(Transfer.UPLOAD, size))
        try:
            upload(PresignedRequest(lambda: form), name, part, cancelled=ended, once=True)
        finally:
            on_its_way.set_result(None)

    def _tell_once(self, error: Exception) -> None:
        if not self._has_told:
            self._has_told = True
            log.warning("job %s: live log not sent: %s. The complete log follows", self._job_id, error)


def _take_container_log(read: ReadLog, excerpt: Excerpt) -> None:
    """Take the whole log, or its beginning and its last lines."""
    with closing(read(None)) as pieces:
        for piece in pieces:
            excerpt.add(piece)
            if excerpt.is_cut:
                break
    if excerpt.is_cut:
        excerpt.skip()
        with closing(read(LAST_LINES)) as pieces:
            for piece in pieces:
                excerpt.add(piece)
