"""The jobs that an earlier start has left behind, one after the other; the others are kept alive while they wait.

The API gives up a job after 300 s of silence (`TIMEOUT_FAILURE`), and the job before may take longer than that.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from job_fetcher.config.settings import Reporting
from job_fetcher.core.job import JobStatus
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.shutdown import Shutdown
from job_fetcher.workspace.job_folder import JobFolder


def in_turn(
    folders: Iterable[JobFolder],
    api: WorkerApi,
    shutdown: Shutdown,
    reporting: Reporting,
    wait_for_machine: Callable[[JobFolder], None] = lambda _: None,
) -> Iterator[JobFolder]:
    """Each folder, held until the next one is asked for.

    The jobs that need the least come first: a last status on its way, then outputs. Nothing keeps a job alive that has
    only its last status to send, and behind a command it would wait for hours.
    `wait_for_machine` returns when the machine is free for the job, which is kept alive meanwhile.
    """
    held, waiting = sorted(folders, key=_what_is_left), ExitStack()
    kept_alive: dict[str, ExitStack] = {}
    with waiting:
        for folder in held:
            waiting.enter_context(folder)
        for folder in held[1:]:
            if folder.state.final is None:
                kept_alive[folder.job_id] = waiting.enter_context(ExitStack())
                cancelled = kept_alive[folder.job_id].enter_context(shutdown.job())
                status, interval_s = first_status(folder), reporting.timeout_status
                alive = KeepAlive(api, folder.job_id, status, cancelled, interval_s, resumed=True)
                kept_alive[folder.job_id].enter_context(alive)
        for folder in held:
            wait_for_machine(folder)
            if folder.job_id in kept_alive:
                kept_alive.pop(folder.job_id).close()
            yield folder


def _what_is_left(folder: JobFolder) -> tuple[bool, bool]:
    """Sorts jobs by what is left to do: the last status, the outputs, the command."""
    return folder.state.final is None, not folder.state.has_ended


def first_status(folder: JobFolder) -> JobStatus:
    """The first status to send for a job, by what its folder knows."""
    if folder.state.has_ended:
        return JobStatus.POSTPROCESSING
    return JobStatus.RUNNING if folder.state.runs else JobStatus.PREPROCESSING
