"""What the end of a container means: who or what ended it, and what its job's user reads. Asks no engine."""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from job_fetcher.core.cause import Cause
from job_fetcher.core.job import Outcome
from job_fetcher.engine.client import seconds
from job_fetcher.engine.container_events import ContainerEvent

STOPPED_BY_ENGINE = (137, 143, 255)
"""Exit codes of containers that the engine's shutdown ended: SIGKILL, SIGTERM, and not known after a power cut."""
SHUTDOWN_S = 30.0
"""An engine that shuts down ends its containers within its 15 s (dockerd's `--shutdown-timeout`), and some more."""
WAIT_S = 60
"""After so long the engine is asked anew whether the container has ended."""
STOP_S = 30.0
"""A command that ends so soon after a signal to stop has been stopped, whatever its exit code is."""
LOST_EXIT_CODE = 125
"""The exit code of a container that vanished before anybody learned of its own: that of a failed `docker run`."""
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_MEANINGS = {126: "the command cannot be executed", 127: "the command was not found"}


@dataclass(frozen=True)
class End:
    """What the engine knows of a container that has ended. Times in seconds since the epoch."""

    exit_code: int
    started: float
    ended: float
    killed_for_memory: bool = False
    """The engine's `OOMKilled`: of any process in the container on cgroup v1, of the command alone on some others."""

    @classmethod
    def of(cls, state: dict[str, Any]) -> Self:
        """From `State` of the engine's answer to an inspection."""
        return cls(
            exit_code=state["ExitCode"],
            started=seconds(state["StartedAt"]),
            ended=seconds(state["FinishedAt"]),
            killed_for_memory=bool(state.get("OOMKilled")),
        )


@dataclass(frozen=True)
class Watch:
    """What the worker has seen meanwhile. Times in seconds since the epoch."""

    engine_started: float | None
    """When the engine that answers now was started, if that can be told."""
    was_running: bool
    """Whether the worker has started the container, or seen it run, rather than found it ended."""
    lost_at: float | None
    """When the engine stopped to answer, if it did since the worker saw the container run."""
    machine_ran_out_of_memory: bool = False
    """Whether the kernel of this machine has killed a process for memory since the worker saw the container run."""


def judge(end: End, events: Sequence[ContainerEvent], watch: Watch) -> Outcome | None:
    """How the command ended; `None` if it has to run again. The first row that fits counts:

    | what is known | outcome |
    |---|---|
    | the engine's shutdown ended it (`ended_by_engine`) | run again |
    | the owner ended it (`ended_by_owner`) | `error`, whatever the exit code is |
    | the engine told that a process was killed for memory | `error`, whatever the exit code is |
    | SIGKILL by nobody known, while the machine ran out of memory | `error` that says so |
    | none of these | by the exit code |
    """
    if ended_by_engine(end, watch):
        return None
    code = end.exit_code
    if ended_by_owner(end, events):
        return _failed(
            code,
            f"The owner of this worker stopped the container while the command ran (exit code {code}).",
            Cause.STOPPED_BY_OWNER,
        )
    if end.killed_for_memory or any(event.action == "oom" for event in events):
        itself = code == 128 + signal.SIGKILL
        cause = Cause.KILLED_FOR_MEMORY if itself else Cause.CHILD_KILLED_FOR_MEMORY
        return _failed(code, _killed_for_memory(code), cause)
    if code == 128 + signal.SIGKILL and watch.machine_ran_out_of_memory:
        return _failed(
            code,
            f"The command was killed while this machine ran out of memory (exit code {code}).",
            Cause.MACHINE_OUT_OF_MEMORY,
        )
    cause = Cause.SIGNAL if _signal(code) else Cause.EXIT
    return Outcome(
        exit_code=code, succeeded=code == 0, reason=f"The command ended with {_in_words(code)}.", cause=cause
    )


def removed(*, engine_restarted: bool) -> Outcome | None:
    """The outcome for a container that vanished before anybody learned how it ended; `None`: to run again."""
    if engine_restarted:
        return None
    return _failed(
        LOST_EXIT_CODE, "The owner of this worker stopped the container, and removed it.", Cause.STOPPED_BY_OWNER
    )


def restarted() -> Outcome:
    """The outcome for a container that somebody restarted: it went on among the files of its first run."""
    return _failed(
        LOST_EXIT_CODE,
        "The owner of this worker restarted the container while the command ran.",
        Cause.STOPPED_BY_OWNER,
    )


def end_by_events(events: Sequence[ContainerEvent], exit_code: int | None, started: float | None) -> End | None:
    """The end of a container that was removed: from its event `die`, or `exit_code`, if one was heard without it."""
    for event in events:
        if event.action == "die" and event.exit_code is not None:
            exit_code, ended = event.exit_code, event.time
            break
    else:
        ended = time.time()
    if exit_code is None:
        return None
    return End(exit_code, ended if started is None else started, ended)


def ended_by_engine(end: End, watch: Watch) -> bool:
    """Whether the engine's shutdown, or the machine's, has ended the container, rather than its command by itself.

    | killed for memory | engine started since the container | the worker | by the engine |
    |---|---|---|---|
    | yes | any | any | no |
    | no | no, or not known | any | no |
    | no | yes | lost the engine at about the time of the end | yes |
    | no | yes | started it, or saw it run | if it ended before the engine's start |
    | no | yes | found it ended | if it ended before that, or soon after, with a code of `STOPPED_BY_ENGINE` |
    """
    if end.killed_for_memory or watch.engine_started is None or watch.engine_started <= end.started:
        return False
    if watch.lost_at is not None and watch.lost_at - WAIT_S < end.ended < watch.lost_at + SHUTDOWN_S:
        return True
    if watch.was_running:
        return end.ended < watch.engine_started
    return end.exit_code in STOPPED_BY_ENGINE and end.ended < watch.engine_started + SHUTDOWN_S


def ended_by_owner(end: End, events: Sequence[ContainerEvent]) -> bool:
    """Whether somebody has ended the container by way of the engine: `docker stop`, `kill`, `rm -f`, Compose, …

    The engine tells each signal that it sends as an event `kill`. The command's own signals, and those of the kernel,
    are none, so that the exit code alone says nothing.

    | event `kill` | the owner ended it |
    |---|---|
    | none | no |
    | SIGKILL | yes |
    | any signal, followed by an event `stop` | yes |
    | any signal, whose exit code this is (128 + signal) | yes |
    | SIGTERM, SIGINT, SIGQUIT, `STOP_S` or less before the end | yes |
    | another signal | no: SIGHUP and SIGUSR1 let many programs reload or report |
    """
    kills = [event for event in events if event.action == "kill"]
    if kills and any(event.action == "stop" for event in events):
        return True
    return any(
        event.signal in (signal.SIGKILL, end.exit_code - 128)
        or (event.signal in (None, *_STOP_SIGNALS) and end.ended - event.time <= STOP_S)
        for event in kills
    )


def _failed(code: int, reason: str, cause: Cause) -> Outcome:
    return Outcome(exit_code=code, succeeded=False, reason=reason, cause=cause)


def _killed_for_memory(code: int) -> str:
    if code == 0:
        return (
            "A process of the command was killed for memory, although the command ended with exit code 0:"
            " the outputs may be incomplete."
        )
    if code == 128 + signal.SIGKILL:
        return f"The command was killed for memory (exit code {code})."
    return f"A process of the command was killed for memory, and the command ended with {_in_words(code)}."


def _in_words(code: int) -> str:
    meaning = _MEANINGS.get(code, "")
    if number := _signal(code):
        meaning = number.name
    return f"exit code {code}{f' ({meaning})' if meaning else ''}"


def _signal(code: int) -> signal.Signals | None:
    """The signal that an exit code of a shell or an engine stands for."""
    return signal.Signals(code - 128) if code > 128 and code - 128 in set(signal.Signals) else None
