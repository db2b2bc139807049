"""The middle of a job: its image and inputs, its container, until the command has ended and its log is kept."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePosixPath

from job_fetcher import steps
from job_fetcher.config.settings import JobLimits
from job_fetcher.core.background import Cancellation, in_background, run_all
from job_fetcher.core.errors import EngineUnavailable, JobFailed, MachineFault, StopRequested
from job_fetcher.core.job import JobSpecs, JobStatus, Outcome
from job_fetcher.engine import container_log, launch, probe
from job_fetcher.engine.client import Client, Missing
from job_fetcher.engine.container import ContainerState, JobContainer, job_container
from job_fetcher.engine.images import Images
from job_fetcher.engine.isolation import Resources
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.ending import ending_of
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.next_action import MAX_RUNS, Action, next_action
from job_fetcher.worker.shutdown import Shutdown
from job_fetcher.workspace.job_folder import JobFolder

LOST = f"The job's container was lost {MAX_RUNS} times, by shutdowns of this machine or its engine."

log = logging.getLogger(__name__)


class Runner:
    """Runs the containers of jobs whose folders are below `host_base` on the engine's host.

    Calls wait for an engine that does not answer until the job is cancelled. The removal of a container waits until
    `cleanup_deadline` of `shutdown`.
    """

    def __init__(
        self,
        api: WorkerApi,
        client: Client,
        images: Images,
        host_base: PurePosixPath,
        resources: Resources,
        shutdown: Shutdown,
        limits: JobLimits,
    ) -> None:
        self._api, self._client, self._images, self._host_base = api, client, images, host_base
        self._resources, self._shutdown, self._limits = resources, shutdown, limits
        self._cleanup_deadline = shutdown.cleanup_deadline

    def run(self, folder: JobFolder, specs: JobSpecs, keep_alive: KeepAlive, cancelled: Cancellation) -> Outcome:
        """Run the job's container, or resume it; run it again if the engine's shutdown has ended it."""
        while True:
            found = job_container(self._client, self._on_host(folder), cancelled, self._cleanup_deadline)
            with found as container, _recording_a_stop(folder):
                if folder.state.runs:  # left behind: the job may be gone by now, which ends its container
                    cancelled.result_of(keep_alive.tried)
                action = next_action(folder.state, container.state, rebooted=folder.survived_reboot)
                match action:
                    case Action.FINISH:
                        assert folder.state.outcome is not None
                        return folder.state.outcome
                    case Action.GIVE_UP:
                        raise JobFailed(LOST)
                    case Action.RUN | Action.RERUN:
                        self._prepare(folder, specs, cancelled, anew=action is Action.RERUN)
                        outcome = self._run_once(container, folder, specs, keep_alive, cancelled)
                    case Action.RESUME:
                        outcome = self._run_once(container, folder, specs, keep_alive, cancelled)
                    case Action.DISCARD:
                        continue
                if outcome is not None:
                    return outcome
            log.warning("job %s: the engine's shutdown has ended the container", folder.job_id)

    def _run_once(
        self,
        container: JobContainer,
        folder: JobFolder,
        specs: JobSpecs,
        keep_alive: KeepAlive,
        cancelled: Cancellation,
    ) -> Outcome | None:
        """One run of the command, from the container's creation or wherever it is, until its outcome is recorded.

        Returns `None` if the engine's shutdown has ended the container.
        """
        with self._blaming_whom_it_concerns(specs.handler.image_url, cancelled):
            if container.state is ContainerState.NONE:
                self._create(container, folder.job_id, specs, cancelled)
            container.start()
        keep_alive.set(JobStatus.RUNNING)
        outcome = container.wait(self._limits.max_runtime, when_exited=partial(self._command_has_ended, keep_alive))
        if outcome is not None:
            self._command_has_ended(keep_alive)
            container_log.save(self._client, container.id, folder.log, cancelled, folder.drop_ballast)
            cancelled.result_of(in_background(folder.flush, "flush"))
            outcome = launch.explained_end(self._client, container.id, outcome, folder.log)
            folder.record(outcome=outcome)
        return outcome

    def _command_has_ended(self, keep_alive: KeepAlive) -> None:
        """From now on a stop of the worker does not requeue the job."""
        self._shutdown.finish_job()
        keep_alive.set(JobStatus.POSTPROCESSING)

    @contextmanager
    def _blaming_whom_it_concerns(self, image: str, cancelled: Cancellation) -> Iterator[None]:
        """What an engine says may be an image's words: if a container of ours does not start either, hand the job back.

        Raises `MachineFault` then, else what the engine said.
        """
        try:
            yield
        except (JobFailed, EngineUnavailable) as error:
            network, gpu = self._resources.network, self._resources.gpu
            try:
                cancelled.result_of(in_background(partial(probe.start_as_job, self._client, network, gpu), "probe"))
            except probe.NoImage as unknown:
                log.warning("Whether the job is to blame cannot be found out: %s", unknown)
            except probe.ProbeFailed as failure:
                raise MachineFault(f"This worker can start no container now: {failure}.") from error
            if isinstance(error, JobFailed):
                raise launch.explained_start(self._client, error, image) from error
            raise

    def remove_container(self, folder: JobFolder) -> None:
        """Stop and remove the job's container, if there is one."""
        with job_container(self._client, self._on_host(folder), self._cleanup_deadline, self._cleanup_deadline):
            pass

    def _on_host(self, folder: JobFolder) -> PurePosixPath:
        return self._host_base / folder.path.name

    def _prepare(self, folder: JobFolder, specs: JobSpecs, cancelled: Cancellation, *, anew: bool) -> None:
        """Get the image and the inputs, both at the same time; `anew`: from clean inputs and outputs."""
        if anew:
            log.info("job %s: running it again, from clean inputs and outputs", folder.job_id)
            folder.reset()
        pull = partial(self._images.pull, specs.handler.image_url)
        download = partial(
            steps.download_inputs,
            self._api,
            specs,
            folder.files,
            folder.parts,
            transfers=self._limits.transfers,
            job_id=folder.job_id,
        )
        run_all(
            lambda task, left: task(cancelled=left), [pull, download], threads=2, cancelled=cancelled, name="prepare"
        )
        steps.make_output_folders(specs, folder.files)
        folder.record(runs=folder.state.runs + 1)

    def _create(self, container: JobContainer, job_id: str, specs: JobSpecs, cancelled: Cancellation) -> None:
        """Create the container; if its image was removed since its pull, to make room or by a person, pull it again."""
        try:
            container.create(job_id, specs, self._resources)
        except Missing:
            pull = partial(self._images.pull, specs.handler.image_url, cancelled=cancelled)
            cancelled.result_of(in_background(pull, "pull-again"))
            try:
                container.create(job_id, specs, self._resources)
            except Missing as error:
                raise JobFailed(f"{error}.") from error


@contextmanager
def _recording_a_stop(folder: JobFolder) -> Iterator[None]:
    """Write a stop down before the container is stopped for it, whose end is else taken for the command's own.

    That is what the next start would do if the worker is killed before the container is removed.
    """
    try:
        yield
    except StopRequested as reason:
        ending_of(reason, folder).record(folder)
        raise
