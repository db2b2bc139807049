"""The creation of a job's container, and who is to blame if the engine cannot create or start it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from job_fetcher.core.background import in_background
from job_fetcher.core.errors import EngineUnavailable, JobFailed, MachineFault
from job_fetcher.engine import launch, probe
from job_fetcher.engine.client import Client, Missing
from job_fetcher.engine.container import JobContainer
from job_fetcher.engine.images import Images
from job_fetcher.engine.isolation import Resources
from job_fetcher.worker.in_hand import JobInHand

MAX_CREATIONS = 5
"""The worker creates a container at most this many times if its image goes meanwhile: that is no chance any more."""

log = logging.getLogger(__name__)


class ContainerStart:
    """Creates the containers of jobs with `resources`."""

    def __init__(self, client: Client, images: Images, resources: Resources) -> None:
        self._client, self._images, self._resources = client, images, resources

    def create(self, container: JobContainer, job: JobInHand) -> None:
        """Create the container; if its image was removed since its pull, to make room or by a prune, pull it again."""
        for _ in range(MAX_CREATIONS - 1):
            with suppress(Missing):
                return container.create(job.id, job.specs, self._resources)
            pull = partial(self._images.pull, job.specs.handler.image_url, cancelled=job.cancelled)
            job.cancelled.result_of(in_background(pull, "pull-again"))
        try:
            return container.create(job.id, job.specs, self._resources)
        except Missing as error:
            raise MachineFault(f"Somebody removes the image as often as this worker pulls it. {error}.") from error

    @contextmanager
    def telling_faults_apart(self, job: JobInHand) -> Iterator[None]:
        """If the engine cannot start the job's container, find out whether it can start one of the worker's own.

        If it cannot, raise `MachineFault`: the worker requeues the job. Else raise what the engine said.
        """
        try:
            yield
        except MachineFault:
            raise
        except (JobFailed, EngineUnavailable) as error:
            network, gpu = self._resources.network, self._resources.gpu
            try:
                job.cancelled.result_of(in_background(partial(probe.start_as_job, self._client, network, gpu), "probe"))
            except probe.NoImage as unknown:
                log.warning("job %s: the worker cannot find out whether the job is to blame: %s", job.id, unknown)
            except probe.ProbeFailed as failure:
                raise MachineFault(f"This worker can start no container now: {failure}.") from error
            fault = error if isinstance(error, JobFailed) else JobFailed(str(error))
            raise launch.explained_start(self._client, fault, job.specs.handler.image_url) from error
