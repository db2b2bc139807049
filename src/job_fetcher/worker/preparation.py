"""What a job's container needs before its start: the image and the inputs, fetched at the same time."""

import logging
from collections.abc import Callable
from functools import partial

from job_fetcher import steps
from job_fetcher.config.settings import JobLimits
from job_fetcher.core.background import Cancellation, run_all
from job_fetcher.core.errors import NoRoom
from job_fetcher.core.job import JobSpecs
from job_fetcher.engine.images import Images
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.in_hand import JobInHand
from job_fetcher.worker.waiting import Waiting
from job_fetcher.workspace.disk import is_full
from job_fetcher.workspace.input_cache import InputCache
from job_fetcher.workspace.job_folder import CommandStart, JobFolder

log = logging.getLogger(__name__)


class Preparation:
    """Fetches what jobs need, `limits.transfers` files at a time. `cache` may have inputs of earlier jobs.

    `made_room` waits for the job that finishes behind this one: False if there is none.
    """

    def __init__(
        self,
        api: WorkerApi,
        images: Images,
        limits: JobLimits,
        cache: InputCache,
        made_room: Callable[[Cancellation], bool],
    ) -> None:
        self._api, self._images, self._limits, self._cache = api, images, limits, cache
        self._made_room = made_room

    def prepare(self, job: JobInHand, *, anew: bool) -> None:
        """Get the image and the inputs, both at the same time; `anew`: from clean inputs and outputs."""
        folder, specs = job.folder, job.specs
        if anew:
            log.info("job %s: running it again, from clean inputs and outputs", folder.job_id)
            folder.reset()
        handler = specs.handler
        folder.check_names(handler.files_down or {}, (handler.files_up or {}).values())
        waiting = Waiting(job)
        pull = waiting.image(job.watch.pulling(partial(self._images.pull, specs.handler.image_url)))
        made_room = waiting.room(self._made_room)
        download = waiting.inputs(job.watch.downloading(partial(self._download, folder, specs, made_room)))
        with waiting.told():
            run_all(
                lambda task, left: task(cancelled=left),
                [pull, download],
                threads=2,
                cancelled=job.cancelled,
                name="prepare",
            )
        job.watch.note_inputs([folder.files / path for path in handler.files_down or {}])
        steps.make_output_folders(specs, folder.files)
        # The start follows: one record and its fsync for both.
        folder.record(runs=folder.state.runs + 1, started=CommandStart.before(0))

    def _download(
        self, folder: JobFolder, specs: JobSpecs, made_room: Callable[[Cancellation], bool], cancelled: Cancellation
    ) -> None:
        """Fetch the inputs. Those that do not fit on the disk wait for the job that finishes behind this one."""
        download = partial(
            steps.download_inputs, self._api, specs, folder.files, folder.parts,
            cancelled=cancelled, transfers=self._limits.transfers, job_id=folder.job_id, cache=self._cache,
        )  # fmt: skip
        try:
            download()
        except (NoRoom, OSError) as error:
            is_for_room = isinstance(error, NoRoom) or is_full(error)
            if not is_for_room or not made_room(cancelled):
                raise
            log.info("job %s: inputs did not fit, but the job before has made room: %s", folder.job_id, error)
            download()
