"""The last look at a container before the worker gives its job up: a command that has just ended has an outcome."""

from contextlib import suppress

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import Cancelled, EngineUnavailable, JobFailed
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.engine.container_end import End, ended_by_owner
from job_fetcher.engine.container_events import Events

LOOK_S = 1.0
"""The worker waits so long for the engine. Without an answer the command counts as running."""


def has_exited_by_itself(client: Client, container: str, deadline: Cancellation) -> bool:
    """Whether the command of `container` has ended already, and no signal by way of the engine was the reason.

    Its exit code does not tell: a command may answer SIGTERM with an exit code of its own, 0 included.

    The engine tells an end some milliseconds after it, and later when it is busy. An engine that shuts down stops its
    containers and often the worker, too: an end by such a signal is none of the command's own.
    """

    def once() -> bool:
        with translate_errors("inspect the job's container"):
            state = client.inspect_container(container)["State"]
        if state["Status"] not in ("exited", "dead"):
            return False
        end = End.of(state)
        return end.killed_for_memory or not ended_by_owner(end, Events(client, container).since(end.started, deadline))

    with suppress(EngineUnavailable, JobFailed, Missing, Cancelled, TimeoutError):
        return deadline.result_of(in_background(once, "last-look"), LOOK_S)
    return False
