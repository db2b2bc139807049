"""The GPU's last hour: a sample every 10 s, in a thread of its own, since a driver may hang."""

import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

from job_fetcher.core.errors import GpuUnavailable
from job_fetcher.core.events import GpuFound
from job_fetcher.monitoring.snapshot import GpuSample, GpuState

EVERY_S = 10.0
SAMPLES = 360
"""An hour."""


class GpuWatch:
    """Samples the GPU that `found` tells, once it is known. `look` takes its UUID, and raises `GpuUnavailable`."""

    def __init__(self, found: Callable[[], GpuFound | None], look: Callable[[str], GpuSample]) -> None:
        self._found, self._look = found, look
        self._samples: deque[GpuSample] = deque(maxlen=SAMPLES)
        self._answers = True
        self._lock = threading.Lock()

    def run(self) -> None:
        """Sample for ever."""
        pause = threading.Event()
        while not pause.wait(EVERY_S if self._found() else 1.0):
            self.sample()

    def sample(self) -> None:
        """Look at the GPU now, if there is one."""
        gpu = self._found()
        if gpu is None:
            return
        try:
            found = self._look(gpu.uuid)
        except GpuUnavailable:
            with self._lock:
                self._answers = False
                self._samples.append(GpuSample(at=datetime.now(UTC)))
        else:
            with self._lock:
                self._answers = True
                self._samples.append(found)

    def state(self) -> GpuState | None:
        """What is known of it."""
        gpu = self._found()
        if gpu is None:
            return None
        with self._lock:
            return GpuState(
                model=gpu.model, memory_mib=gpu.memory_mib, answers=self._answers, samples=tuple(self._samples)
            )


def look(uuid: str) -> GpuSample:
    """A look at the GPU by NVML. Raises `GpuUnavailable`."""
    from job_fetcher.engine.gpu_sample import sample  # NVML's module takes a while

    seen = sample(uuid)
    return GpuSample(
        at=datetime.now(UTC),
        utilisation_percent=seen.utilisation_percent,
        memory_used_mib=seen.memory_used_mib,
        temperature_celsius=seen.temperature_celsius,
    )
