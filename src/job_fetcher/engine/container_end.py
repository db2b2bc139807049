"""What a container's end means: its command ended by itself, or the engine ended it. Asks no engine."""

import signal
from dataclasses import dataclass
from typing import Any, Self

from job_fetcher.core.job import Outcome
from job_fetcher.engine.client import seconds

STOPPED_BY_ENGINE = (137, 143, 255)
"""Exit codes of containers that the engine's shutdown ended: SIGKILL, SIGTERM, and not known after a power cut."""
SHUTDOWN_S = 30.0
"""An engine that shuts down ends its containers within its 15 s (dockerd's `--shutdown-timeout`), and some more."""
WAIT_S = 60
"""After so long the engine is asked anew whether the container has ended."""
_MEANINGS = {126: "the command cannot be executed", 127: "the command was not found"}


@dataclass(frozen=True)
class End:
    """What the engine knows of a container that has ended. Times in seconds since the epoch."""

    exit_code: int
    started: float
    ended: float
    killed_for_memory: bool = False

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
    """What the worker has seen of the engine meanwhile. Times in seconds since the epoch."""

    engine_started: float | None
    """When the engine that answers now was started, if that can be told."""
    was_running: bool
    """Whether the worker has seen the container run, rather than found it ended."""
    lost_at: float | None
    """When the engine stopped to answer, if it did since the worker saw the container run."""


def ended_by_engine(end: End, watch: Watch) -> bool:
    """Whether the engine's shutdown, or the machine's, has ended the container, rather than its command by itself.

    | killed for memory | engine started since the container | the worker | by the engine |
    |---|---|---|---|
    | yes | any | any | no |
    | no | no, or not known | any | no |
    | no | yes | lost the engine at about the time of the end | yes |
    | no | yes | saw the container run | if it ended before the engine's start |
    | no | yes | found it ended | if it ended before that, or soon after, with a code of `STOPPED_BY_ENGINE` |
    """
    if end.killed_for_memory or watch.engine_started is None or watch.engine_started <= end.started:
        return False
    if watch.lost_at is not None and watch.lost_at - WAIT_S < end.ended < watch.lost_at + SHUTDOWN_S:
        return True
    if watch.was_running:
        return end.ended < watch.engine_started
    return end.exit_code in STOPPED_BY_ENGINE and end.ended < watch.engine_started + SHUTDOWN_S


def outcome_of(end: End) -> Outcome:
    """How the command ended by itself, as its user reads it."""
    code = end.exit_code
    if end.killed_for_memory:
        return Outcome(exit_code=code, succeeded=False, reason=f"The command was killed for memory (exit code {code}).")
    return Outcome(exit_code=code, succeeded=code == 0, reason=f"The command ended with {_in_words(code)}.")


def _in_words(code: int) -> str:
    meaning = _MEANINGS.get(code, "")
    if code > 128 and code - 128 in set(signal.Signals):
        meaning = signal.Signals(code - 128).name
    return f"exit code {code}{f' ({meaning})' if meaning else ''}"
