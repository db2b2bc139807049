"""The middle of a job: its image and inputs, its container, until the command has ended and its log is kept."""

import logging
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath

from job_fetcher.config.settings import JobLimits
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.cause import Cause
from job_fetcher.core.errors import (
    CredentialsError,
    DetachRequested,
    EngineUnavailable,
    JobFailed,
    JobFetcherError,
    MachineFault,
    StopRequested,
)
from job_fetcher.core.job import JobStatus, Outcome
from job_fetcher.engine import launch
from job_fetcher.engine.client import Client
from job_fetcher.engine.container import REMOVAL_S, ContainerState, JobContainer, removed_on_failure
from job_fetcher.engine.container_end import LOST_EXIT_CODE
from job_fetcher.engine.container_log import ContainerLog
from job_fetcher.engine.container_wait import Hooks
from job_fetcher.engine.images import Images
from job_fetcher.engine.isolation import Resources
from job_fetcher.engine.last_look import has_exited_by_itself
from job_fetcher.engine.log_so_far import so_far
from job_fetcher.worker.container_start import ContainerStart
from job_fetcher.worker.ending import ending_of
from job_fetcher.worker.in_hand import JobInHand
from job_fetcher.worker.next_action import MAX_RUNS, Action, next_action
from job_fetcher.worker.preparation import Preparation
from job_fetcher.worker.sampler import sampled
from job_fetcher.worker.shutdown import Shutdown
from job_fetcher.workspace.job_folder import CommandStart, JobFolder

LOST = f"The job's container was lost {MAX_RUNS} times, by shutdowns of this machine or its engine."

MAX_START_S = 1.0
"""A creation or a start that takes longer is not part of the command's time."""
REMOVAL_HEAD_START_S = 2.0
"""A removal takes some 100 ms. After this many seconds the job goes on without waiting for it."""

log = logging.getLogger(__name__)


class Runner:
    """Runs the containers of jobs whose folders are below `host_base` on the engine's host.

    Calls wait for an engine that does not answer until the job is cancelled. The removal of a container waits until
    `cleanup_deadline` of `shutdown`.
    """

    def __init__(
        self,
        preparation: Preparation,
        client: Client,
        images: Images,
        host_base: PurePosixPath,
        resources: Resources,
        shutdown: Shutdown,
        limits: JobLimits,
    ) -> None:
        self._client, self._host_base, self._limits = client, host_base, limits
        self._preparation, self._gpu = preparation, resources.gpu
        self._start = ContainerStart(client, images, resources)
        self._cleanup_deadline = shutdown.cleanup_deadline
        self._removals: dict[str, Future[None]] = {}

    def run(self, job: JobInHand) -> Outcome:
        """Run the job's container, or resume it. Run it again if a shutdown of the engine, say, ended it.

        Returns when the engine has said that the command has ended, and the outcome is recorded. The container goes
        meanwhile; `remove_container` waits for that.
        """
        folder, cancelled = job.folder, job.cancelled
        if folder.state.exited:
            cancelled.finish()
        container = self._first_look(job)
        while True:
            with removed_on_failure(container), self._keeping_what_has_ended(job, container):
                if folder.state.runs:  # left behind: the job may be gone by now, which ends its container
                    cancelled.result_of(job.keep_alive.tried)
                action = next_action(folder.state, container.state, rebooted=folder.survived_reboot)
                match action:
                    case Action.FINISH:
                        with _kept_for_the_next_start():
                            container.ensure_ended()
                    case Action.GIVE_UP:
                        raise JobFailed(LOST)
                    case Action.RUN | Action.RERUN:
                        cancelled.run_again()
                        self._preparation.prepare(job, anew=action is Action.RERUN)
                        self._run_once(container, job)
                    case Action.RESUME:
                        self._run_once(container, job)
                    case Action.DISCARD:
                        pass
                if folder.state.outcome is not None:
                    with _kept_for_the_next_start():
                        container.give_files_to_worker()
                        self._begin_removal(job, container)
                    return folder.state.outcome
            _remove_before_the_next(container)
            container = self._container(folder, cancelled, patient=_has_begun(folder))

    def _run_once(self, container: JobContainer, job: JobInHand) -> None:
        """One run of the command, from the container's creation or wherever it is, until its outcome is recorded.

        None is recorded if the command has to run again.
        """
        folder, cancelled = job.folder, job.cancelled
        resumed = container.state is ContainerState.STARTED
        with self._start.telling_faults_apart(job):
            if container.state is ContainerState.NONE:
                self._start.create(container, job)
            if not resumed:  # before the start: a worker that is killed in between knows it by no wall clock
                _note_start(folder)
            container.start()
        if not resumed:  # the engine may have been away
            _note_start(folder)
        if folder.state.started is None:
            folder.keep(started=CommandStart.before(container.age_s()))
        if not resumed:  # else the keep-alive has begun with the right one
            job.keep_alive.set(JobStatus.RUNNING)
        job_log = ContainerLog(self._client, container.id, folder.log, cancelled, folder.keep_log_in_memory)
        with (
            job.live_log.following(partial(so_far, self._client, container.id)),
            sampled(self._client, container.id, self._gpu, job.watch),
        ):
            ended = container.wait(
                self._left_s(folder),
                self._hooks(job),
                folder.state.container_started_at,
            )
        if folder.state.stopped_after_s is not None:
            ended = _stopped(ended, folder.state.stopped_after_s)
        if ended is None:
            cancelled.run_again()
            folder.keep(exited=False)
            log.warning("job %s: lost its container: the engine was shut down", folder.job_id)
            return
        _command_has_ended(job)
        with _kept_for_the_next_start():
            job_log.save(container.log_gaps)
            cancelled.result_of(in_background(folder.flush, "flush"))
            ended = launch.explained_end(self._client, container.id, ended, folder.log)
            folder.keep(outcome=ended)

    @contextmanager
    def _keeping_what_has_ended(self, job: JobInHand, container: JobContainer) -> Iterator[None]:
        """A container whose command has ended stays, with all that is known of it: the job is resumed, not requeued.

        Record the stop of any other first. Otherwise the next start takes the container's end for the command's own,
        if the worker is killed before it has removed the container.
        """
        try:
            yield
        except (EngineUnavailable, CredentialsError, StopRequested) as reason:
            if job.folder.state.outcome is None and self._has_ended(job, container, reason):
                job.folder.keep(exited=True)
                raise DetachRequested(str(reason)) from reason
            if isinstance(reason, StopRequested):
                ending_of(reason, job.folder).record(job.folder)
            raise

    def _has_ended(self, job: JobInHand, container: JobContainer, reason: JobFetcherError) -> bool:
        """Whether the command has ended, by the engine's word or by a last look."""
        if job.cancelled.is_finishing:
            return True
        if isinstance(reason, EngineUnavailable) or not job.folder.state.runs or container.state is ContainerState.NONE:
            return False
        return has_exited_by_itself(self._client, container.id, self._cleanup_deadline)

    def _hooks(self, job: JobInHand) -> Hooks:
        folder = job.folder
        return Hooks(
            when_exited=partial(_command_has_ended, job),
            when_seen=partial(_note_container_start, folder),
            when_stopping=partial(self._record_time_limit, folder),
        )

    def _left_s(self, folder: JobFolder) -> float | None:
        """How long the command may still run, in seconds; `None` if nothing limits that."""
        if folder.state.stopped_after_s is not None:  # recorded, and the worker was killed before it was done
            return 0
        limit_s = self._limits.max_runtime
        return None if limit_s is None else max(0, limit_s - folder.command_age_s)

    def _record_time_limit(self, folder: JobFolder) -> None:
        """Record first that the worker stops the command. Otherwise its end looks like a stop by the owner."""
        log.info("job %s: stopping the command after MAX_RUNTIME", folder.job_id)
        folder.keep(stopped_after_s=self._limits.max_runtime)

    def _begin_removal(self, job: JobInHand, container: JobContainer) -> None:
        """Remove the container of a job whose outcome is recorded; the job goes on without waiting long for that."""

        def remove() -> None:
            container.remove()
            job.cancelled.container_gone.set_result(None)

        self._removals[job.id] = in_background(remove, "remove-container")
        try:
            job.cancelled.result_of(self._removals[job.id], REMOVAL_HEAD_START_S)
        except (TimeoutError, EngineUnavailable, JobFailed):
            log.warning("job %s: container not removed yet: its outputs go up meanwhile", job.id)

    def remove_container(self, folder: JobFolder, patience_s: float = REMOVAL_S) -> None:
        """Stop and remove the job's container, if there is one.

        Raises `EngineUnavailable` or `JobFailed` if that has not worked after `patience_s`, and `DetachRequested` when
        the worker has to end before.
        """
        removing = self._removals.pop(folder.job_id, None)
        if removing is not None:
            self._cleanup_deadline.result_of(removing)
        else:
            self._container(folder, self._cleanup_deadline).remove(patience_s)

    def _first_look(self, job: JobInHand) -> JobContainer:
        """The job's container. A worker that is to stop looks, too: the command may have ended before (`_has_ended`).

        If the engine does not tell, the job stays for the next start (`DetachRequested`).
        """
        try:
            return self._container(job.folder, job.cancelled, patient=_has_begun(job.folder))
        except StopRequested:
            if not job.folder.state.runs:
                raise
            return self._container(job.folder, self._cleanup_deadline, patient=True)

    def _container(self, folder: JobFolder, cancelled: Cancellation, *, patient: bool = False) -> JobContainer:
        on_host, token = self._host_base / folder.path.name, folder.state.token
        return JobContainer(self._client, on_host, cancelled, self._cleanup_deadline, token, patient=patient)


@contextmanager
def _kept_for_the_next_start() -> Iterator[None]:
    """A stop after the command's end requeues nothing: the next start goes on with what the command has made."""
    try:
        yield
    except StopRequested as reason:
        raise DetachRequested(str(reason)) from reason


def _has_begun(folder: JobFolder) -> bool:
    """Whether the job has something to lose."""
    return folder.state.runs > 0 or folder.state.outcome is not None


def _note_start(folder: JobFolder) -> None:
    """Record that the command starts now, unless the record says a time that is as good."""
    if folder.state.started is None or folder.command_age_s > MAX_START_S:
        folder.keep(started=CommandStart.before(0))


def _note_container_start(folder: JobFolder, started_at: str, runs: bool) -> None:
    """Record it at once while the command runs. Where it has ended, the record of its outcome follows."""
    if runs:
        folder.keep(container_started_at=started_at)
    else:
        folder.keep_with_next(container_started_at=started_at)


def _command_has_ended(job: JobInHand) -> None:
    """From now on a stop of the worker does not requeue the job."""
    job.cancelled.finish()
    job.keep_alive.set(JobStatus.POSTPROCESSING)


def _remove_before_the_next(container: JobContainer) -> None:
    """Remove a container that another one follows: two of them would work on the same files."""
    try:
        container.remove()
    except (EngineUnavailable, JobFailed) as error:
        raise MachineFault(f"This worker cannot remove the job's container: {error}.") from error


def _stopped(ended: Outcome | None, after_s: float) -> Outcome:
    return Outcome(
        exit_code=ended.exit_code if ended else LOST_EXIT_CODE,
        succeeded=False,
        cause=Cause.TIME_LIMIT,
        reason=(
            f"The command was stopped after {after_s:g} s, this worker's MAX_RUNTIME. The owner of this worker has to"
            " raise that for a longer run."
        ),
    )
