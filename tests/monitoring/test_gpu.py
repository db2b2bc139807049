"""The GPU's last hour, by NVML: a GPU that does not answer, or tells less, harms nobody."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from job_fetcher.core.errors import GpuUnavailable
from job_fetcher.core.events import GpuFound
from job_fetcher.monitoring.gpu import SAMPLES, GpuWatch
from job_fetcher.monitoring.snapshot import GpuSample
from tests.support.nvml import Gpu, NvmlStub

FOUND = GpuFound("GPU-1", "RTX", 1000)


def look(uuid: str) -> GpuSample:
    return GpuSample(at=datetime.now(UTC), utilisation_percent=50)


def lost(uuid: str) -> GpuSample:
    raise GpuUnavailable("GPU is lost")


def test_without_a_gpu_there_is_nothing_to_see() -> None:
    watch = GpuWatch(lambda: None, look)
    watch.sample()
    assert watch.state() is None


def test_an_hour_is_kept_and_no_more() -> None:
    watch = GpuWatch(lambda: FOUND, look)
    for _ in range(SAMPLES + 10):
        watch.sample()
    state = watch.state()
    assert state is not None
    assert (len(state.samples), state.answers, state.model) == (SAMPLES, True, "RTX")


def test_gpu_that_is_lost_is_told_and_comes_back() -> None:
    looks = iter([look, lost, look])
    watch = GpuWatch(lambda: FOUND, lambda uuid: next(looks)(uuid))
    told = []
    for _ in range(3):
        watch.sample()
        state = watch.state()
        assert state is not None
        told.append((state.answers, state.samples[-1].utilisation_percent))
    assert told == [(True, 50), (False, None), (True, 50)]


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ({}, "memory_used_mib=300"),
        ({"nvmlDeviceGetUtilizationRates": 3, "nvmlDeviceGetTemperature": 3}, "utilisation_percent=None"),
        ({"nvmlDeviceGetMemoryInfo": 3}, "memory_used_mib=None"),
        ({"nvmlInit": 9}, "GpuUnavailable"),
        ({"nvmlDeviceGetMemoryInfo": 15}, "GpuUnavailable"),
    ],
)
def test_gpu_tells_what_its_driver_knows(nvml: NvmlStub, failures: dict[str, int], said: str) -> None:
    nvml.show(Gpu(used_mib=300), failures=failures)
    code = f"from job_fetcher.engine.gpu_sample import sample; print(sample({Gpu().uuid!r}))"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=nvml.environment, check=False, capture_output=True, text=True
    )
    assert said in ran.stdout + ran.stderr
