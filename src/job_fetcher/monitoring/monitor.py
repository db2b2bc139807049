"""Starts what watches the worker: the recorder, the history, the GPU's samples, the status file, and the page."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydantic import SecretStr

from job_fetcher.config.settings import Settings, described
from job_fetcher.core import events
from job_fetcher.core.background import in_background
from job_fetcher.core.version import worker_version
from job_fetcher.monitoring import gpu, progress_bars, status_file
from job_fetcher.monitoring.history import HISTORY, History
from job_fetcher.monitoring.log_tail import LogTail
from job_fetcher.monitoring.recorder import Recorder
from job_fetcher.workspace.disk import free_bytes

PATIENCE_S = 2.0
"""What watches the worker waits so many seconds for its start. A start that takes longer can be watched."""

log = logging.getLogger(__name__)


def start(settings: Settings) -> None:
    """Listen from now on, in threads that end with the process. It never raises: jobs run without a page, too."""
    try:
        _start(settings)
    except Exception:
        log.exception("The worker does not watch itself: an unforeseen error. Its jobs go on")


def _start(settings: Settings) -> None:
    base = Path(settings.path_base)
    recorder = Recorder(
        worker_version=worker_version(),
        account=f"{settings.username or 'ACCESS_TOKEN'} at {settings.api_url}",
        settings=shown(settings),
        reserve_bytes=settings.min_free,
        free_bytes=partial(_free_bytes, base),
    )
    watch = gpu.GpuWatch(lambda: recorder.gpu, gpu.look)
    recorder.gpu_state = watch.state
    history = History(base / HISTORY)
    recorder.when_over = history.add
    events.listen(recorder)
    started = _started()
    keep("gpu-samples", watch.run, started)
    keep("status-file", partial(status_file.keep_writing, status_file.path_for(base), recorder.status), started)
    keep("progress", partial(progress_bars.keep_showing, recorder), started)
    if settings.status_port:
        keep("page", partial(_serve, settings.status_port, recorder, history), started)


def _started() -> threading.Event:
    """Set when the worker has asked for a job, or goes on with one."""
    started = threading.Event()

    def hear(event: events.Event) -> None:
        if isinstance(event, events.Polled | events.JobBegan):
            started.set()

    events.listen(hear)
    return started


def keep(name: str, work: Callable[[], None], started: threading.Event | None = None) -> None:
    """Do `work`, which does not end, in a thread `name`. If it ends by an error, the log says so once.

    It begins when the worker has `started`, or after `PATIENCE_S`: it shares a processor with the start.
    """

    def run() -> None:
        try:
            if started is not None:
                started.wait(PATIENCE_S)
            work()
        except BaseException:
            log.exception("The thread `%s` has ended: an unforeseen error. The jobs go on", name)

    in_background(run, name)


def _serve(port: int, recorder: Recorder, history: History) -> None:
    from job_fetcher.monitoring.server import serve  # the server's packages take a while, in this thread alone

    serve(port, recorder, history, LogTail(recorder).text)


def shown(settings: Settings) -> dict[str, str]:
    """The settings as the page shows them: of a secret only that it is set."""
    values = {name: getattr(settings, name) for name in described()}
    return {
        name.upper(): "(set)" if isinstance(value, SecretStr) else str(value)
        for name, value in values.items()
        if value is not None
    }


def _free_bytes(base: Path) -> int | None:
    with suppress(OSError):
        return free_bytes(base)
    return None
