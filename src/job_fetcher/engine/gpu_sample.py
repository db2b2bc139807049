"""One look at a GPU: utilisation, memory and temperature, by NVML (NVIDIA Management Library API reference)."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pynvml

from job_fetcher.engine import hardware


@dataclass(frozen=True)
class Sample:
    """The GPU at one moment; `None` for what its driver does not tell. MiB of memory, whoever uses it."""

    utilisation_percent: int | None
    memory_used_mib: int | None
    temperature_celsius: int | None


def sample(uuid: str) -> Sample:
    """Ask the GPU with that UUID. Raises `GpuUnavailable` if it does not answer."""
    with hardware.nvml():
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        used: int | None = _told(lambda: hardware.used(handle))
        return Sample(
            utilisation_percent=_told(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            memory_used_mib=None if used is None else used // 2**20,
            temperature_celsius=_told(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)),
        )


def _told(ask: Callable[[], Any]) -> Any:
    """The answer; `None` where this GPU, or its driver, has none. A GPU that is lost raises."""
    with suppress(pynvml.NVMLError_NotSupported, pynvml.NVMLError_FunctionNotFound, pynvml.NVMLError_NoPermission):
        return ask()
    return None
