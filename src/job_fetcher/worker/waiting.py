"""What a job waits for before its start, told to its user once when that takes long."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from typing import Any

from job_fetcher.core.background import in_background
from job_fetcher.transfer.failure_hints import plain
from job_fetcher.worker.in_hand import JobInHand
from job_fetcher.workspace.disk import is_there

SAY_AFTER_S = 60.0


class Waiting:
    """Knows which parts of a job's preparation are not done, and tells its user after `after_s` seconds."""

    def __init__(self, job: JobInHand, after_s: float = SAY_AFTER_S) -> None:
        self._job, self._after_s = job, after_s
        self._pending: dict[str, Callable[[], str]] = {}

    @contextmanager
    def told(self) -> Iterator[None]:
        """The block is the preparation."""
        done: Future[None] = Future()
        in_background(lambda: self._tell(done), "waiting")
        try:
            yield
        finally:
            done.set_result(None)

    def image(self, pull: Callable[..., object]) -> Callable[..., None]:
        """The same call, known as the pull."""
        image = plain(self._job.specs.handler.image_url)
        return self._known("image", pull, lambda: f"the image '{image}'")

    def inputs(self, download: Callable[..., None]) -> Callable[..., None]:
        """The same call, known as the download of the inputs."""
        return self._known("inputs", download, self._missing)

    def room(self, wait_for_room: Callable[..., bool]) -> Callable[..., bool]:
        """The same call, known as the wait for room on the disk."""
        return self._known("room", wait_for_room, lambda: "room on its disk")

    def sentence(self) -> str:
        """What the job waits for now; empty if that is nothing."""
        waits_for = " and ".join(filter(None, [what() for what in list(self._pending.values())]))
        return f"The worker still waits for {waits_for}." if waits_for else ""

    def _known(self, name: str, call: Callable[..., Any], what: Callable[[], str]) -> Callable[..., Any]:
        def known(*positional: Any, **named: Any) -> Any:
            self._pending[name] = what
            try:
                return call(*positional, **named)
            finally:
                self._pending.pop(name, None)

        return known

    def _missing(self) -> str:
        paths = list(self._job.specs.handler.files_down or {})
        missing = [path for path in paths if not is_there(self._job.folder.files / path)]
        if not missing:
            return ""
        return f"{len(missing)} of {len(paths)} inputs ('{plain(missing[0])}'{', …' if len(missing) > 1 else ''})"

    def _tell(self, done: "Future[None]") -> None:
        while not wait([done], timeout=self._after_s).done:
            if sentence := self.sentence():  # else it is between two of them just now
                self._job.keep_alive.say(sentence)
                return
