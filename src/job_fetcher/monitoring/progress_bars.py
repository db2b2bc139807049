"""What moves now, for whoever reads the log: bars on a terminal, else a line at most every 30 s."""

import logging
import sys
import threading
import time

from job_fetcher.core.events import Transfer
from job_fetcher.monitoring import words
from job_fetcher.monitoring.recorder import Recorder
from job_fetcher.monitoring.snapshot import JobNow

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


def lines(job: JobNow) -> list[str]:
    """`job 17: downloading: the inputs: 1.2 GiB of 3.4 GiB, 35.1 MiB/s, 1 min 3 s left`, one for each transfer."""
    return [f"job {job.job_id}: {_VERBS[each.transfer]}: {words.progress(each)}" for each in job.progress]


def _keep_logging(recorder: Recorder) -> None:
    pause = threading.Event()
    while not pause.wait(LINE_EVERY_S):
        job = recorder.job()
        for line in lines(job) if job else ():
            log.info("%s", line)


def _keep_drawing(recorder: Recorder) -> None:
    """Draw a bar for each transfer, below the lines of the log, which go on above them."""
    from rich import progress  # a worker without a terminal needs none of it
    from rich.console import Console

    console, pause = Console(stderr=True), threading.Event()
    while not pause.wait(BAR_EVERY_S):
        if (job := recorder.job()) is None or not job.progress:
            continue
        columns = (
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
        )
        with progress.Progress(*columns, console=console, transient=True, auto_refresh=False) as bars:
            tasks: dict[Transfer, progress.TaskID] = {}
            while (job := recorder.job()) and job.progress:
                for each in job.progress:
                    if each.transfer not in tasks:
                        tasks[each.transfer] = bars.add_task(f"job {job.job_id}: {_VERBS[each.transfer]}", total=None)
                    bars.update(tasks[each.transfer], completed=each.done_bytes, total=each.total_bytes)
                bars.refresh()
                time.sleep(BAR_EVERY_S)
