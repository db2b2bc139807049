"""A job's container: create, start, wait, log, stop, remove, and find again by its label."""

import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import DetachRequested, EngineUnavailable, JobFailed
from job_fetcher.core.job import JobSpecs, Outcome
from job_fetcher.core.retry import call_engine, retrying_engine
from job_fetcher.engine import launch
from job_fetcher.engine.cleanup import give_files_to_worker
from job_fetcher.engine.client import Client, Missing, seconds, started_at, translate_errors
from job_fetcher.engine.container_end import STOPPED_BY_ENGINE, WAIT_S, End, Watch, ended_by_engine, outcome_of
from job_fetcher.engine.isolation import LABEL_FOLDER, Resources, environment, host_config, labelled

LABEL_JOB = "job-fetcher.job"
LABEL_WORKER = "job-fetcher.worker"
"""Labels of a job's container besides its folder's: the job's id, the host name of the worker."""

STOP_GRACE_S = 3
"""Between SIGTERM and SIGKILL for a job that is given up: the worker itself has 10 s when it is stopped."""
log = logging.getLogger(__name__)


class ContainerState(Enum):
    """What there is of a job's container."""

    NONE = "none"
    CREATED = "created"
    STARTED = "started"
    """Its command has begun to run, and may have ended."""


class JobContainer:
    """The container of the job whose folder is `folder` on the engine's host; at first only looked for.

    Every call waits for an engine that does not answer, until `cancelled`; `remove` does so until `cleanup_deadline`.
    """

    def __init__(
        self, client: Client, folder: PurePosixPath, cancelled: Cancellation, cleanup_deadline: Cancellation
    ) -> None:
        self._client, self._folder, self._cancelled, self._cleanup_deadline = (
            client,
            folder,
            cancelled,
            cleanup_deadline,
        )
        self._watched = False
        self._lost_at: float | None = None
        self._creating: Future[None] | None = None
        self._found: str | None = None
        self._state_found = ContainerState.NONE
        self._find()

    @property
    def state(self) -> ContainerState:
        """What was found of it, or made of it by `create`."""
        return self._state_found

    @property
    def id(self) -> str:
        """The engine's id of a container that exists."""
        assert self._found is not None
        return self._found

    def create(self, job_id: str, specs: JobSpecs, resources: Resources) -> None:
        """Create the container, not started yet. Raises `Missing` for its image, `JobFailed` for what is refused."""

        def once() -> None:
            self._find()  # a creation whose answer was lost
            if self._found is None:
                with translate_errors("create the job's container"):
                    self._found = self._client.create_container(**self._configuration(job_id, specs, resources))["Id"]
                self._state_found = ContainerState.CREATED
            if self._state_found is ContainerState.CREATED:
                launch.require_program(self._client, self.id, specs)

        self._creating = in_background(lambda: retrying_engine(self._cancelled)(once), "create-container")
        self._cancelled.result_of(self._creating)

    def start(self) -> None:
        """Start it, unless it is running or has run. Raises `JobFailed`, `EngineUnavailable` if the engine cannot."""

        def once() -> None:
            if self._state()["Status"] == "created":
                with translate_errors("start the job's container"):
                    self._client.start(self.id)

        try:
            call_engine(self._cancelled)(once)
        except Missing as error:  # its network
            raise JobFailed(f"{error}.") from error

    def wait(
        self, max_runtime_s: float | None = None, *, when_exited: Callable[[], None] = lambda: None
    ) -> Outcome | None:
        """Wait for its end, seen at once. `None` if it did not end by itself, but by the engine's shutdown.

        It is stopped `max_runtime_s` after its start. `when_exited` is called as soon as the command has ended by all
        appearances, some 60 ms before that is certain.
        """
        ended = in_background(self._wait, "wait-for-container")
        in_background(lambda: self._hear_of_exit(ended, when_exited), "listen-to-engine")
        try:
            state = self._cancelled.result_of(ended, self._left_s(max_runtime_s))
        except TimeoutError:
            log.info("The job's container is stopped after MAX_RUNTIME")
            call_engine(self._cancelled)(self._stop)
            state = self._cancelled.result_of(ended)
            reason = f"The command was stopped after {max_runtime_s:g} s, this worker's MAX_RUNTIME."
            return Outcome(exit_code=state["ExitCode"], succeeded=False, reason=reason)
        end = End.of(state)
        if end.killed_for_memory:  # which no engine's shutdown does
            return outcome_of(end)
        return None if ended_by_engine(end, self._watch()) else outcome_of(end)

    def remove(self) -> None:
        """Stop it, if it runs, and remove it with its anonymous volumes.

        Raises `DetachRequested` if the worker is to end and the engine does not answer: the next start removes it.
        """

        def once() -> None:
            if self._creating is not None:  # left while the engine was at it
                wait([self._creating])
            if self._found is None:
                return
            with suppress(Missing):
                self._stop()
                if os.geteuid() != 0:
                    give_files_to_worker(self._client, self.id, self._folder)
                with translate_errors("remove the job's container"):
                    self._client.remove_container(self.id, v=True, force=True)

        if self._found is None and self._creating is None:
            return
        self._cleanup_deadline.result_of(
            in_background(lambda: retrying_engine(self._cleanup_deadline)(once), "remove-container")
        )
        self._found, self._creating, self._state_found = None, None, ContainerState.NONE

    def _stop(self) -> None:
        with translate_errors("stop the job's container"):
            self._client.stop(self.id, timeout=STOP_GRACE_S)

    def _find(self) -> None:
        def once() -> list[dict[str, Any]]:
            with translate_errors("list containers"):
                listed: list[dict[str, Any]] = self._client.containers(
                    all=True, filters={"label": f"{LABEL_FOLDER}={self._folder}"}
                )
                return listed

        found = call_engine(self._cancelled)(once)
        self._found = found[0]["Id"] if found else None
        self._state_found = ContainerState.NONE
        if found:
            created = found[0]["State"] == "created"
            self._state_found = ContainerState.CREATED if created else ContainerState.STARTED

    def _state(self) -> dict[str, Any]:
        """`State` of the engine's answer to an inspection. Raises `JobFailed` if somebody has removed the container."""
        try:
            with translate_errors("inspect the job's container"):
                state: dict[str, Any] = self._client.inspect_container(self.id)["State"]
        except Missing as error:
            raise JobFailed("The job's container was removed by somebody else while it ran.") from error
        return state

    def _wait(self) -> dict[str, Any]:
        """The container's last `State`. An engine that goes away meanwhile is waited for."""
        self._watched = call_engine(self._cancelled)(self._state)["Status"] == "running"
        while True:
            try:
                with translate_errors("wait for the job's container"):
                    self._client.wait(self.id, timeout=WAIT_S)
            except (EngineUnavailable, Missing):  # the time-out of a wait, or the engine is gone: the inspection tells
                self._lost_at = time.time()
                self._cancelled.wait(0.1)
            state = call_engine(self._cancelled)(self._state)
            if state["Status"] not in ("running", "paused", "restarting"):
                return state
            self._watched, self._lost_at = True, None

    def _hear_of_exit(self, ended: Future[Any], when_exited: Callable[[], None]) -> None:
        """The engine's event `die` comes before it takes the container's network down, its `wait` after that."""
        since = int(time.time()) - 1
        while not ended.done() and not self._cancelled.is_set():
            event: Any = None
            with suppress(EngineUnavailable, JobFailed, Missing), translate_errors("tell events"):
                stream = self._client.events(since=since, filters=self._dying, decode=True)
                event = next(stream, None)
                stream.close()
            if event is not None:
                by_itself = int(event["Actor"]["Attributes"]["exitCode"]) not in STOPPED_BY_ENGINE
                if by_itself and not self._cancelled.is_set():
                    when_exited()
                return
            wait([ended], timeout=1)

    @property
    def _dying(self) -> dict[str, str]:
        return {"container": self.id, "event": "die"}

    def _left_s(self, max_runtime_s: float | None) -> float | None:
        if max_runtime_s is None:
            return None
        started = seconds(call_engine(self._cancelled)(self._state)["StartedAt"])
        return max(0.0, started + max_runtime_s - time.time())

    def _watch(self) -> Watch:
        self._client.close()  # an engine that goes down first stops to listen; only old connections reach it still
        engine_started = call_engine(self._cancelled)(lambda: started_at(self._client))
        return Watch(engine_started, was_running=self._watched, lost_at=self._lost_at)

    def _configuration(self, job_id: str, specs: JobSpecs, resources: Resources) -> dict[str, Any]:
        """The arguments of docker-py's `create_container`."""
        image = launch.read(self._client, specs.handler.image_url)
        command = image.command(specs.command_line, specs.handler.image_url)
        init = not image.has_own_init(command) and launch.has_init(self._client, specs.handler.image_url)
        return {
            "image": specs.handler.image_url,
            "command": command,
            "name": f"job-{job_id}-{secrets.token_hex(3)}",
            "environment": environment(specs.app.env or {}, resources.gpu),
            **labelled(
                {LABEL_JOB: job_id, LABEL_FOLDER: str(self._folder), LABEL_WORKER: socket.gethostname()}, image.labels
            ),
            "host_config": host_config(self._client, self._folder, resources, init=init),
        }


@contextmanager
def job_container(
    client: Client, folder: PurePosixPath, cancelled: Cancellation, cleanup_deadline: Cancellation
) -> Iterator[JobContainer]:
    """The container of a job's folder, which is stopped and removed at the end, unless the worker leaves it running."""
    container = JobContainer(client, folder, cancelled, cleanup_deadline)
    try:
        yield container
    except DetachRequested:
        raise
    except BaseException:
        container.remove()
        raise
    else:
        container.remove()
