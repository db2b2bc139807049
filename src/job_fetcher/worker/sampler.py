"""The thread that measures a running container and the GPU, once a second. It fails alone."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from job_fetcher.core.background import in_background
from job_fetcher.core.errors import GpuUnavailable
from job_fetcher.engine import engine_info, gpu_sample, hardware
from job_fetcher.engine.client import Client
from job_fetcher.engine.container_usage import ContainerUsage
from job_fetcher.engine.hardware import Gpu
from job_fetcher.worker.job_watch import JobWatch

INTERVAL_S = 1.0

log = logging.getLogger(__name__)


@contextmanager
def sampled(client: Client, container: str, gpu: Gpu | None, watch: JobWatch) -> Iterator[None]:
    """In this block `watch` hears what the container and the GPU do."""
    ended: Future[None] = Future()
    in_background(lambda: _run(client, container, gpu, watch, ended), "sampler")
    try:
        yield
    finally:
        ended.set_result(None)


def _run(client: Client, container: str, gpu: Gpu | None, watch: JobWatch, ended: "Future[None]") -> None:
    """Sample the GPU first: it needs no engine, and a command may be short."""
    with ExitStack() as open_while_sampling:
        if gpu is not None:
            with suppress(GpuUnavailable):  # to load the driver's library each second would cost much
                open_while_sampling.enter_context(hardware.nvml())
        look: Callable[[], object] | None = None
        last = time.monotonic()
        while True:
            now = time.monotonic()
            if gpu is not None:
                _try(partial(_sample_gpu, gpu, watch, now - last))
            last = now
            if look is None:
                look = _look_at(client, container, watch)
            _try(look)
            wait([ended], timeout=INTERVAL_S)
            if ended.done():
                return


def _look_at(client: Client, container: str, watch: JobWatch) -> Callable[[], object]:
    """Note what does not change, and return what notes the container's usage."""
    _try(lambda: watch.note_engine(engine_info.name(client)))
    usage = ContainerUsage(client, container)
    _try(lambda: watch.note_digest(usage.image_digest()))
    return lambda: watch.note_usage(usage.look())


def _sample_gpu(gpu: Gpu, watch: JobWatch, seconds: float) -> None:
    try:
        watch.note_gpu(gpu_sample.sample(gpu.uuid), seconds)
    except GpuUnavailable:
        watch.note_gpu(None, seconds)


def _try(look: Callable[[], object]) -> None:
    """What cannot be measured is not known, and costs nothing else."""
    try:
        look()
    except Exception as error:  # noqa: BLE001 - the job does not hear of it
        log.debug("The worker does not measure the job: %s", error)
