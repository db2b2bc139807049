"""The course of a job while its keep-alive lives: its container, then its uploads, until its last status is known."""

import logging
from collections.abc import Callable
from functools import partial

from job_fetcher import steps
from job_fetcher.config.settings import WorkerSettings
from job_fetcher.core.job import Final, JobSpecs
from job_fetcher.engine.hardware import Gpu
from job_fetcher.platform.api import WorkerApi
from job_fetcher.transfer.upload_report import UploadReport
from job_fetcher.worker.in_hand import JobInHand
from job_fetcher.worker.job_watch import JobWatch
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.left_behind import first_status
from job_fetcher.worker.live_log import LiveLog
from job_fetcher.worker.report_upload import send_report
from job_fetcher.worker.runner import Runner
from job_fetcher.worker.shutdown import JobCancellation
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.ledger import Ledger

log = logging.getLogger(__name__)


class Course:
    """Takes jobs through their course. `when_failed` is called for each command that has failed."""

    def __init__(
        self,
        api: WorkerApi,
        runner: Runner,
        settings: WorkerSettings,
        gpu: Gpu | None,
        *,
        when_failed: Callable[[], None],
    ) -> None:
        self._api, self._runner, self._settings = api, runner, settings
        self._when_failed, self._gpu = when_failed, gpu

    def run(self, folder: JobFolder, cancelled: JobCancellation, *, resumed: bool) -> Final:
        """Run the job's command, or resume it, and upload what it left. Returns the last status.

        `resumed`: the job was left behind. One that has ended at the platform since is dropped (`JobGone`).
        """
        with JobWatch(folder, self._gpu).listening() as watch, KeepAlive(
            self._api, folder.job_id, first_status(folder), cancelled,
            interval_s=self._settings.timeout_status, hold_s=self._settings.status_hold,
            resumed=resumed,
        ) as keep_alive:  # fmt: skip
            cancelled.call_when_stopped(keep_alive.lift_hold)
            specs = JobSpecs.parse(folder.state.job.raw)
            live_log = LiveLog(self._api, folder, specs, keep_alive, cancelled, interval_s=self._settings.log_interval)
            job = JobInHand(folder, specs, keep_alive, live_log, watch, cancelled)
            outcome = self._runner.run(job)
            cancelled.finish()
            log.info("job %s: exited: %s", folder.job_id, outcome.reason)
            if not outcome.succeeded:
                self._when_failed()
            with watch.uploading():
                uploaded = self._upload(job)
            final = steps.conclude(outcome, uploaded, folder.log, specs=specs, files=folder.files)
            make = partial(watch.report, outcome, uploaded, final, live_log.sent_bytes)
            send_report(self._api, job, make, uploaded)
        return final

    def _upload(self, job: JobInHand) -> UploadReport:
        folder = job.folder
        return steps.upload_outputs(
            self._api, folder.job_id, job.specs, folder.files, folder.log, Ledger(folder.uploads),
            max_bytes=self._settings.max_output, when_failed=job.keep_alive.ask, cancelled=job.cancelled,
            transfers=self._settings.transfers, before_logs=job.live_log.wait_until_quiet,
        )  # fmt: skip
