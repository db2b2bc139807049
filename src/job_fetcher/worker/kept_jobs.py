"""Jobs that stay although the worker runs on: their command has ended, and the engine, the disk or the API failed then.

The worker goes on with them as its next start would: before it asks for the next job, or behind the one that runs. The
API gives up a job after 300 s of silence (`TIMEOUT_FAILURE`), and gives it to another account.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from job_fetcher.workspace.job_folder import JobFolder

MAX_WAIT_S = 120.0
"""Longest wait between two tries: the API has not given the job up by then."""
MAX_TRIES = 5
"""After so many tries in vain for one job the worker asks for others meanwhile."""


@dataclass(frozen=True)
class _Kept:
    folder: JobFolder
    due: float
    """When to try again, on the monotonic clock."""


class KeptJobs:
    """The folders of jobs that stay, held by this process. `first_wait_s`: the waits grow from here."""

    def __init__(self, first_wait_s: float) -> None:
        self._first_wait_s = first_wait_s
        self._kept: list[_Kept] = []
        self._tries: Counter[str] = Counter()
        self._lock = threading.Lock()

    def keep(self, folder: JobFolder) -> None:
        """Hold the folder of a job that is not over. Its first try is due at once, each further one later."""
        tries = self._tries[folder.job_id]
        wait_s = min(self._first_wait_s * 2.0 ** (tries - 1), MAX_WAIT_S) if tries else 0
        self._kept.append(_Kept(folder.__enter__(), time.monotonic() + wait_s))

    @property
    def keep_the_next_job_away(self) -> bool:
        """Whether no other job may come now: what has failed for one of these would fail for it, too."""
        return any(self._tries[each.folder.job_id] < MAX_TRIES for each in self._kept)

    def are_due(self, *, behind: bool) -> bool:
        """Whether one is due. `behind` another job that runs: one that needs no container any more."""
        return bool(self._due(behind))

    def resume(self, run: Callable[[JobFolder], None], *, behind: bool = False) -> None:
        """Call `run` with each folder that is due. It keeps the folder once more if the job is not over yet."""
        for each in self._due(behind):
            with self._lock:
                if each not in self._kept:  # another thread has taken it
                    continue
                self._kept.remove(each)
            job_id = each.folder.job_id
            self._tries[job_id] += 1
            each.folder.keep()  # what the disk may not have taken before
            try:
                run(each.folder)
            finally:
                each.folder.__exit__(None, None, None)
            if all(kept.folder is not each.folder for kept in self._kept):
                del self._tries[job_id]

    def _due(self, behind: bool) -> list[_Kept]:
        now = time.monotonic()
        return [
            kept
            for kept in list(self._kept)
            if kept.due <= now and (not behind or kept.folder.state.outcome is not None)
        ]
