"""The worker: read `Worker.run_job` first, which is the life of a job.

`run_forever` resumes the jobs that were left behind, then asks for one job after the other. `ending.ending_of` tells
what each error means for the job and for the worker.
"""

import logging
import random
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import suppress
from functools import partial
from pathlib import PurePosixPath

from job_fetcher.config.settings import WorkerSettings
from job_fetcher.core import health, whose
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import (
    Cancelled,
    JobFailed,
    Unavailable,
)
from job_fetcher.core.events import JobBegan, about, tell
from job_fetcher.core.job import Job
from job_fetcher.engine import cleanup, hardware
from job_fetcher.engine import client as engine
from job_fetcher.engine.client import Client
from job_fetcher.engine.images import Images
from job_fetcher.engine.isolation import Resources
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.course import Course
from job_fetcher.worker.ending import Ending, ending_of, ending_without_folder
from job_fetcher.worker.kept_jobs import KeptJobs
from job_fetcher.worker.left_behind import in_turn
from job_fetcher.worker.overlap import Overlap
from job_fetcher.worker.polling import Polling
from job_fetcher.worker.preparation import Preparation
from job_fetcher.worker.readiness import Readiness
from job_fetcher.worker.reporter import Reporter
from job_fetcher.worker.runner import Runner
from job_fetcher.worker.shutdown import REQUEUE_S, JobCancellation, Shutdown
from job_fetcher.worker.stuck_containers import StuckContainers
from job_fetcher.worker.take_back import TakeBack
from job_fetcher.workspace.disk import is_there
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.requeued import Requeues
from job_fetcher.workspace.workspace import Workspace

log = logging.getLogger(__name__)


class Worker:
    """Runs jobs of the API, one after the other, until `shutdown` ends it. `host_base`: the workspace on the host.

    One job may finish behind the next one (`Overlap`).
    """

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
        self._overlap = Overlap(
            self._shutdown, enabled=settings.finish_behind, look_s=settings.timeout_job, stayed=self._job_that_stayed
        )
        self._machine = engine.machine(client, reserve_mib=settings.memory_reserve_mib)
        self._gpu = hardware.find_gpu()
        self._gpu_uuid = self._gpu.uuid if self._gpu else None
        images = Images(client, workspace, settings.min_free, settings.image_patterns, hosts=[api.host])
        cache = workspace.input_cache(settings.cache_bytes, settings.cache_max_age_s, settings.min_free)
        self._readiness = Readiness(client, workspace, images, self._gpu, settings, settings.job_network, cache)
        resources = Resources(self._machine.memory_mib, self._gpu, settings.job_network)
        preparation = Preparation(api, images, settings, cache, self._overlap.made_room)
        self._runner = Runner(preparation, client, images, host_base, resources, self._shutdown, settings)
        self._course = Course(api, self._runner, settings, self._gpu, when_failed=self._after_failure)
        self._stuck_containers = StuckContainers(
            partial(self._runner.remove_container, patience_s=0), self._remove_orphans
        )
        self._readiness.stuck_containers = self._stuck_containers.reason_against
        notes = workspace.requeued
        self._reporter = Reporter(api, notes, self._shutdown, first_wait_s=settings.timeout_job)
        self._kept_jobs = KeptJobs(first_wait_s=settings.timeout_job)
        self._take_back = TakeBack(api, notes, settings.image_patterns, self._shutdown.ending)
        self._polling = Polling(api, self._readiness, self._shutdown.ending)

    def run_forever(self) -> None:
        """Resume the jobs that were left behind, then run one job after the other, until the worker ends."""
        health.beat()
        log.info("Offering %s", self.offer())
        try:
            left_behind = self._workspace.resumable(self._gpu_uuid)
            free = self._wait_for_stuck_containers
            for folder in in_turn(left_behind, self._api, self._shutdown, self._settings, free):
                self._overlap.run(partial(self._resume, folder), f"job-{folder.job_id}")
            self._shutdown.ending.check()  # not before: each of them is a job in hand, which is finished or requeued
            self._shutdown.ending.call(self._look_for_orphans, "remove-orphans")
            while True:
                self._shutdown.ending.check()
                if not self.run_once():
                    interval_s = self._settings.timeout_job * random.uniform(0.75, 1.25)  # noqa: S311
                    self._shutdown.ending.wait(self._polling.retry_after_s + interval_s)
        except Cancelled as reason:
            log.info("The worker ends: %s", reason)
        finally:
            self._overlap.wait()

    def run_once(self) -> bool:
        """Get a job and run it, to its end or until the next one may come behind which it finishes.

        False if there is no job, or this machine cannot run one now. Goes on with the jobs that stayed first.
        """
        self._overlap.check()
        self._kept_jobs.resume(self._resume_here)
        self._shutdown.ending.check()
        if self._kept_jobs.keep_the_next_job_away:
            return False
        if not self._shutdown.ending.call(self._readiness.is_ready, "readiness"):
            return False
        folder = self._polling.poll(self._next_folder)
        if folder is not None:
            self._overlap.run(partial(self.run_job, folder), f"job-{folder.job_id}")
        return folder is not None

    def run_job(self, folder: JobFolder, cancelled: JobCancellation, *, resumed: bool = False) -> None:
        """The life of a job, from wherever it stands to its last status and the removal of its folder.

        `resumed`: it was left behind, and may have ended at the platform since.
        """
        with folder, about(folder.job_id), health.job():
            tell(JobBegan(folder.state.job, folder.log))
            recorded = folder.state.final
            if recorded is None:
                self._end_job(folder, self._run(folder, cancelled, resumed=resumed), cancelled, again=resumed)
            else:
                self._end_job(folder, Ending(recorded, folder.state.requeues), cancelled, again=True)

    def offer(self) -> dict[str, str | int]:
        """What this machine has for a job, as the query parameters of `GET /jobs`."""
        settings = self._settings
        return hardware.offer(self._machine, self._gpu, model=settings.gpu_model, archi=settings.gpu_archi)

    def _next_folder(self) -> JobFolder | None:
        """The folder of the next job. A job that comes although the worker ends meanwhile is requeued."""
        getting = in_background(self._take_back_or_pull, "next-job")
        try:
            return self._shutdown.ending.result_of(getting)
        except Cancelled as reason:
            with suppress(Exception):  # a drain has the time, since another job may be finishing; a stop has not
                self._shutdown.stopped.result_of(getting)
            wait([getting], timeout=self._shutdown.left_s() - REQUEUE_S)
            if getting.done() and not getting.exception() and (folder := getting.result()):
                with folder, self._shutdown.job() as cancelled:
                    ending = ending_of(reason, folder)
                    ending.record(folder)
                    self._end_job(folder, ending, cancelled)
            raise

    def _take_back_or_pull(self) -> JobFolder | None:
        """A job that this account has requeued comes before a new one."""
        folder = self._take_back.next_folder(self.offer(), self._make_folder)
        if folder is not None or self._shutdown.ending.is_set():
            return folder
        job = self._api.pull_job(self.offer(), self._settings.groups)
        if job is None:
            return None
        log.info("job %s: pulled%s", job.id, whose.noted(job.raw))
        return self._make_folder(job, Requeues())

    def _make_folder(self, job: Job, requeues: Requeues) -> JobFolder | None:
        """The folder of a job that this worker has. A job that cannot have one ends here."""
        try:
            return self._workspace.create(job, self._gpu_uuid, requeues)
        except JobFailed as error:
            ending = ending_without_folder(error, requeues)
            log.warning("job %s: %s: %s", job.id, ending.verb, error)
            with self._shutdown.job() as cancelled:
                assert ending.final is not None
                self._reporter.report(job, ending.final, cancelled, requeues=ending.requeues)
            return None

    def _resume(self, folder: JobFolder, cancelled: JobCancellation) -> None:
        log.info("job %s: resuming%s", folder.job_id, whose.noted(folder.state.job.raw))
        self.run_job(folder, cancelled, resumed=True)

    def _job_that_stayed(self) -> Callable[[], None] | None:
        """What finishes the jobs that stayed, behind the job that runs: it may run for hours."""
        resume = partial(self._kept_jobs.resume, self._resume_here, behind=True)
        return resume if self._kept_jobs.are_due(behind=True) else None

    def _resume_here(self, folder: JobFolder) -> None:
        with self._shutdown.job() as cancelled, health.loop_rests():
            self._resume(folder, cancelled)

    def _run(self, folder: JobFolder, cancelled: JobCancellation, *, resumed: bool) -> Ending:
        """Do the job, whatever of it is left to do. How it ends is recorded before anybody hears of it."""
        try:
            ending = Ending(self._course.run(folder, cancelled, resumed=resumed))
        except Exception as error:  # noqa: BLE001 - the table says what each one means
            ending = ending_of(error, folder)
            level = logging.INFO if isinstance(error, Cancelled) else logging.WARNING
            log.log(level, "job %s: %s: %s", folder.job_id, ending.verb, error)
        if ending.suspect:
            self._readiness.request_trial()
        ending.record(folder)
        return ending

    def _end_job(self, folder: JobFolder, ending: Ending, cancelled: Cancellation, *, again: bool = False) -> None:
        """Send the last status, and clean up if the job is over, else keep it. Raises the error that ends the worker.

        `again`: somebody may have ended the job before.
        """
        is_over = not ending.stays
        if ending.final is not None:
            is_over = self._reporter.report(
                folder.state.job,
                ending.final,
                cancelled,
                requeues=ending.requeues,
                again=again,
                worker_ends=ending.fatal is not None,
                untold=folder.state.untold,
                when_untold=partial(folder.keep, untold=True),
            )
        if is_over:
            self._clean_up(folder)
        if ending.fatal is not None:
            raise ending.fatal
        if not is_over and not self._shutdown.stopped.is_set():
            self._kept_jobs.keep(folder)

    def _after_failure(self) -> None:
        """A command has failed: where it had a GPU, that may be the reason."""
        if self._gpu is not None:
            self._readiness.request_trial()

    def _clean_up(self, folder: JobFolder) -> None:
        """Remove the job's folder, and first its container: an earlier start may have left one."""
        try:
            self._runner.remove_container(folder)
        except (Cancelled, JobFailed, Unavailable) as reason:
            log.warning("job %s: container not removed yet: %s", folder.job_id, reason)
            self._stuck_containers.keep(folder)
        else:
            folder.remove()

    def _remove_orphans(self) -> Sequence[str]:
        """Remove the containers whose folder a person removed or the worker put aside. Returns what stays."""
        base = self._workspace.base
        return cleanup.remove_orphans(self._client, self._host_base, lambda name: is_there(base / name))

    def _wait_for_stuck_containers(self, folder: JobFolder) -> None:
        """Wait while the container of another job may hold the GPU, unless the job's command has ended."""
        told = False
        with suppress(Cancelled):  # then the job ends as any other in hand
            while folder.state.outcome is None and folder.state.final is None:
                look = self._stuck_containers.reason_against_resuming
                reason = self._shutdown.stopped.call(look, "stuck-containers")
                if reason is None:
                    return
                if not told:
                    log.warning("job %s: not resumed yet: %s", folder.job_id, reason)
                told = True
                self._shutdown.stopped.wait(self._settings.timeout_job)

    def _look_for_orphans(self) -> None:
        with suppress(JobFailed, Unavailable):
            self._stuck_containers.look_for_orphans()
