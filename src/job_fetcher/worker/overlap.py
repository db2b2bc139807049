"""Two jobs at the same time: one finishes (uploads, last status) while the next one is fetched and runs.

Each job's life is `Worker.run_job`, from top to bottom, in a thread of its own. The main thread asks for the next job
as soon as the container of the last one is gone. It asks for no third one before the first has ended. A job that stayed
(`KeptJobs`) finishes behind the one that runs, too. Without overlap (`FINISH_BEHIND=0`) a job's life is a call in the
main thread.
"""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from functools import partial
from typing import Any, cast

from job_fetcher.core import health
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.worker.shutdown import JobCancellation, Shutdown

LOOK_S = 10.0
"""After so many seconds at most the worker looks for a job that stayed while another one runs."""


class Overlap:
    """Runs the lives of jobs: at most one finishes behind another.

    Every `look_s` seconds (`LOOK_S` at most) `stayed` tells what finishes a job that stayed, `None` if there is none.
    """

    def __init__(
        self,
        shutdown: Shutdown,
        *,
        enabled: bool,
        look_s: float = LOOK_S,
        stayed: Callable[[], Callable[[], None] | None] = lambda: None,
    ) -> None:
        self._shutdown, self._enabled = shutdown, enabled
        self._look_s, self._stayed = min(look_s, LOOK_S), stayed
        self._finishing: Future[None] | None = None

    def run(self, life: Callable[[JobCancellation], None], name: str) -> None:
        """Call `life`. Returns when the next job may come: its container is gone, and no other finishes.

        Raises what `life` raises, which ends the worker.
        """
        with health.loop_rests():
            if not self._enabled:
                return self._live(life, Future())
            return self._run(life, name)

    def _run(self, life: Callable[[JobCancellation], None], name: str) -> None:
        begun: Future[JobCancellation] = Future()
        living = in_background(partial(self._live, life, begun), name)
        either = cast("list[Future[Any]]", [living, begun.result().container_gone])
        while not wait(either, timeout=self._look_s, return_when=FIRST_COMPLETED).done:
            self._go_on_with_one_that_stayed()
        if living.done():
            return living.result()
        before, self._finishing = self._finishing, living  # if the one before ends the worker, it waits for this one
        return self._wait_for(before)

    def check(self) -> None:
        """Raise what has ended the job that finished behind, if that ends the worker."""
        if self._finishing is not None and self._finishing.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the job that finishes behind. Raises what ends the worker."""
        finishing, self._finishing = self._finishing, None
        self._wait_for(finishing)

    def made_room(self, cancelled: Cancellation) -> bool:
        """Wait until the job that finishes behind has ended. False if there was none: waiting makes no room."""
        finishing = self._finishing
        if finishing is None:
            return False
        wait(cast("list[Future[Any]]", [finishing, cancelled.future]), return_when=FIRST_COMPLETED)
        cancelled.check()
        return True

    def _go_on_with_one_that_stayed(self) -> None:
        is_free = self._finishing is None or (self._finishing.done() and not self._finishing.exception())
        if is_free and (finish := self._stayed()) is not None:
            self._finishing = in_background(finish, "job-that-stayed")

    def _wait_for(self, finishing: "Future[None] | None") -> None:
        if finishing is not None:
            with health.loop_rests():
                finishing.result()

    def _live(self, life: Callable[[JobCancellation], None], begun: "Future[JobCancellation]") -> None:
        with self._shutdown.job() as cancelled:
            begun.set_result(cancelled)
            life(cancelled)
