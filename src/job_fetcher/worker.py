"""The life of a job, and of the worker around it: read `run_job` first.

What an error means for the job stands in one place, `_last_status`. What it means for the worker follows from its
class: a `WorkerError` ends it, and so does what nobody foresaw, both after the job's last status; a stop ends it after
the job is handed back; after everything else the next job is asked for.
"""

import logging
import random
import threading
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from job_fetcher import engine, hardware, images, logs, steps
from job_fetcher.api import WorkerApi
from job_fetcher.background import Cancellation, in_background, run_all
from job_fetcher.confinement import Resources
from job_fetcher.container import JobContainer, job_container
from job_fetcher.errors import (
    Cancelled,
    CredentialsError,
    JobFailed,
    JobFetcherError,
    JobGone,
    JobRefused,
    LeaveRequested,
    StopRequested,
    Unavailable,
    WorkerError,
)
from job_fetcher.job import Final, Job, JobSpecs, JobStatus, Outcome, details
from job_fetcher.keepalive import KeepAlive
from job_fetcher.workspace import JobFolder, Ledger, Workspace, free_bytes, is_full

MAX_RUNS = 3
"""A job whose containers are lost with the engine so often may be the reason for it."""
HAND_BACK_S = 2.0
"""A worker that is stopped tries so long to hand its job back; then the next start does it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How a worker works: where jobs' folders are on the host, intervals and times in seconds, sizes in bytes."""

    host_base: PurePosixPath
    poll_interval_s: float = 30
    keep_alive_interval_s: float = 30
    gpu_model: str | None = None
    gpu_archi: str | None = None
    max_runtime_s: float | None = None
    min_free: int = 0
    max_output: int | None = None
    allowed_images: tuple[str, ...] = ("*",)
    job_network: str = "bridge"
    transfers: int = steps.TRANSFERS
    memory_reserve_mib: int = 0


class Worker:
    """Runs jobs of the API, one at a time. `stop`, `drain` and `leave` may be called from any thread."""

    def __init__(self, api: WorkerApi, client: engine.Client, workspace: Workspace, options: Options) -> None:
        self._api, self._client, self._workspace, self._options = api, client, workspace, options
        self._machine = engine.machine(client, reserve_mib=options.memory_reserve_mib)
        self._images = images.Images(client, workspace, options.min_free, options.allowed_images)
        self._gpu = hardware.find_gpu()
        self._ending = Cancellation()  # of the worker, between jobs
        self._stopped = Cancellation()  # of whatever it does
        self._current = Cancellation()  # of the job in hand
        self._lock = threading.Lock()
        self._fatal: Exception | None = None

    def run_forever(self) -> None:
        """Go on with what was left behind, then pull and run one job after the other, until the worker is ended."""
        log.info("Offering %s", self.offer())
        try:
            for folder in self._workspace.left_behind():
                log.info("Going on with job %s", folder.job_id)
                self.run_job(folder)
                self._ending.check()
            while True:
                self._ending.check()
                if not self.run_once():
                    self._ending.wait(self._options.poll_interval_s * random.uniform(0.75, 1.25))  # noqa: S311
        except Cancelled as reason:
            log.info("The worker ends: %s", reason)

    def run_once(self) -> bool:
        """Pull a job and run it to its end. False if there is none, or it could not be run now."""
        if not self._is_ready():
            return False
        pulling = in_background(lambda: self._api.pull_job(self.offer()), "pull-job")
        try:
            job = self._ending.result_of(pulling)
        except Cancelled as reason:
            wait([pulling], timeout=HAND_BACK_S)
            if pulling.done() and not pulling.exception() and (job := pulling.result()):
                with suppress(JobGone, JobFailed, Unavailable):
                    self._report(job.id, Final(status=JobStatus.QUEUED, details=str(reason)), Cancellation())
            raise
        except (Unavailable, JobFailed) as error:
            log.warning("No job can be asked for: %s", error)
            return False
        if job is None:
            return False
        self._begin(job)
        return True

    def offer(self) -> dict[str, str | int]:
        """What the API is told of this machine, in its own parameters."""
        options = self._options
        return hardware.offer(self._machine, self._gpu, model=options.gpu_model, archi=options.gpu_archi)

    def _is_ready(self) -> bool:
        """Whether a job could be run now: the engine answers, and there is room on its disk and for jobs' files."""
        if not engine.is_up(self._client):
            log.warning("No job is asked for: the Docker engine does not answer")
            return False
        room = self._images.make_room() and free_bytes(self._workspace.base) >= self._options.min_free
        if not room:
            log.warning("No job is asked for: less than MIN_FREE_GIB is free on the disk")
        return room

    def _begin(self, job: Job) -> None:
        log.info("Job %s is pulled", job.id)
        try:
            folder = self._workspace.create(job)
        except JobFailed as error:
            log.warning("Job %s cannot be begun: %s", job.id, error)
            reason = details(str(error))
            final = Final(status=JobStatus.ERROR, details=reason)
            if isinstance(error, JobRefused):
                final = Final(status=JobStatus.QUEUED, details=reason)
            with self._cancellable() as cancelled, suppress(JobGone, JobFailed, Unavailable):
                self._report(job.id, final, cancelled)
        else:
            self.run_job(folder)

    def run_job(self, folder: JobFolder) -> None:
        """The life of a job, from wherever it stands to its last status and the removal of its folder."""
        with folder, self._cancellable() as cancelled:
            if self._is_over(folder, cancelled):
                self._clean_up(folder)
        if self._fatal is not None:
            raise self._fatal

    def _is_over(self, folder: JobFolder, cancelled: Cancellation) -> bool:
        """Do the job and report its last status; whether it is over then, rather than left to the next start."""
        final = folder.state.final
        again = final is not None
        try:
            if final is None:
                final = self._last_status(folder, cancelled)
                self._record(folder, final)
            self._report(folder.job_id, final, cancelled, again=again)
        except JobGone as gone:
            log.info("Job %s is dropped: %s", folder.job_id, gone)
        except JobFailed as refusal:
            log.error("The API refuses the last status of job %s: %s", folder.job_id, refusal)  # noqa: TRY400
        except (Cancelled, Unavailable) as reason:
            log.info("Job %s stays for the next start: %s", folder.job_id, reason)
            return False
        return True

    def _record(self, folder: JobFolder, final: Final) -> None:
        """Write the last status down before it is sent; it is sent all the same if somebody has removed the folder."""
        try:
            folder.record(final=final)
        except OSError as error:
            self._fatal = self._fatal or error

    def _clean_up(self, folder: JobFolder) -> None:
        """Remove the job's folder, and its container before that: one that was left behind may not be known so far."""
        try:
            with job_container(self._client, self._host_folder(folder), self._stopped, self._stopped):
                pass
        except (Cancelled, JobFailed, Unavailable) as reason:
            log.warning("What is left of job %s stays for the next start: %s", folder.job_id, reason)
        else:
            folder.remove()

    def _host_folder(self, folder: JobFolder) -> PurePosixPath:
        return self._options.host_base / folder.path.name

    def _last_status(self, folder: JobFolder, cancelled: Cancellation) -> Final:
        """Do the job and tell with which status it ends here; raises `JobGone` and `LeaveRequested`: with none."""
        try:
            with KeepAlive(
                self._api, folder.job_id, _status(folder), cancelled, self._options.keep_alive_interval_s
            ) as keep_alive:
                outcome, problems = self._do(folder, keep_alive, cancelled)
        except (JobGone, LeaveRequested):
            raise
        except StopRequested as reason:
            return _handed_back(reason)
        except CredentialsError as error:
            self._fatal = error
            return Final(status=JobStatus.QUEUED, details="The worker's credentials are refused.")
        except WorkerError as error:  # the platform's address answers with nonsense, say: the job is not to blame
            self._fatal = error
            raise LeaveRequested(str(error)) from error
        except (JobFailed, Unavailable) as error:
            log.warning("Job %s fails: %s", folder.job_id, error)
            return Final(status=JobStatus.ERROR, details=details(str(error)))
        except OSError as error:
            if not is_full(error):
                return self._unforeseen(error)
            return Final(status=JobStatus.ERROR, details="The worker's disk is full.")
        except Exception as error:  # noqa: BLE001 - raised again when the job's user has been told
            return self._unforeseen(error)
        succeeded = outcome.succeeded and not problems
        return Final(
            status=JobStatus.FINISHED if succeeded else JobStatus.ERROR,
            details=details(" ".join([outcome.reason, *problems]), steps.log_tail(folder.log)),
        )

    def _unforeseen(self, error: Exception) -> Final:
        self._fatal = error
        return Final(
            status=JobStatus.ERROR,
            details=details(logs.without_secrets(f"Unforeseen: {type(error).__name__}: {error}")),
        )

    def _do(self, folder: JobFolder, keep_alive: KeepAlive, cancelled: Cancellation) -> tuple[Outcome, list[str]]:
        """Run the job's command, or go on with it, and upload what it left. Returns also what could not be uploaded."""
        specs = JobSpecs.parse(folder.state.job.raw)
        outcome = self._run_container(folder, specs, keep_alive, cancelled)
        log.info("Job %s: %s", folder.job_id, outcome.reason)
        problems = steps.upload_outputs(
            self._api, folder.job_id, specs, folder.files, folder.log, Ledger(folder.uploads),
            max_bytes=self._options.max_output, when_failed=keep_alive.ask, cancelled=cancelled,
            transfers=self._options.transfers,
        )  # fmt: skip
        return outcome, problems

    def _run_container(
        self, folder: JobFolder, specs: JobSpecs, keep_alive: KeepAlive, cancelled: Cancellation
    ) -> Outcome:
        """Run the job's container, or go on with it; anew if the engine's shutdown has ended it."""
        resources = Resources(self._machine.memory_mib, self._gpu, self._options.job_network)
        while True:
            found = job_container(self._client, self._host_folder(folder), cancelled, self._stopped)
            with found as container, _recording_a_stop(folder):
                if folder.state.runs:  # left behind: the job may be gone by now, which ends its container
                    cancelled.result_of(keep_alive.tried)
                if folder.state.outcome is not None:  # of a container that may not have been removed yet
                    return folder.state.outcome
                if container.exists and (not folder.state.runs or self._is_stale(folder, container)):
                    container.remove()
                if not container.exists:
                    self._prepare(folder, specs, cancelled)
                    container.create(folder.job_id, specs, resources)
                container.start()
                keep_alive.set(JobStatus.RUNNING)
                outcome = container.wait(self._options.max_runtime_s)
                if outcome is not None:
                    keep_alive.set(JobStatus.POSTPROCESSING)
                    container.save_log(folder.log, folder.throw_off_ballast)
                    folder.record(outcome=outcome)
                    return outcome
            log.warning("Job %s: the engine's shutdown has ended its container", folder.job_id)

    @staticmethod
    def _is_stale(folder: JobFolder, container: JobContainer) -> bool:
        """Whether a reboot came between the inputs and the start: they may not have been on disk yet."""
        return folder.survived_reboot and not container.was_started

    def _prepare(self, folder: JobFolder, specs: JobSpecs, cancelled: Cancellation) -> None:
        """Get the image and the inputs, both at the same time."""
        if folder.state.runs >= MAX_RUNS:
            raise JobFailed(
                f"The job's container was lost {MAX_RUNS} times, by shutdowns of this machine or its engine."
            )
        if folder.state.runs or folder.survived_reboot:  # the files are not known to be the inputs alone, or whole
            log.info("Job %s is run anew, from clean inputs and outputs", folder.job_id)
            folder.begin_anew()
        pull = partial(self._images.pull, specs.handler.image_url)
        download = partial(
            steps.download_inputs, self._api, specs, folder.files, folder.parts, transfers=self._options.transfers
        )
        run_all(
            lambda task, left: task(cancelled=left), [pull, download], threads=2, cancelled=cancelled, name="prepare"
        )
        steps.make_output_folders(specs, folder.files)
        folder.record(runs=folder.state.runs + 1)

    def _report(self, job_id: str, final: Final, cancelled: Cancellation, *, again: bool = False) -> None:
        """Send the last status. Handing back is tried for `HAND_BACK_S` only, since the worker is to end."""
        if final.status is JobStatus.QUEUED:
            cancelled = Cancellation()
            timer = threading.Timer(HAND_BACK_S, cancelled.set, [LeaveRequested("the API does not answer")])
            timer.daemon = True
            timer.start()
        report = partial(steps.report, self._api, job_id, final, again=again, cancelled=cancelled)
        sending = in_background(report, "report")
        try:
            cancelled.result_of(sending)
        except StopRequested:  # it may be arriving at this moment: a job whose end is told is not left behind
            wait([sending], timeout=HAND_BACK_S)
            if not sending.done():
                raise
            sending.result()
        log.info("Job %s is reported as %s", job_id, final.status)

    @contextmanager
    def _cancellable(self) -> Iterator[Cancellation]:
        """A `Cancellation` for one job, which `stop` and `leave` set, too."""
        with self._lock:
            self._current = Cancellation()
            if (reason := self._stopped.reason) is not None:
                self._current.set(reason)
        yield self._current

    def stop(self, reason: str) -> None:
        """Hand the job in hand back, and end."""
        self._end(StopRequested(reason))

    def leave(self) -> None:
        """End at once; the container of the job in hand runs on for the next start."""
        self._end(LeaveRequested("another worker goes on with it"))

    def drain(self) -> None:
        """Finish the job in hand, and end."""
        self._ending.set(StopRequested("drained"))

    def _end(self, reason: JobFetcherError) -> None:
        with self._lock:
            for each in (self._stopped, self._ending, self._current):
                each.set(reason)


@contextmanager
def _recording_a_stop(folder: JobFolder) -> Iterator[None]:
    """Write a stop down before the container is stopped for it, whose end is else taken for the command's own.

    That is what the next start would do if the worker is killed before the container is removed.
    """
    try:
        yield
    except StopRequested as reason:
        folder.record(final=_handed_back(reason))
        raise


def _handed_back(reason: StopRequested) -> Final:
    return Final(status=JobStatus.QUEUED, details=details(str(reason)))


def _status(folder: JobFolder) -> JobStatus:
    """The status of a job by what its folder knows: the first that is sent for it."""
    if folder.state.outcome is not None:
        return JobStatus.POSTPROCESSING
    return JobStatus.RUNNING if folder.state.runs else JobStatus.PREPROCESSING
