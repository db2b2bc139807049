"""What the worker learns of one job on its way, and the job's report out of it (docs/job-report.md)."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from job_fetcher.core import events
from job_fetcher.core.cause import Cause
from job_fetcher.core.events import Event, Moved, StageBegan, Transfer, TriedAgain
from job_fetcher.core.job import Final, JobStatus, Outcome
from job_fetcher.core.job_report import JobReport, JobResult
from job_fetcher.core.version import worker_version
from job_fetcher.core.whose import Whose
from job_fetcher.engine.container_usage import Usage
from job_fetcher.engine.gpu_sample import Sample
from job_fetcher.engine.hardware import Gpu
from job_fetcher.transfer.upload_report import UploadReport
from job_fetcher.workspace.job_folder import JobFolder

MIB = 1 << 20


class JobWatch:
    """Hears of the events of the job in `folder` in its `with` block. Any thread may note something.

    `gpu` is what the job has of this machine's.
    """

    def __init__(self, folder: JobFolder, gpu: Gpu | None = None) -> None:
        self._folder, self._gpu = folder, gpu
        self._lock = threading.Lock()
        self._started_at = datetime.now(UTC)
        self._began: dict[JobStatus, float] = {}
        self._first: JobStatus | None = None
        self._known: dict[str, Any] = {}
        self._moved = dict.fromkeys(Transfer, 0)
        self._retries = 0
        self._retry_wait_s = self._pull_wait_s = 0.0
        self._pull_thread: int | None = None
        self._gpu_seconds = self._gpu_busy_s = 0.0
        self._gpu_peak_mib: float | None = None
        self._gpu_is_lost = False

    @contextmanager
    def listening(self) -> Iterator["JobWatch"]:
        """Hear of what happens to the job in this block."""
        with events.listening(self._hear):
            yield self

    def _hear(self, event: Event) -> None:
        with self._lock:
            match event:
                case StageBegan(job_id, stage) if job_id == self._folder.job_id:
                    self._first = self._first or stage
                    if stage is JobStatus.POSTPROCESSING and stage not in self._began and self._folder.state.started:
                        self._known["running_s"] = self._folder.command_age_s
                    self._began.setdefault(stage, time.monotonic())
                case TriedAgain(float(wait_s), self._folder.job_id):
                    self._retries += 1
                    self._retry_wait_s += wait_s
                    if threading.get_ident() == self._pull_thread:
                        self._pull_wait_s += wait_s
                case Moved(transfer, size, self._folder.job_id):
                    self._moved[transfer] += size
                case _:
                    pass

    # What others tell.

    def pulling(self, pull: Callable[..., None]) -> Callable[..., None]:
        """The same call, timed; its waits are those of the pull."""

        def timed(**arguments: Any) -> None:
            self._pull_thread, began = threading.get_ident(), time.monotonic()
            pull(**arguments)
            self._note(pull_s=time.monotonic() - began, pull_wait_s=self._pull_wait_s)

        return timed

    def downloading(self, download: Callable[..., None]) -> Callable[..., None]:
        """The same call, timed."""

        def timed(**arguments: Any) -> None:
            began = time.monotonic()
            download(**arguments)
            took_s, moved = time.monotonic() - began, self._moved[Transfer.DOWNLOAD]
            self._note(download_s=took_s, input_mib_per_s=_rate(moved, took_s))

        return timed

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """The block is the upload of the outputs."""
        began, before = time.monotonic(), self._moved[Transfer.UPLOAD]
        yield
        took_s = time.monotonic() - began
        self._note(upload_s=took_s, output_mib_per_s=_rate(self._moved[Transfer.UPLOAD] - before, took_s))

    def note_inputs(self, paths: Iterable[Path]) -> None:
        """The inputs are here."""
        with suppress(OSError):
            self._note(input_bytes=sum(path.stat().st_size for path in paths))

    def note_engine(self, version: str) -> None:
        self._note(engine_version=version)

    def note_digest(self, digest: str | None) -> None:
        self._note(image_digest=digest)

    def note_usage(self, usage: Usage | None) -> None:
        """What the container has used so far; `None` if that is not known."""
        if usage is not None:
            self._note(peak_memory_mib=usage.peak_memory_mib, cpu_s=usage.cpu_s)

    def note_gpu(self, sample: Sample | None, seconds: float) -> None:
        """The GPU now, for the last `seconds`; `None` if it does not answer."""
        with self._lock:
            self._gpu_is_lost = sample is None
            if sample is None:
                return
            if sample.memory_used_mib is not None:
                self._gpu_peak_mib = max(self._gpu_peak_mib or 0.0, sample.memory_used_mib)
            if sample.utilisation_percent is not None:
                self._gpu_seconds += seconds
                self._gpu_busy_s += seconds * sample.utilisation_percent / 100

    def _note(self, **known: Any) -> None:
        with self._lock:
            self._known |= known

    # What becomes of it.

    def report(self, outcome: Outcome, uploaded: UploadReport, final: Final, live_log_bytes: int) -> JobReport:
        """The report of the job, whose outputs have arrived."""
        with self._lock:
            whose = Whose.of(self._folder.state.job.raw)
            sampled = self._gpu_seconds > 0
            return JobReport(
                job_id=self._folder.job_id,
                user_job_id=whose.user_job_id,
                application=whose.application,
                image=whose.image,
                worker_version=worker_version(),
                result=JobResult(final.status),
                cause=Cause.GPU_LOST if self._gpu_is_lost and not outcome.succeeded else outcome.cause,
                exit_code=outcome.exit_code,
                reason=outcome.reason,
                runs=self._folder.state.runs or None,
                started_at=self._started_at,
                ended_at=datetime.now(UTC),
                preprocessing_s=self._between(JobStatus.PREPROCESSING, self._began.get(JobStatus.RUNNING)),
                postprocessing_s=self._between(JobStatus.POSTPROCESSING, time.monotonic()),
                retries=self._retries,
                retry_wait_s=self._retry_wait_s,
                input_files=len((self._folder.state.job.raw.get("handler") or {}).get("files_down") or {}),
                output_files=uploaded.arrived.files,
                output_bytes=uploaded.arrived.size,
                left_out_files=uploaded.left_out,
                live_log_bytes=live_log_bytes,
                gpu_model=self._gpu.model if self._gpu else None,
                gpu_peak_memory_mib=self._gpu_peak_mib,
                gpu_busy_s=self._gpu_busy_s if sampled else None,
                gpu_utilisation_percent=100 * self._gpu_busy_s / self._gpu_seconds if sampled else None,
                **self._known,
            )

    def _between(self, stage: JobStatus, end: float | None) -> float | None:
        """Seconds of a stage that this process has seen from its beginning on."""
        began = self._began.get(stage)
        is_whole = stage is JobStatus.PREPROCESSING or stage is not self._first
        return end - began if began is not None and end is not None and is_whole else None


def _rate(size: int, seconds: float) -> float | None:
    """MiB a second; `None` if nothing has moved."""
    return size / MIB / seconds if size and seconds else None
