"""What moves now, for whoever reads the log: bars on a terminal, else a line at most every 30 s."""

import logging
import sys
import threading
import time
from collections.abc import Iterable

from job_fetcher.core.events import Transfer
from job_fetcher.monitoring import words
from job_fetcher.monitoring.recorder import Recorder
from job_fetcher.monitoring.snapshot import JobNow, Progress

LINE_EVERY_S = 30.0
BAR_EVERY_S = 0.5
_VERBS = {Transfer.PULL: "pulling", Transfer.DOWNLOAD: "downloading", Transfer.UPLOAD: "uploading"}

log = logging.getLogger(__name__)


def keep_showing(recorder: Recorder) -> None:
    """Show for ever what moves."""
    if sys.stderr.isatty():
        _keep_drawing(recorder)
    else:
        _keep_logging(recorder)


def lines(jobs: Iterable[JobNow]) -> list[str]:
    """`job 17: downloading: the inputs: 1.2 GiB of 3.4 GiB, 35.1 MiB/s, 1 min 3 s left`, one for each transfer."""
    return [f"{_named(job, each.transfer)}: {words.progress(each)}" for job in jobs for each in job.progress]


def _keep_logging(recorder: Recorder) -> None:
    pause = threading.Event()
    while not pause.wait(LINE_EVERY_S):
        for line in lines(recorder.jobs()):
            log.info("%s", line)


def _keep_drawing(recorder: Recorder) -> None:
    """Draw a bar for each transfer, below the lines of the log, which go on above them."""
    from rich import progress  # a worker without a terminal needs none of it
    from rich.console import Console

    console, pause = Console(stderr=True), threading.Event()
    while not pause.wait(BAR_EVERY_S):
        if not _moving(recorder):
            continue
        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=console, transient=True, auto_refresh=False) as bars:
            tasks: dict[str, progress.TaskID] = {}
            while moving := _moving(recorder):
                for name in tasks.keys() - moving.keys():
                    bars.remove_task(tasks.pop(name))
                for name, each in moving.items():
                    if name not in tasks:
                        tasks[name] = bars.add_task(name, total=None)
                    bars.update(tasks[name], completed=each.done_bytes, total=each.total_bytes)
                bars.refresh()
                time.sleep(BAR_EVERY_S)


def _moving(recorder: Recorder) -> dict[str, Progress]:
    """What moves now, by its name."""
    return {_named(job, each.transfer): each for job in recorder.jobs() for each in job.progress}


def _named(job: JobNow, transfer: Transfer) -> str:
    return f"job {job.job_id}: {_VERBS[transfer]}"
