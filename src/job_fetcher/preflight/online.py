"""The checks of the network: the platform's API, this machine's clock, the storage."""

import email.utils
import io
import os
import time

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import InvalidAnswer, JobFetcherError, Unavailable
from job_fetcher.platform import diagnosis, http
from job_fetcher.platform.api import StorageTest, WorkerApi, user_pool
from job_fetcher.preflight.finding import Failed
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.upload import upload

ANSWER_S = 10
"""How long the API may take for its first answer: a person is waiting."""
CLOCK_S = 120.0
"""How many seconds the clock may be wrong: certificates and presigned requests live for minutes at least."""
TEST_SIZE, TEST_S = 1 << 20, 30.0
"""Bytes of the file that goes to the storage and back, and the seconds for it."""


def check_api(url: str) -> str:
    """Whether the platform's API answers at `url`, and this machine's clock is right."""
    try:
        response = http.send("GET", f"{url}/access_info", timeout_s=ANSWER_S)
        user_pool(url)
    except InvalidAnswer as error:
        raise Failed(
            f"API_URL ({url}) is not the address of the platform's API: {diagnosis.with_hint(error)}"
        ) from error
    except (http.UnusableRequest, JobFetcherError) as error:
        raise Failed(diagnosis.with_hint(error)) from error
    ahead_s = _ahead_s(response.headers.get("Date"))
    if abs(ahead_s) > CLOCK_S:
        raise Failed(
            f"This machine's clock is {abs(ahead_s) / 60:.0f} minutes {'ahead of' if ahead_s > 0 else 'behind'} the"
            " API's: set it from the network (timedatectl set-ntp true)"
        )
    return f"{url} answers, clocks differ by {abs(ahead_s):.0f} s"


def check_credentials(api: WorkerApi) -> str:
    """Ask what only the workers' API answers so: the users' API knows the account and its password as well."""
    try:
        api.require_workers_api()
    except Unavailable as error:
        raise Failed(diagnosis.with_hint(error)) from error
    return "accepted, and approved as a worker"


def check_storage(api: WorkerApi) -> str:
    """A file to the storage and back, if the platform has one for that, as our mock does. The contract has none."""
    requests = api.storage_test()
    if requests is None:
        return "this platform has no file to try it with"
    late = Cancellation()
    try:
        up_s, down_s = late.result_of(in_background(lambda: _there_and_back(requests, late), "storage"), TEST_S)
    except TimeoutError:
        raise Failed(
            f"Less than {TEST_SIZE >> 20} MiB passes to the storage and back in {TEST_S:g} s: look for what slows"
            " down this machine's network"
        ) from None
    except (http.UnusableRequest, JobFetcherError) as error:
        meaning = diagnosis.hint(error) or diagnosis.FIREWALL
        raise Failed(f"The storage cannot be used: {error} - {meaning}") from error
    up, down = (TEST_SIZE / 1e6 / max(seconds, 1e-6) for seconds in (up_s, down_s))
    return f"{TEST_SIZE >> 20} MiB up with {up:.0f} MB/s, down with {down:.0f} MB/s"


def _ahead_s(date: str | None) -> float:
    """Seconds that this machine's clock is ahead of an answer's `Date`; 0 without a valid `Date`."""
    try:
        return time.time() - email.utils.parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _there_and_back(requests: StorageTest, late: Cancellation) -> tuple[float, float]:
    """Seconds for a file to the storage, and for the same file back, without retries."""
    content, started = os.urandom(TEST_SIZE), time.monotonic()
    upload(
        PresignedRequest(lambda: requests.upload), "probe", io.BytesIO(content), cancelled=late, when_failed=late.set
    )
    arrived = time.monotonic()
    response = http.send(requests.download.method, requests.download.url, headers=requests.download.headers)
    if response.content != content:
        raise Failed(f"the storage sends back ({response.status_code}) something else than it was sent")
    return arrived - started, time.monotonic() - arrived
