"""Sends the files of one job, on several threads: each once, with one form for all files of a folder."""

import os
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import BinaryIO

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import InvalidAnswer, JobFailed, Unavailable
from job_fetcher.core.events import Planned, Transfer, tell
from job_fetcher.core.job import OutputType
from job_fetcher.platform.api import WorkerApi
from job_fetcher.transfer.outbox import Upload
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.upload import upload
from job_fetcher.transfer.upload_report import Arrived
from job_fetcher.workspace.ledger import Ledger

WhenFailed = Callable[[Unavailable], None]
"""Hears of every failure that is tried again: on 500 the job may be gone, which it finds out and ends the step."""


class Sender:
    """Sends files of the job `job_id`. `ledger` has what has arrived before.

    `arrived` counts by type what has arrived, now or before. `failed` has what has not arrived, each with the end of a
    sentence that says why.
    """

    def __init__(self, api: WorkerApi, job_id: str, ledger: Ledger, when_failed: WhenFailed) -> None:
        self.arrived: dict[OutputType, Arrived] = {}
        self.failed: list[tuple[Upload, str]] = []
        self._api, self._job_id, self._ledger, self._when_failed = api, job_id, ledger, when_failed
        self._forms: dict[tuple[OutputType, str], PresignedRequest] = {}
        self._storage_is_invalid = False
        self._lock = Lock()

    def send(self, each: Upload, cancelled: Cancellation) -> None:
        """Send a file; whatever it fails with at the end is noted as a problem of this file alone."""
        try:
            with each.open() as file:
                size, written_at = _version(file)
                entry = [each.type, each.path, size, written_at]
                if entry not in self._ledger:
                    self._upload(each, file, cancelled)
                    self._ledger.add(entry)
                else:
                    tell(Planned(Transfer.UPLOAD, -size))
        except (JobFailed, InvalidAnswer) as error:
            self.failed.append((each, f"cannot be uploaded: {error}"))
        except OSError as error:
            self.failed.append((each, f"cannot be read: {error.strerror or error}"))
        else:
            with self._lock:
                before = self.arrived.get(each.type, Arrived())
                self.arrived[each.type] = Arrived(before.files + 1, before.size + size)

    def _upload(self, each: Upload, file: BinaryIO, cancelled: Cancellation) -> None:
        form = self._form(each.type, each.base_path)
        try:
            upload(
                form, each.name, file,
                cancelled=cancelled, when_failed=self._when_failed, gives_up=lambda: self._storage_is_invalid,
            )  # fmt: skip
        except InvalidAnswer:
            self._storage_is_invalid = True
            raise
        self._storage_is_invalid = False

    def _form(self, output_type: OutputType, base_path: str) -> PresignedRequest:
        with self._lock:
            ask = partial(self._api.output_request, self._job_id, output_type, base_path)
            return self._forms.setdefault((output_type, base_path), PresignedRequest(ask))


def _version(file: BinaryIO) -> tuple[int, int]:
    """What tells a file from another one of the same name: its size, and when it was written."""
    try:
        status = os.fstat(file.fileno())
    except OSError:  # not a file on disk but a text of the worker
        return len(file.read()), 0
    return status.st_size, status.st_mtime_ns
