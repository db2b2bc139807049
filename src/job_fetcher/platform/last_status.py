"""The last status of a job. The platform shows and mails it to the job's user, once."""

import logging
import time
from collections.abc import Callable

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import NotThePlatform, Unavailable
from job_fetcher.core.job import Final, JobStatus
from job_fetcher.platform.api import WorkerApi
from job_fetcher.platform.status_sender import StatusSender

RESENT_FOR_S = 1800.0
"""After an answer of 500 the worker sends a last status again for this many seconds, even if the API seems to have it.

The API keeps a status in its queue first, and then tells the users' API. If that fails it answers 500. `GET …/status`
then says that all is well, but the job's user sees nothing of it (shared contract of the platform)."""
REFUSED_PAGES = 3
"""A firewall may dislike the details. After this many pages in the place of an answer the worker leaves them out."""

log = logging.getLogger(__name__)


class LastStatus:
    """The last status of a job on its way; each call of `send` is one try.

    `may_have_arrived`: somebody may have sent it before. `untold`: somebody has, and the answer was 500. `when_untold`
    is called after the first 500, so that whoever sends the status after a crash knows of it.
    """

    def __init__(
        self,
        api: WorkerApi,
        job_id: str,
        final: Final,
        cancelled: Cancellation,
        *,
        may_have_arrived: bool,
        untold: bool = False,
        when_untold: Callable[[], None] = lambda: None,
    ) -> None:
        self._sender = StatusSender(api, job_id, cancelled)
        self._job_id, self._status, self._may_have_arrived = job_id, final.status, may_have_arrived or untold
        self._when_untold = when_untold
        self._details: str | None = final.details
        self._pages = 0
        self._resend_until = time.monotonic() + RESENT_FOR_S if untold else None
        """On the monotonic clock; `None` before an answer of 500."""

    def send(self) -> None:
        """Send the status, unless it has arrived already; raises as `StatusSender` does.

        `GET …/status` tells whether a status has arrived whose answer was lost. After a 500 it cannot tell.
        """
        if self._may_have_arrived and self._has_ended():
            return
        self._may_have_arrived = True
        try:
            self._sender.put(self._status, self._details)
        except NotThePlatform as error:
            self._pages += error.status is None
            if self._pages >= REFUSED_PAGES:
                self.drop_details(error)
            raise
        except Unavailable as error:
            if error.status == 500 and self._resend_until is None:
                self._resend_until = time.monotonic() + RESENT_FOR_S
                self._when_untold()
            raise

    def drop_details(self, reason: object) -> None:
        """From now on send the status alone, since `reason` may be that of its details (their length, their words)."""
        if self._details is not None:
            log.warning("job %s: sending the last status without details: %s", self._job_id, reason)
        self._details = None

    def _has_ended(self) -> bool:
        """Whether nothing is to be sent any more, since the job has ended: with this status, or otherwise."""
        resending = self._resend_until is not None and time.monotonic() < self._resend_until
        try:
            status = self._sender.ask()
        except Unavailable:
            if resending:
                return False
            raise
        if status is not self._status:
            return status in (JobStatus.FINISHED, JobStatus.ERROR)
        if not resending and self._resend_until is not None:
            log.warning(
                "job %s: last status unseen: the API has %s, but the job's user may not see it", self._job_id, status
            )
        return not resending
