"""What the engine tells of a container while it runs and when it ends: its events.

The engine keeps the last 256 events of all its containers in memory, and loses them when it is restarted. So they are
listened to while the container runs, and asked for once more when it has ended.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Self

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.core.retry import call_engine
from job_fetcher.engine.client import Client, Missing, translate_errors

ACTIONS = ("die", "kill", "oom", "stop")


@dataclass(frozen=True)
class ContainerEvent:
    """An event of the engine. `time`: in seconds since the epoch, on the clock of the engine's host."""

    action: str
    time: float
    signal: int | None = None
    """Of `kill`; `None` if the engine does not say."""
    exit_code: int | None = None
    """Of `die`; `None` if the engine does not say."""

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Self:
        """From an event as the engine tells it (`GET /events`)."""
        attributes = raw.get("Actor", {}).get("Attributes") or {}
        nanoseconds = raw.get("timeNano") or int(raw.get("time", 0)) * 10**9
        return cls(
            action=raw.get("Action", ""),
            time=nanoseconds / 1e9,
            signal=_number(attributes.get("signal")),
            exit_code=_number(attributes.get("exitCode")),
        )


def _number(text: Any) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None


class Events:
    """The events of one container."""

    def __init__(self, client: Client, container: str) -> None:
        self._client, self._filters = client, {"container": container, "event": list(ACTIONS)}
        self._heard: set[ContainerEvent] = set()

    def listen(
        self, ended: "Future[Any]", cancelled: Cancellation, when_heard: Callable[[ContainerEvent], None]
    ) -> None:
        """Call `when_heard` for each event as it comes, until `die`, or until `ended` or `cancelled` is done."""
        since = str(int(time.time()) - 1)
        while not ended.done() and not cancelled.is_set():
            with suppress(EngineUnavailable, JobFailed, Missing):
                for event in self._tell(since=since):
                    if event not in self._heard:
                        self._heard.add(event)
                        when_heard(event)
                    if event.action == "die":
                        return
            wait([ended], timeout=1)

    def since(self, start: float, cancelled: Cancellation) -> list[ContainerEvent]:
        """What the engine still knows since `start`, and what was heard, in order. Waits for an engine that is away.

        An engine that does not tell its events is no reason to lose a job: what was heard has to do then.
        """

        def once() -> list[ContainerEvent]:
            return list(self._tell(since=f"{start:.6f}", until=f"{time.time():.6f}"))

        with suppress(EngineUnavailable, JobFailed, Missing):
            self._heard.update(call_engine(cancelled)(once))
        return sorted((each for each in self._heard if each.time >= start), key=lambda each: each.time)

    def _tell(self, **span: Any) -> Iterator[ContainerEvent]:
        with translate_errors("tell events"):
            stream = self._client.events(filters=self._filters, decode=True, **span)
        with closing(stream):
            while True:
                with translate_errors("tell events"):
                    raw = next(stream, None)
                if raw is None:
                    return
                yield ContainerEvent.of(raw)
