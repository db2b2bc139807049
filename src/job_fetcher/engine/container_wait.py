"""Waiting for the end of a container: heard at once, through an engine that goes away, with a limit on its time."""

import logging
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.core.job import Outcome
from job_fetcher.core.retry import call_engine
from job_fetcher.engine.client import Client, Missing, seconds, started_at, translate_errors
from job_fetcher.engine.container_end import (
    STOPPED_BY_ENGINE,
    WAIT_S,
    End,
    Watch,
    end_by_events,
    judge,
    removed,
    restarted,
)
from job_fetcher.engine.container_events import ContainerEvent, Events

RUNNING = ("running", "paused", "restarting")
"""`State.Status` of a container whose command has not ended; `removing` and `dead` are said of one that has."""
MAX_GAPS = 20
"""More gaps than these are not told one by one."""
STOP_EVENT_S = 0.3
"""The engine tells of a `docker stop` some 20 ms after the container's end."""

log = logging.getLogger(__name__)


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Hooks:
    """What is called on the way, from threads of the wait."""

    when_exited: Callable[[], None] = _nothing
    """The command has ended by all appearances, some 60 ms before that is certain."""
    when_seen: Callable[[str, bool], None] = lambda *_: None
    """The container has been started at that time, in the engine's words (`State.StartedAt`), and whether it runs."""
    when_stopping: Callable[[], None] = _nothing
    """The container is about to be stopped for its time limit."""


class ContainerWait:
    """Waits for the end of a container that was started, and tells what its end means.

    `started_here`: this process has started it, and would have seen it run if the engine had answered in time.
    """

    def __init__(
        self, client: Client, container: str, cancelled: Cancellation, hooks: Hooks, *, started_here: bool = False
    ) -> None:
        self._client, self._id, self._cancelled, self._hooks = client, container, cancelled, hooks
        self._started_here = started_here
        self._events = Events(client, container)
        self._started_at = ""
        self._lost_at: float | None = None
        self._exit_code: int | None = None
        self._was_signalled = False
        self.engine_restarted = False
        """Whether the engine was restarted since the container's start, known with the outcome."""
        self.gaps: list[float] = []
        """When the engine went away while the container ran, or was started anew, in seconds since the epoch.

        With `live-restore` the container runs on, and nothing but the connection tells.
        """

    def outcome(
        self, left_s: float | None, stop: Callable[[], None], first_started_at: str | None = None
    ) -> Outcome | None:
        """How the command ended; `None` if the engine's shutdown ended it. `stop` is called after `left_s` seconds.

        `first_started_at`: what an earlier wait has told `when_seen`. No engine restarts a job's container by itself.
        """
        state = self._look()
        if state is not None:
            if first_started_at not in (None, state["StartedAt"]):
                self._ensure_stopped(stop)
                return restarted()
            self._hooks.when_seen(state["StartedAt"], _runs(state))
        if state is None or not _runs(state):
            return self._judge(state, was_running=self._started_here)
        self._started_at, ooms = state["StartedAt"], _oom_kills()
        ended = in_background(self._until_ended, "wait-for-container")
        in_background(lambda: self._events.listen(ended, self._cancelled, self._hear), "listen-to-engine")
        try:
            state = self._cancelled.result_of(ended, left_s)
        except TimeoutError:
            self._hooks.when_stopping()
            self._ensure_stopped(stop)
            state = self._cancelled.result_of(ended)
        if state is not None and state["StartedAt"] != self._started_at:
            self._ensure_stopped(stop)
            return restarted()
        return self._judge(state, was_running=True, ran_out_of_memory=_oom_kills() > ooms)

    def _ensure_stopped(self, stop: Callable[[], None]) -> None:
        """Return when the engine says that it does not run. Somebody else may be removing it in this moment."""
        while True:
            with suppress(Missing, JobFailed):
                call_engine(self._cancelled)(stop)
            state = self._look()
            if state is None or not _runs(state):
                return
            self._cancelled.wait(0.1)

    def _until_ended(self) -> dict[str, Any] | None:
        """The container's `State` when it has ended, or was started anew; `None` if somebody has removed it."""
        while True:
            begun = time.monotonic()
            try:
                with translate_errors("wait for the job's container"):
                    self._exit_code = self._client.wait(self._id, timeout=WAIT_S)["StatusCode"]
                self._note_exit(self._exit_code)
            except EngineUnavailable as error:  # the time-out of a wait, or the engine is gone: the inspection tells
                self._lost_at = time.time()
                if error.status is None and time.monotonic() - begun < WAIT_S and len(self.gaps) < MAX_GAPS:
                    self.gaps.append(self._lost_at)
                self._cancelled.wait(0.1)
            except (JobFailed, Missing):
                self._cancelled.wait(0.1)
            state = self._look()
            if state is None or not _runs(state) or state["StartedAt"] != self._started_at:
                return state
            self._lost_at = None

    def _look(self) -> dict[str, Any] | None:
        """`State` of the engine's answer to an inspection; `None` if there is no such container."""

        def once() -> dict[str, Any] | None:
            try:
                with translate_errors("inspect the job's container"):
                    state: dict[str, Any] = self._client.inspect_container(self._id)["State"]
            except Missing:
                return None
            return state

        return call_engine(self._cancelled)(once)

    def _hear(self, event: ContainerEvent) -> None:
        """The engine's event `die` comes before it takes the container's network down, its `wait` after that."""
        if event.action == "kill":
            self._was_signalled = True
        if event.action == "die":
            self._note_exit(event.exit_code)

    def _note_exit(self, exit_code: int | None) -> None:
        """The engine says so by its event, its `wait`, or both: whichever comes first counts.

        The end of a command that got a signal may be that of an engine's shutdown, whatever its exit code is.
        """
        is_its_own = exit_code not in (None, *STOPPED_BY_ENGINE) and not self._was_signalled
        if is_its_own and not self._cancelled.is_set():
            self._hooks.when_exited()

    def _judge(
        self, state: dict[str, Any] | None, *, was_running: bool, ran_out_of_memory: bool = False
    ) -> Outcome | None:
        started = state["StartedAt"] if state else self._started_at
        events = self._all_events(seconds(started) if started else 0)
        end = End.of(state) if state else end_by_events(events, self._exit_code, seconds(started) if started else None)
        self._client.close()  # an engine that goes down first stops to listen; only old connections reach it still
        engine_started = self._engine_started()
        self.engine_restarted = bool(started and engine_started and engine_started > seconds(started))
        if self.engine_restarted and engine_started and not self.gaps:
            self.gaps.append(engine_started)
        watch = Watch(engine_started, was_running, self._lost_at, ran_out_of_memory)
        if end is None:
            return removed(engine_restarted=self.engine_restarted)
        return judge(end, events, watch)

    def _engine_started(self) -> float | None:
        """When the engine was started; `None` if it does not tell: no reason to lose a job whose end is known."""
        with suppress(EngineUnavailable, JobFailed):
            return call_engine(self._cancelled)(lambda: started_at(self._client))
        return None

    def _all_events(self, start: float) -> list[ContainerEvent]:
        """All that the engine tells; a `stop` comes after the container's end."""
        for _ in range(3):
            events = self._events.since(start, self._cancelled)
            if {event.action for event in events} & {"kill", "stop"} != {"kill"}:
                break
            self._cancelled.wait(STOP_EVENT_S)
        return events


def _runs(state: dict[str, Any]) -> bool:
    return state["Status"] in RUNNING


def _oom_kills() -> int:
    """How many processes this machine's kernel has killed for memory since its start (`oom_kill` in /proc/vmstat)."""
    found = re.search(r"^oom_kill (\d+)$", Path("/proc/vmstat").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) if found else 0
