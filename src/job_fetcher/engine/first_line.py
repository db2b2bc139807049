"""Whether a log still begins with its first line. Podman drops it without a word when a log is full.

Podman begins the file of a log anew at its limit (conmon: `reopen_k8s_file`). What is left may be of any size, so only
the first line tells, by the time when it was printed.
"""

from collections.abc import Callable
from concurrent.futures import wait
from contextlib import closing, suppress

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import EngineUnavailable, JobFailed, JobFetcherError
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.engine.container_wait import RUNNING
from job_fetcher.engine.log_so_far import so_far
from job_fetcher.engine.product import Product

LOOK_S = 5.0
"""After the end of the command, its log ends soon: so long the look at its first line may take then."""


class FirstLine:
    """The first line of a container that was just started, or found: looked at when it comes, in a thread.

    Engines other than Podman say themselves what they keep, and are not asked.
    """

    def __init__(self, client: Client, container: str, cancelled: Cancellation) -> None:
        self._client, self._container, self._cancelled = client, container, cancelled
        self._printed = in_background(self._wait, "first-line") if client.product is Product.PODMAN else None

    def is_gone(self) -> bool:
        """Whether the log begins with another line now. False if nobody knows."""
        if self._printed is None:
            return False
        with suppress(JobFetcherError, Missing, TimeoutError):
            first = self._cancelled.result_of(self._printed, LOOK_S)
            return first is not None and _printed_at(self._client, self._container) != first
        return False

    def _wait(self) -> bytes | None:
        """When the first line was printed, in the engine's words; `None` if there is none."""
        with suppress(EngineUnavailable, JobFailed, Missing):
            return self._followed(lambda: _printed_at(self._client, self._container, follow=True))
        return None

    def _followed(self, look: Callable[[], bytes | None]) -> bytes | None:
        """What `look` finds. It is repeated while the container runs, since a silent stream times out."""
        while True:
            with suppress(EngineUnavailable):
                return look()
            wait([self._cancelled.future], timeout=1)
            self._cancelled.check()
            with translate_errors("inspect the job's container"):
                if self._client.inspect_container(self._container)["State"]["Status"] not in RUNNING:
                    return look()


def _printed_at(client: Client, container: str, *, follow: bool = False) -> bytes | None:
    """The time of the first line that the engine has; `None` if it has none. `follow`: wait for it."""
    time = b""
    with closing(so_far(client, container, follow=follow, timestamps=True)) as pieces:
        for piece in pieces:
            time += piece
            if b" " in time:
                break
    return time.split(b" ", 1)[0] or None
