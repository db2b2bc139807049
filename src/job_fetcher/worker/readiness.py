"""Whether this machine could run a job now. The loop asks before it asks for a job; a running job goes on anyway."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from zoneinfo import ZoneInfo

from job_fetcher.config.settings import Polling
from job_fetcher.core.errors import GpuUnavailable, Unavailable
from job_fetcher.core.events import Looked, tell
from job_fetcher.engine import client as engine
from job_fetcher.engine import hardware, probe
from job_fetcher.engine.images import Images
from job_fetcher.workspace.disk import MIN_FREE_INODES, free_bytes, free_inodes
from job_fetcher.workspace.input_cache import InputCache
from job_fetcher.workspace.workspace import Workspace

_NUMBER = re.compile(r"[0-9a-f]*[0-9][0-9a-f]*")
"""MiB, pids and ids change from one look to the next: a reason that differs in them alone is the same reason."""

log = logging.getLogger(__name__)


class Readiness:
    """What has to be true before the worker asks for a job. It logs each reason against that once, when it comes up.

    `network`: of jobs. `cache`: it gives room before images do, and before no job is asked for. The quiet hours are
    those of QUIET_HOURS_TZ, or else of the engine's host.
    """

    def __init__(
        self,
        client: engine.Client,
        workspace: Workspace,
        images: Images,
        gpu: hardware.Gpu | None,
        polling: Polling,
        network: str,
        cache: InputCache | None = None,
    ) -> None:
        self._client, self._workspace, self._images, self._gpu = client, workspace, images, gpu
        self._polling, self._network, self._cache = polling, network, cache
        self._trial_due = gpu is not None
        self._reported = ""
        self.stuck_containers: Callable[[], str | None] = lambda: None
        """Why a container that an earlier job left keeps the next job away, if one does."""

    def is_ready(self) -> bool:
        """Whether this machine could run a job now. If not, logs the first reason, unless it did so the last time."""
        reason = self.reason_against()
        tell(Looked(reason))
        words = _NUMBER.sub("", reason or "")
        if words != self._reported:
            if reason is None:
                log.info("The worker asks for jobs again")
            else:
                log.warning("The worker asks for no job: %s", reason)
        self._reported = words
        return reason is None

    def reason_against(self) -> str | None:
        """The first reason why this machine could run no job now; `None` if there is none."""
        return next(self._reasons(), None)

    def request_trial(self) -> None:
        """Try a container and the folder before the next job.

        A job's own did not start, or may have failed for the GPU or for the disk.
        """
        self._trial_due = True
        self._workspace.doubt()

    def _reasons(self) -> Iterator[str]:
        """The reasons against a job, the cheapest to find out first."""
        if self._cache is not None:  # what is too old goes, whatever keeps jobs away
            with suppress(OSError):  # a broken disk, which is a reason below
                self._cache.make_room()
        if self._workspace.is_paused:
            yield "the worker is paused, until `resume`"
        if not engine.is_up(self._client):
            yield f"{self._client.product} does not answer"
        elif self._polling.quiet and self._is_quiet():
            yield "these are quiet hours (QUIET_HOURS)"
        if (reason := self._workspace.reason_against()) is not None:
            yield reason
        if (reason := self.stuck_containers()) is not None:
            yield reason
        if self._gpu is not None:
            yield from self._reasons_of_gpu(self._gpu)
        if self._trial_due:
            yield from self._reasons_of_containers()
        if not self._images.make_room() or free_bytes(self._workspace.base) < self._polling.min_free:
            yield "less than MIN_FREE_GIB is free on the disk"
        if free_inodes(self._workspace.base) < MIN_FREE_INODES:
            yield f"the disk of PATH_BASE has less than {MIN_FREE_INODES} free inodes: remove files there"

    def _is_quiet(self) -> bool:
        try:
            now = engine.local_time(self._client)
        except Unavailable:
            return True
        zone = self._polling.quiet_hours_tz
        if zone is not None:
            now = now.astimezone(ZoneInfo(zone))
        return any(now in hours for hours in self._polling.quiet)

    def _reasons_of_gpu(self, gpu: hardware.Gpu) -> Iterator[str]:
        if not self._workspace.claim_gpu(gpu.uuid):
            yield "another worker in this PATH_BASE uses the same GPU: give each its own"
        try:
            used_mib = hardware.used_mib(gpu)
        except GpuUnavailable as error:
            self._trial_due = True  # it may come back for this process and not for containers
            yield f"the GPU does not answer ({error}). If that lasts, restart the worker, then the machine"
        else:
            busy_mib = self._polling.gpu_busy_mib
            if busy_mib is not None and used_mib > busy_mib:
                yield f"other programs use {used_mib} MiB of the GPU, more than GPU_BUSY_MIB ({busy_mib})"

    def _reasons_of_containers(self) -> Iterator[str]:
        """A GPU can vanish from containers alone, for example after `systemctl daemon-reload`. Bridges break, too."""
        try:
            probe.start_as_job(self._client, self._network, self._gpu)
        except probe.NoImage as error:
            log.warning("The worker cannot find out whether containers start and see the GPU: %s", error)
        except probe.ProbeFailed as error:
            name = self._client.product.value
            yield f"containers do not start, or do not see the GPU ({error}). If that lasts, restart {name}"
            return
        self._trial_due = False
