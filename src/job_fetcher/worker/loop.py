"""The worker: read `Worker.run_job` first, which is the life of a job.

`run_forever` resumes the jobs that were left behind, then asks for one job after the other. `ending.ending_of` tells
what each error means for the job and for the worker.
"""

import logging
import random
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

from job_fetcher import steps
from job_fetcher.config.settings import WorkerSettings
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import (
    Cancelled,
    DetachRequested,
    JobFailed,
    JobGone,
    MachineFault,
    StopRequested,
    Unavailable,
)
from job_fetcher.core.job import Final, Job, JobSpecs, JobStatus
from job_fetcher.engine import cleanup, hardware
from job_fetcher.engine import client as engine
from job_fetcher.engine.client import Client
from job_fetcher.engine.images import Images
from job_fetcher.engine.isolation import Resources
from job_fetcher.platform import diagnosis
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.ending import Ending, ending_of, failed, requeued
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.readiness import Readiness
from job_fetcher.worker.runner import Runner
from job_fetcher.worker.shutdown import REQUEUE_S, Shutdown
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
        self._gpu_uuid = self._gpu.uuid if self._gpu else None
        images = Images(client, workspace, settings.min_free, settings.image_patterns, hosts=[api.host])
        self._readiness = Readiness(client, workspace, images, self._gpu, settings, network=settings.job_network)
        resources = Resources(self._machine.memory_mib, self._gpu, settings.job_network)
        self._runner = Runner(api, client, images, host_base, resources, self._shutdown.cleanup_deadline, settings)

    def run_forever(self) -> None:
        """Resume the jobs that were left behind, then pull and run one job after the other, until the worker ends."""
        log.info("Offering %s", self.offer())
        try:
            for folder in self._workspace.resumable(self._gpu_uuid):
                log.info("job %s: resuming", folder.job_id)
                self.run_job(folder)
                self._shutdown.ending.check()
            self._shutdown.ending.call(self._remove_orphans, "remove-orphans")
            while True:
                self._shutdown.ending.check()
                if not self.run_once():
                    self._shutdown.ending.wait(self._settings.timeout_job * random.uniform(0.75, 1.25))  # noqa: S311
        except Cancelled as reason:
            log.info("The worker ends: %s", reason)

    def run_once(self) -> bool:
        """Pull a job and run it to its end. False if there is no job, or this machine cannot run one now."""
        if not self._shutdown.ending.call(self._readiness.is_ready, "readiness"):
            return False
        try:
            job = self._pull()
        except (Unavailable, JobFailed) as error:
            log.warning("The worker cannot ask for a job: %s", diagnosis.with_hint(error))
            return False
        if job is None:
            return False
        log.info("job %s: pulled", job.id)
        folder = self._make_folder(job)
        if folder is not None:
            self.run_job(folder)
        return True

    def run_job(self, folder: JobFolder) -> None:
        """The life of a job, from wherever it stands to its last status and the removal of its folder."""
        with folder, self._shutdown.job() as cancelled:
            recorded = folder.state.final
            ending = Ending(recorded) if recorded else self._run(folder, cancelled)
            if ending.final is not None:
                is_over = self._report(folder.job_id, ending.final, cancelled, again=recorded is not None)
            else:
                is_over = not ending.stays
            if is_over:
                self._clean_up(folder)
        if ending.fatal is not None:
            raise ending.fatal

    def offer(self) -> dict[str, str | int]:
        """What this machine has for a job, as the query parameters of `GET /jobs`."""
        settings = self._settings
        return hardware.offer(self._machine, self._gpu, model=settings.gpu_model, archi=settings.gpu_archi)

    def _pull(self) -> Job | None:
        """Ask for a job. One that comes although the worker ends meanwhile is requeued."""
        pulling = in_background(lambda: self._api.pull_job(self.offer()), "pull-job")
        try:
            return self._shutdown.ending.result_of(pulling)
        except Cancelled as reason:
            wait([pulling], timeout=self._shutdown.left_s() - REQUEUE_S)
            if pulling.done() and not pulling.exception() and (job := pulling.result()):
                self._report(job.id, requeued(reason), Cancellation())
            raise

    def _make_folder(self, job: Job) -> JobFolder | None:
        """The folder of a job that was pulled. A job that cannot have one ends here."""
        try:
            return self._workspace.create(job, self._gpu_uuid)
        except JobFailed as error:
            log.warning("job %s: failing: %s", job.id, error)
            final = requeued(error) if isinstance(error, MachineFault) else failed(str(error))
            with self._shutdown.job() as cancelled:
                self._report(job.id, final, cancelled)
            return None

    def _run(self, folder: JobFolder, cancelled: Cancellation) -> Ending:
        """Do the job, whatever of it is left to do. How it ends is recorded before anybody hears of it."""
        try:
            ending = Ending(self._outcome(folder, cancelled))
        except Exception as error:  # noqa: BLE001 - the table says what each one means
            ending = ending_of(error, folder)
            level = logging.INFO if isinstance(error, Cancelled) else logging.WARNING
            log.log(level, "job %s: %s: %s", folder.job_id, _verb(ending), error)
        if ending.suspect:
            self._readiness.request_trial()
        if ending.final is None:
            return ending
        try:
            folder.record(final=ending.final)
        except OSError as error:  # the last status is sent all the same
            if folder.is_there and ending.fatal is None:
                return replace(ending, fatal=error)
        return ending

    def _outcome(self, folder: JobFolder, cancelled: Cancellation) -> Final:
        """Run the job's command, or resume it, and upload what it left. Returns the last status."""
        interval_s = self._settings.timeout_status
        with KeepAlive(self._api, folder.job_id, _first_status(folder), cancelled, interval_s) as keep_alive:
            specs = JobSpecs.parse(folder.state.job.raw)
            outcome = self._runner.run(folder, specs, keep_alive, cancelled)
            log.info("job %s: exited: %s", folder.job_id, outcome.reason)
            if self._gpu is not None and not outcome.succeeded:
                self._readiness.request_trial()
            problems = steps.upload_outputs(
                self._api, folder.job_id, specs, folder.files, folder.log, Ledger(folder.uploads),
                max_bytes=self._settings.max_output, when_failed=keep_alive.ask, cancelled=cancelled,
                transfers=self._settings.transfers,
            )  # fmt: skip
        return steps.conclude(outcome, problems, folder.log)

    def _report(self, job_id: str, final: Final, cancelled: Cancellation, *, again: bool = False) -> bool:
        """Send the last status. Whether the job is over then; if not, its folder stays for the next start.

        `again`: an earlier start may have sent it.
        """
        try:
            if final.status is JobStatus.QUEUED:
                self._send_requeue(job_id, final, again=again)
            else:
                self._send_last_status(job_id, final, cancelled, again=again)
        except JobGone as gone:
            log.info("job %s: dropped: %s", job_id, gone)
        except JobFailed as refusal:
            log.error("job %s: the API refuses its last status: %s", job_id, refusal)  # noqa: TRY400
        except (Cancelled, Unavailable) as reason:
            log.info("job %s: kept for the next start: %s", job_id, reason)
            return False
        else:
            log.info("job %s: %s", job_id, _REPORTED[final.status])
        return True

    def _send_last_status(self, job_id: str, final: Final, cancelled: Cancellation, *, again: bool) -> None:
        """Send `finished` or `error`. One that is on its way when the worker is stopped has some seconds to arrive."""
        report = partial(steps.report, self._api, job_id, final, again=again, cancelled=cancelled)
        sending = in_background(report, "report")
        try:
            cancelled.result_of(sending)
        except StopRequested:
            wait([sending], timeout=self._shutdown.left_s())
            if not sending.done():
                raise
            sending.result()

    def _send_requeue(self, job_id: str, final: Final, *, again: bool) -> None:
        """Hand the job back, for some seconds only: the worker may be about to end."""
        deadline = Cancellation()
        deadline.after(self._shutdown.left_s(), DetachRequested("the API does not answer"))
        deadline.call(partial(steps.report, self._api, job_id, final, again=again, cancelled=deadline), "requeue")

    def _clean_up(self, folder: JobFolder) -> None:
        """Remove the job's folder, and first its container: an earlier start may have left one."""
        try:
            self._runner.remove_container(folder)
        except (Cancelled, JobFailed, Unavailable) as reason:
            log.warning("job %s: its container stays for the next start: %s", folder.job_id, reason)
        else:
            folder.remove()

    def _remove_orphans(self) -> None:
        """Remove the containers whose folders a person removed, or the worker put aside."""
        with suppress(Unavailable):
            base = self._workspace.base
            cleanup.remove_orphans(self._client, self._host_base, lambda name: (base / name).is_dir())


_REPORTED = {JobStatus.FINISHED: "finished", JobStatus.ERROR: "failed", JobStatus.QUEUED: "requeued"}


def _first_status(folder: JobFolder) -> JobStatus:
    """The first status to send for a job, by what its folder knows."""
    if folder.state.outcome is not None:
        return JobStatus.POSTPROCESSING
    return JobStatus.RUNNING if folder.state.runs else JobStatus.PREPROCESSING


def _verb(ending: Ending) -> str:
    """What the worker does with a job that ends so, in the log."""
    if ending.final is None:
        return "kept for the next start" if ending.stays else "dropped"
    return "requeueing" if ending.final.status is JobStatus.QUEUED else "failing"
