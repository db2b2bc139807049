"""The course of a job while its keep-alive lives: its container, then its uploads, until its last status is known."""

import logging
from collections.abc import Callable

from job_fetcher import steps
from job_fetcher.config.settings import WorkerSettings
from job_fetcher.core.job import Final, JobSpecs
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.in_hand import JobInHand
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.left_behind import first_status
from job_fetcher.worker.live_log import LiveLog
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
        *,
        when_failed: Callable[[], None],
    ) -> None:
        self._api, self._runner, self._settings = api, runner, settings
        self._when_failed = when_failed

    def run(self, folder: JobFolder, cancelled: JobCancellation, *, resumed: bool) -> Final:
        """Run the job's command, or resume it, and upload what it left. Returns the last status.

        `resumed`: the job was left behind. One that has ended at the platform since is dropped (`JobGone`).
        """
        with KeepAlive(
            self._api, folder.job_id, first_status(folder), cancelled,
            interval_s=self._settings.timeout_status, hold_s=self._settings.status_hold,
            resumed=resumed,
        ) as keep_alive:  # fmt: skip
            cancelled.call_when_stopped(keep_alive.lift_hold)
            specs = JobSpecs.parse(folder.state.job.raw)
            live_log = LiveLog(self._api, folder, specs, keep_alive, cancelled, interval_s=self._settings.log_interval)
            outcome = self._runner.run(JobInHand(folder, specs, keep_alive, live_log, cancelled))
            cancelled.finish()
            log.info("job %s: exited: %s", folder.job_id, outcome.reason)
            if not outcome.succeeded:
                self._when_failed()
            problems = steps.upload_outputs(
                self._api, folder.job_id, specs, folder.files, folder.log, Ledger(folder.uploads),
                max_bytes=self._settings.max_output, when_failed=keep_alive.ask, cancelled=cancelled,
                transfers=self._settings.transfers, before_logs=live_log.wait_until_quiet,
            )  # fmt: skip
        return steps.conclude(outcome, problems, folder.log)
