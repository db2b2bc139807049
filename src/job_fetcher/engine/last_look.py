"""The last look at a container before the worker gives its job up: a command that has just ended has an outcome."""

from contextlib import suppress

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import Cancelled, EngineUnavailable, JobFailed
from job_fetcher.engine.client import Client, Missing, seconds, translate_errors
from job_fetcher.engine.container_end import STOPPED_BY_ENGINE
from job_fetcher.engine.container_events import Events

LOOK_S = 1.0
"""The worker waits so long for the engine. Without an answer the command counts as running."""


def has_exited_by_itself(client: Client, container: str, deadline: Cancellation) -> bool:
    """Whether the command of `container` has ended already, and no signal by way of the engine was the reason.

    The engine tells an end some milliseconds after it, and later when it is busy. An engine that shuts down stops its
    containers and often the worker, too: an end by such a signal is none of the command's own.
    """

    def once() -> bool:
        with translate_errors("inspect the job's container"):
            state = client.inspect_container(container)["State"]
        if state["Status"] not in ("exited", "dead"):
            return False
        if state["ExitCode"] not in STOPPED_BY_ENGINE or state.get("OOMKilled"):
            return True
        events = Events(client, container).since(seconds(state["StartedAt"]), deadline)
        return all(event.action != "kill" for event in events)

    with suppress(EngineUnavailable, JobFailed, Missing, Cancelled, TimeoutError):
        return deadline.result_of(in_background(once, "last-look"), LOOK_S)
    return False
