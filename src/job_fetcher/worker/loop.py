"""The life of a job, and of the worker around it: read `run_job` first.

What an error means for the job stands in one place, `_last_status`. What it means for the worker follows from its
class: a `WorkerError` ends it, and so does what nobody foresaw, both after the job's last status; a stop ends it after
the job is handed back; after everything else the next job is asked for.
"""

import logging
import random
import threading
from concurrent.futures import wait
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath

from job_fetcher import steps
from job_fetcher.config.settings import WorkerSettings
from job_fetcher.core import logs
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import (
    Cancelled,
    CredentialsError,
    DetachRequested,
    JobFailed,
    JobGone,
    MachineFault,
    StopRequested,
    Unavailable,
    WorkerError,
)
from job_fetcher.core.job import Final, Job, JobSpecs, JobStatus, Outcome, details
from job_fetcher.engine import cleanup, hardware
from job_fetcher.engine import client as engine
from job_fetcher.engine.client import Client
from job_fetcher.engine.images import Images
from job_fetcher.engine.isolation import Resources
from job_fetcher.platform import diagnosis
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.readiness import Readiness
from job_fetcher.worker.runner import Runner, requeued
from job_fetcher.worker.shutdown import HAND_BACK_S, Shutdown
from job_fetcher.workspace.disk import is_full
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.ledger import Ledger
from job_fetcher.workspace.workspace import Workspace

log = logging.getLogger(__name__)


class Worker:
    """Runs jobs of the API, one at a time, until `shutdown` ends it. `host_base`: the workspace on the host."""

    def __init__(
        self,
        api: WorkerApi,
        client: Client,
        workspace: Workspace,
        host_base: PurePosixPath,
        settings: WorkerSettings,
        shutdown: Shutdown | None = None,
    ) -> None:
        self._api, self._client, self._workspace, self._host_base = api, client, workspace, host_base
        self._settings, self._shutdown = settings, shutdown or Shutdown()
        self._machine = engine.machine(client, reserve_mib=settings.memory_reserve_mib)
        self._gpu = hardware.find_gpu()
        self._card = self._gpu.uuid if self._gpu else None
        images = Images(client, workspace, settings.min_free, settings.image_patterns)
        self._readiness = Readiness(client, workspace, images, self._gpu, settings, network=settings.job_network)
        resources = Resources(self._machine.memory_mib, self._gpu, settings.job_network)
        self._runner = Runner(api, client, images, host_base, resources, self._shutdown.cleanup_deadline, settings)
        self._fatal: Exception | None = None

    def run_forever(self) -> None:
        """Go on with what was left behind, then pull and run one job after the other, until the worker is ended."""
        log.info("Offering %s", self.offer())
        try:
            for folder in self._workspace.resumable(self._card):
                log.info("Going on with job %s", folder.job_id)
                self.run_job(folder)
                self._shutdown.ending.check()
            self._shutdown.ending.result_of(in_background(self._remove_orphans, "remove-orphans"))
            while True:
                self._shutdown.ending.check()
                if not self.run_once():
                    self._shutdown.ending.wait(self._settings.timeout_job * random.uniform(0.75, 1.25))  # noqa: S311
        except Cancelled as reason:
            log.info("The worker ends: %s", reason)

    def run_once(self) -> bool:
        """Pull a job and run it to its end. False if there is none, or it could not be run now."""
        if not self._shutdown.ending.result_of(in_background(self._readiness.is_ready, "look-around")):
            return False
        pulling = in_background(lambda: self._api.pull_job(self.offer()), "pull-job")
        try:
            job = self._shutdown.ending.result_of(pulling)
        except Cancelled as reason:
            wait([pulling], timeout=self._shutdown.left_s() - HAND_BACK_S)
            if pulling.done() and not pulling.exception() and (job := pulling.result()):
                with suppress(JobGone, JobFailed, Unavailable):
                    self._report(job.id, requeued(reason), Cancellation())
            raise
        except (Unavailable, JobFailed) as error:
            log.warning("No job can be asked for: %s", diagnosis.with_hint(error))
            return False
        if job is None:
            return False
        self._begin(job)
        return True

    def offer(self) -> dict[str, str | int]:
        """What the API is told of this machine, in its own parameters."""
        settings = self._settings
        return hardware.offer(self._machine, self._gpu, model=settings.gpu_model, archi=settings.gpu_archi)

    def _begin(self, job: Job) -> None:
        log.info("Job %s is pulled", job.id)
        try:
            folder = self._workspace.create(job, self._card)
        except JobFailed as error:
            log.warning("Job %s cannot be begun: %s", job.id, error)
            final = Final(status=JobStatus.ERROR, details=details(str(error)))
            if isinstance(error, MachineFault):
                final = requeued(error)
            with self._shutdown.job() as cancelled, suppress(JobGone, JobFailed, Unavailable):
                self._report(job.id, final, cancelled)
        else:
            self.run_job(folder)

    def run_job(self, folder: JobFolder) -> None:
        """The life of a job, from wherever it stands to its last status and the removal of its folder."""
        with folder, self._shutdown.job() as cancelled:
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
            if folder.is_there:
                self._fatal = self._fatal or error

    def _clean_up(self, folder: JobFolder) -> None:
        """Remove the job's folder, and its container before that: one that was left behind may not be known so far."""
        try:
            self._runner.remove_container(folder)
        except (Cancelled, JobFailed, Unavailable) as reason:
            log.warning("What is left of job %s stays for the next start: %s", folder.job_id, reason)
        else:
            folder.remove()

    def _remove_orphans(self) -> None:
        """Remove the containers whose folders somebody has removed, or that were put aside."""
        with suppress(Unavailable):
            base = self._workspace.base
            cleanup.remove_orphans(self._client, self._host_base, lambda name: (base / name).is_dir())

    def _last_status(self, folder: JobFolder, cancelled: Cancellation) -> Final:
        """Do the job and tell with which status it ends here; raises `JobGone` and `DetachRequested`: with none."""
        try:
            with KeepAlive(
                self._api, folder.job_id, _status(folder), cancelled, self._settings.timeout_status
            ) as keep_alive:
                outcome, problems = self._do(folder, keep_alive, cancelled)
        except (JobGone, DetachRequested):
            raise
        except StopRequested as reason:
            return requeued(reason)
        except MachineFault as refusal:
            log.warning("Job %s is handed back: %s", folder.job_id, refusal)
            self._readiness.request_trial()
            return requeued(refusal)
        except CredentialsError as error:
            self._fatal = error
            return Final(status=JobStatus.QUEUED, details="The worker's credentials are refused.")
        except WorkerError as error:  # the platform's address answers with nonsense, say: the job is not to blame
            self._fatal = error
            raise DetachRequested(str(error)) from error
        except (JobFailed, Unavailable) as error:
            log.warning("Job %s fails: %s", folder.job_id, error)
            return Final(status=JobStatus.ERROR, details=details(str(error)))
        except OSError as error:
            if is_full(error):
                return Final(status=JobStatus.ERROR, details="The worker's disk is full.")
            if not folder.is_there:
                return Final(status=JobStatus.ERROR, details="Somebody has removed the job's folder on the worker.")
            return self._unforeseen(error)
        except Exception as error:  # noqa: BLE001 - raised again when the job's user has been told
            return self._unforeseen(error)
        return steps.conclude(outcome, problems, folder.log)

    def _unforeseen(self, error: Exception) -> Final:
        self._fatal = error
        return Final(
            status=JobStatus.ERROR,
            details=details(logs.without_secrets(f"Unforeseen: {type(error).__name__}: {error}")),
        )

    def _do(self, folder: JobFolder, keep_alive: KeepAlive, cancelled: Cancellation) -> tuple[Outcome, list[str]]:
        """Run the job's command, or go on with it, and upload what it left. Returns also what could not be uploaded."""
        specs = JobSpecs.parse(folder.state.job.raw)
        outcome = self._runner.run(folder, specs, keep_alive, cancelled)
        log.info("Job %s: %s", folder.job_id, outcome.reason)
        if self._gpu is not None and not outcome.succeeded:
            self._readiness.request_trial()
        problems = steps.upload_outputs(
            self._api, folder.job_id, specs, folder.files, folder.log, Ledger(folder.uploads),
            max_bytes=self._settings.max_output, when_failed=keep_alive.ask, cancelled=cancelled,
            transfers=self._settings.transfers,
        )  # fmt: skip
        return outcome, problems

    def _report(self, job_id: str, final: Final, cancelled: Cancellation, *, again: bool = False) -> None:
        """Send the last status. Handing back is tried for some seconds only, since the worker is to end."""
        if final.status is JobStatus.QUEUED:
            cancelled = Cancellation()
            timer = threading.Timer(
                self._shutdown.left_s(), cancelled.set, [DetachRequested("the API does not answer")]
            )
            timer.daemon = True
            timer.start()
        report = partial(steps.report, self._api, job_id, final, again=again, cancelled=cancelled)
        sending = in_background(report, "report")
        try:
            cancelled.result_of(sending)
        except StopRequested:  # it may be arriving at this moment: a job whose end is told is not left behind
            wait([sending], timeout=self._shutdown.left_s())
            if not sending.done():
                raise
            sending.result()
        log.info("Job %s is reported as %s", job_id, final.status)


def _status(folder: JobFolder) -> JobStatus:
    """The status of a job by what its folder knows: the first that is sent for it."""
    if folder.state.outcome is not None:
        return JobStatus.POSTPROCESSING
    return JobStatus.RUNNING if folder.state.runs else JobStatus.PREPROCESSING
