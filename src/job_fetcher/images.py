"""The images of jobs: pulled before each run, so that a tag means what its registry says now."""

import logging

from job_fetcher import http
from job_fetcher.background import Cancellation
from job_fetcher.engine import Client, Missing, our_errors
from job_fetcher.errors import JobFailed, Unavailable

PATIENCE_S = 1800.0
"""A registry that does not answer for so long may be one that does not exist: the job fails, and says so."""

_FOR_GOOD = (
    "not found",
    "manifest unknown",
    "no matching manifest",
    "does not exist",
    "denied",
    "unauthorized",
    "invalid reference format",
    "no space left on device",
)
"""Words of the engine and of registries for what waiting does not change; they come with statuses 200 to 500."""

log = logging.getLogger(__name__)


def pull(client: Client, image: str, cancelled: Cancellation) -> None:
    """Pull `image`. If its registry cannot be reached but the image is here, it is used, with a warning.

    Raises `JobFailed` for an image that does not exist or may not be pulled, and for a registry that does not answer
    for half an hour.
    """

    def once() -> None:
        try:
            _pull(client, image, cancelled)
        except Unavailable as error:
            if not _is_here(client, image):
                raise
            log.warning("%s; the image is here and is used as it is", error)

    try:
        http.retrying(cancelled, give_up=lambda state: (state.seconds_since_start or 0) > PATIENCE_S)(once)
    except Unavailable as error:
        raise JobFailed(f"{error}, for {PATIENCE_S / 60:.0f} minutes.") from error


def _pull(client: Client, image: str, cancelled: Cancellation) -> None:
    doing = f"pull the image '{image}'"
    try:
        with our_errors(doing):
            for line in client.pull(image, stream=True, decode=True):
                cancelled.check()
                if "error" in line:
                    raise Unavailable(f"The Docker engine cannot {doing}: {line['error']}", status=500)
    except Missing as error:
        raise JobFailed(f"{error}.") from error
    except Unavailable as error:
        if any(word in str(error).lower() for word in _FOR_GOOD):
            raise JobFailed(f"{error}.") from error
        raise


def _is_here(client: Client, image: str) -> bool:
    try:
        with our_errors(f"look for the image '{image}'"):
            client.inspect_image(image)  # type: ignore[no-untyped-call]
    except Missing:
        return False
    return True
