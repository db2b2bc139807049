"""A job's container: create, start, wait, stop, remove, and find again by its label."""

import logging
import os
import secrets
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from enum import Enum
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from tenacity import RetryCallState

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import DetachRequested, EngineUnavailable, JobFailed, MachineFault
from job_fetcher.core.job import JobSpecs, Outcome
from job_fetcher.core.retry import ENGINE_MAX_WAIT_S, call_engine, retrying, retrying_engine
from job_fetcher.engine import launch
from job_fetcher.engine.cleanup import give_files_to_worker, list_containers, remove
from job_fetcher.engine.client import Client, Missing, seconds, translate_errors
from job_fetcher.engine.container_wait import RUNNING, ContainerWait, Hooks
from job_fetcher.engine.image_config import ImageConfig
from job_fetcher.engine.isolation import LABEL_FOLDER, Resources, environment, host_config, labelled

LABEL_JOB = "job-fetcher.job"
LABEL_WORKER = "job-fetcher.worker"
LABEL_TOKEN = "job-fetcher.token"  # noqa: S105 - no secret
"""Labels of a job's container besides its folder's: the job's id, the worker's host name, its record's token.

The token finds the container even if the folder has another path by now."""

REMOVAL_S, REMOVAL_MAX_WAIT_S = 4.0, 1.0
"""Seconds for which the worker tries a removal again, and the longest wait between two tries.

The loop tries again before each next job."""
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

    It is found by the `token` of the job's record, else by the path of the folder, as an earlier release labels it.
    Every call waits for an engine that does not answer, until `cancelled`; `remove` does so until `cleanup_deadline`.
    `patient`: the first look waits for an engine that answers with errors, too: the job has something to lose.
    """

    def __init__(
        self,
        client: Client,
        folder: PurePosixPath,
        cancelled: Cancellation,
        cleanup_deadline: Cancellation,
        token: str | None = None,
        *,
        patient: bool = False,
    ) -> None:
        self._client, self._folder, self._token = client, folder, token
        self._cancelled, self._cleanup_deadline = cancelled, cleanup_deadline
        self.log_gaps: tuple[float, ...] = ()
        """When the engine may have missed what the command printed, known after `wait`: see `ContainerWait.gaps`."""
        self._creating: Future[None] | None = None
        self._tried_to_create = False
        self._has_ended = False
        self._just_made = False
        """Created by this object, and never asked to start: there is no need to look at it."""
        self._started_here = False
        self._found: str | None = None
        self._state_found = ContainerState.NONE
        self._find(patient=patient)

    @property
    def state(self) -> ContainerState:
        """What was found of it, or made of it by `create`."""
        return self._state_found

    @property
    def id(self) -> str:
        """The engine's id of a container that exists."""
        assert self._found is not None
        return self._found

    @property
    def job_id(self) -> str:
        """The job's id, which is the name of its folder."""
        return self._folder.name

    def create(self, job_id: str, specs: JobSpecs, resources: Resources) -> None:
        """Create the container, not started yet. Raises `Missing` for its image, `JobFailed` for what is refused."""

        def once() -> None:
            if self._tried_to_create:
                self._find()  # a creation whose answer was lost
            self._tried_to_create = True
            image = launch.read(self._client, specs.handler.image_url)
            if self._found is None:
                configuration = self._configuration(job_id, specs, resources, image)
                with translate_errors("create the job's container"):
                    self._found = self._client.create_container(**configuration)["Id"]
                self._state_found, self._just_made = ContainerState.CREATED, True
            if self._state_found is ContainerState.CREATED:
                launch.require_program(self._client, self.id, image, specs)

        self._creating = in_background(lambda: retrying_engine(self._cancelled)(once), "create-container")
        self._cancelled.result_of(self._creating)

    def start(self) -> None:
        """Start it, unless it is running or has run. Raises `JobFailed`, `EngineUnavailable` if the engine cannot.

        Raises `MachineFault` if somebody has removed it before: a prune, say.
        """

        def once() -> None:
            made, self._just_made = self._just_made, False
            if made or self._status() == "created":  # a start whose answer was lost may have run it to its end
                with translate_errors("start the job's container"):
                    self._client.start(self.id)

        if self._state_found is ContainerState.STARTED:
            return
        self._started_here = True
        try:
            call_engine(self._cancelled)(once)
        except (Missing, JobFailed) as error:
            if self._is_going():
                raise MachineFault("Somebody has removed the job's container before its start.") from error
            if isinstance(error, JobFailed):
                raise
            raise JobFailed(f"{error}.") from error  # its network

    def age_s(self) -> float:
        """How long ago it was started, by the clocks of the engine's host and of this one."""

        def once() -> str:
            with translate_errors("inspect the job's container"):
                return str(self._client.inspect_container(self.id)["State"]["StartedAt"])

        with suppress(Missing):
            return max(0.0, time.time() - seconds(call_engine(self._cancelled)(once)))
        return 0.0

    def wait(
        self, left_s: float | None = None, hooks: Hooks | None = None, first_started_at: str | None = None
    ) -> Outcome | None:
        """Wait for its end, seen at once. It is stopped if it still runs after `left_s` seconds.

        Returns `None` if its command has to run again, since the engine's shutdown ended it. `first_started_at`: what
        an earlier wait has told `Hooks.when_seen`.
        """
        started_here = self._started_here
        waiting = ContainerWait(self._client, self.id, self._cancelled, hooks or Hooks(), started_here=started_here)
        outcome = waiting.outcome(left_s, self._stop, first_started_at)
        self._has_ended = True
        self.log_gaps = tuple(waiting.gaps)
        return outcome

    def ensure_ended(self) -> None:
        """Return when the engine says that it has ended, or is gone; stop it if it runs. However long that takes."""

        def once() -> None:
            with suppress(Missing):
                with suppress(JobFailed):  # 409: somebody is removing it
                    self._stop()
                try:
                    still_runs = self._status() in RUNNING
                except JobFailed as error:  # the outcome is known: no refusal ends the job
                    raise EngineUnavailable(str(error)) from error
                if still_runs:
                    raise EngineUnavailable("The job's container still runs")

        if self._found is not None:
            retry = retrying(self._cancelled, max_wait_s=ENGINE_MAX_WAIT_S)
            retry(lambda: self._cancelled.result_of(in_background(once, "ensure-ended")))

    def give_files_to_worker(self) -> None:
        """Let a worker that is not root read what the command has made as root. What fails is logged."""
        if self._found is None or os.geteuid() == 0:
            return
        try:
            call_engine(self._cancelled)(give_files_to_worker, self._client, self.id, self._folder)
        except (EngineUnavailable, JobFailed, Missing) as error:
            log.warning("job %s: files of root not taken over: %s", self.job_id, error)

    def remove(self, patience_s: float = REMOVAL_S) -> None:
        """Stop it, if it runs, and remove it with its anonymous volumes; somebody else's removal is waited for.

        Raises `EngineUnavailable` or `JobFailed` if the engine has not done so after `patience_s`. Raises
        `DetachRequested` if the worker is to end before: the next start removes it.
        """

        def once() -> None:
            if self._creating is not None:  # left while the engine was at it
                wait([self._creating])
            if self._found is None:
                return
            with suppress(Missing):
                if not self._has_ended:
                    with suppress(JobFailed):  # 409: somebody is removing it
                        self._stop()
                if os.geteuid() != 0:
                    give_files_to_worker(self._client, self.id, self._folder)
                remove(self._client, self.id)

        if self._found is None and self._creating is None:
            return
        give_up = partial(_is_late, patience_s)
        retry = retrying(self._cleanup_deadline, max_wait_s=REMOVAL_MAX_WAIT_S, give_up=give_up)
        self._cleanup_deadline.result_of(in_background(lambda: retry(once), "remove-container"))
        self._found, self._creating, self._state_found = None, None, ContainerState.NONE

    def _stop(self) -> None:
        with translate_errors("stop the job's container"):
            self._client.stop(self.id, timeout=STOP_GRACE_S)

    def _status(self) -> str:
        with translate_errors("inspect the job's container"):
            return str(self._client.inspect_container(self.id)["State"]["Status"])

    def _is_going(self) -> bool:
        """Whether somebody has removed it, or is about to."""
        try:
            return call_engine(self._cancelled)(self._status) in ("removing", "dead")
        except Missing:
            return True

    def _find(self, *, patient: bool = False) -> None:
        def once() -> list[dict[str, Any]]:
            return list_containers(self._client, LABEL_FOLDER)

        if patient:
            retry = retrying(self._cancelled, max_wait_s=ENGINE_MAX_WAIT_S)
            jobs = retry(lambda: self._cancelled.call(once, "engine"))
        else:
            jobs = call_engine(self._cancelled)(once)
        by_token = [each for each in jobs if self._token and each["Labels"].get(LABEL_TOKEN) == self._token]
        found = by_token or [each for each in jobs if each["Labels"].get(LABEL_FOLDER) == str(self._folder)]
        found.sort(key=lambda each: each["State"] == "created")  # the engine made it late, for a worker that was killed
        self._found = found[0]["Id"] if found else None
        self._state_found = ContainerState.NONE
        if found:
            created = found[0]["State"] == "created"
            self._state_found = ContainerState.CREATED if created else ContainerState.STARTED

    def _configuration(self, job_id: str, specs: JobSpecs, resources: Resources, image: ImageConfig) -> dict[str, Any]:
        """The arguments of docker-py's `create_container`."""
        command = image.command(specs.command_line, specs.handler.image_url)
        init = not image.has_own_init(command) and launch.has_init(self._client, specs.handler.image_url)
        labels = {LABEL_JOB: job_id, LABEL_FOLDER: str(self._folder), LABEL_WORKER: socket.gethostname()}
        if self._token:
            labels[LABEL_TOKEN] = self._token
        return {
            "image": specs.handler.image_url,
            "command": command,
            "name": f"job-{job_id}-{secrets.token_hex(3)}",
            "environment": environment(specs.app.env or {}, resources.gpu),
            **labelled(labels, image.labels),
            "host_config": host_config(self._client, self._folder, resources, init=init),
        }


@contextmanager
def removed_on_failure(container: JobContainer) -> Iterator[None]:
    """Stop and remove the container when the block fails, unless the worker leaves the container running.

    A removal that fails takes nothing from the block's own error: whoever removes the job's folder tries again.
    """
    try:
        yield
    except DetachRequested:
        raise
    except BaseException:
        try:
            container.remove()
        except (EngineUnavailable, JobFailed) as error:
            log.warning("job %s: container not removed yet: %s", container.job_id, error)
        raise


def _is_late(patience_s: float, state: RetryCallState) -> bool:
    return (state.seconds_since_start or 0) >= patience_s
