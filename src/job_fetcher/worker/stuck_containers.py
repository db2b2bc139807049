"""Containers of jobs that are over and that the engine could not remove: they may hold the GPU, so no job comes."""

import logging
from collections.abc import Callable, Sequence

from job_fetcher.core.errors import Cancelled, JobFailed, Unavailable
from job_fetcher.workspace.job_folder import JobFolder

log = logging.getLogger(__name__)


class StuckContainers:
    """Tries again to remove what stayed. A folder outlives its container: `keep` holds its lock.

    `remove` removes the container of a folder, once. `remove_orphans` removes containers without a folder, and returns
    the names of those that stay.
    """

    def __init__(self, remove: Callable[[JobFolder], None], remove_orphans: Callable[[], Sequence[str]]) -> None:
        self._remove, self._remove_orphans = remove, remove_orphans
        self._folders: list[JobFolder] = []
        self._orphans: Sequence[str] | None = None
        """`None`: not known yet."""

    def keep(self, folder: JobFolder) -> None:
        """Remove the folder of a job that is over as soon as its container is gone."""
        self._folders.append(folder.__enter__())

    def look_for_orphans(self) -> None:
        """Remove the containers without a folder. Raises `Unavailable` if the engine does not list them."""
        self._orphans = self._remove_orphans()

    def reason_against(self) -> str | None:
        """Try again; why the next job has to wait, `None` if nothing stays."""
        if (reason := self._reason_of_folders()) is not None:
            return reason
        if self._orphans is None or self._orphans:
            try:
                self.look_for_orphans()
            except (JobFailed, Unavailable) as error:
                return f"the engine does not list the containers ({error})"
        if self._orphans:
            return f"the container {self._orphans[0]} of a former job cannot be removed. If that lasts, restart Docker"
        return None

    def reason_against_resuming(self) -> str | None:
        """Try again; why a job that was left behind has to wait. It does not wait for what is not known yet."""
        return self.reason_against() if self._folders or self._orphans else None

    def _reason_of_folders(self) -> str | None:
        for folder in list(self._folders):
            try:
                self._remove(folder)
            except (Cancelled, JobFailed, Unavailable) as error:
                return (
                    f"the container of job {folder.job_id} cannot be removed ({error}). If that lasts, restart Docker"
                )
            self._folders.remove(folder)
            folder.remove()
            folder.__exit__(None, None, None)
            log.info("job %s: removed the container that stayed", folder.job_id)
        return None
