"""One request for a job, and what each failure of it means for the worker: wait, try the folder, or end."""

import logging
import time
from collections.abc import Callable

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import CredentialsError, InvalidAnswer, JobFailed, SettingsError, Unavailable
from job_fetcher.core.retry import REFUSED_FOR_S, CredentialRefusals
from job_fetcher.platform import diagnosis
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.readiness import Readiness
from job_fetcher.workspace.job_folder import JobFolder

WRONG_ANSWERS = 3
"""A start is given up after so many polls that another API has answered: one may be led astray."""

log = logging.getLogger(__name__)


class Polling:
    """Polls for jobs until `ending`. `retry_after_s`: seconds to wait before the next poll, as the API wants."""

    def __init__(self, api: WorkerApi, readiness: Readiness, ending: Cancellation) -> None:
        self._api, self._readiness, self._ending = api, readiness, ending
        self._has_polled = False
        self._wrong_answers = 0
        self._refusals = CredentialRefusals()
        self.retry_after_s = 0.0

    def poll(self, get: Callable[[], JobFolder | None]) -> JobFolder | None:
        """The folder of the next job by `get`; `None` if there is no job, or none can be had now.

        Raises `WorkerError` if the worker has to end, and the reason of `ending`.
        """
        self.retry_after_s = 0.0
        try:
            folder = get()
        except CredentialsError as error:
            if error.by_login or self._refusals.are_final(time.monotonic()):
                raise
            log.warning("The worker cannot ask for a job: %s; it tries again for %g s", error, REFUSED_FOR_S)
            return None
        except (Unavailable, JobFailed) as error:
            log.warning("The worker cannot ask for a job: %s", diagnosis.with_hint(error))
            self._refusals.reset()
            self._after_failure(error)
            return None
        except OSError as error:  # of the folder: where HTTP fails, an error is `Unavailable`
            log.warning("The worker cannot ask for a job: PATH_BASE fails: %s", error.strerror)
            self._readiness.request_trial()
            return None
        self._has_polled = True
        self._refusals.reset()
        return folder

    def _after_failure(self, error: Unavailable | JobFailed) -> None:
        """Wait as long as the API says. Until it has answered once, find out whether API_URL is another API's.

        Raises `SettingsError` when it has been so for `WRONG_ANSWERS` polls.
        """
        if isinstance(error, Unavailable):
            self.retry_after_s = error.retry_after_s or 0.0
            if self.retry_after_s:
                log.info("The worker asks for a job again in %d s, as the API wants", self.retry_after_s)
        if self._has_polled or not isinstance(error, JobFailed | InvalidAnswer):
            return
        try:
            self._ending.call(self._api.require_workers_api, "require-workers-api")
        except (Unavailable, CredentialsError):  # the next poll tells
            pass
        except SettingsError:
            self._wrong_answers += 1
            if self._wrong_answers >= WRONG_ANSWERS:
                raise
