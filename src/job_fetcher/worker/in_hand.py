"""The job in hand: what all parts of its course need of it."""

from dataclasses import dataclass

from job_fetcher.core.job import JobSpecs
from job_fetcher.worker.job_watch import JobWatch
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.live_log import LiveLog
from job_fetcher.worker.shutdown import JobCancellation
from job_fetcher.workspace.job_folder import JobFolder


@dataclass(frozen=True)
class JobInHand:
    """A job that this worker runs now. `cancelled` ends whatever is done for it."""

    folder: JobFolder
    specs: JobSpecs
    keep_alive: KeepAlive
    live_log: LiveLog
    watch: JobWatch
    cancelled: JobCancellation

    @property
    def id(self) -> str:
        """The job's id."""
        return self.folder.job_id
