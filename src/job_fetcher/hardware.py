"""What this machine offers to jobs: its GPU, as NVML tells (NVIDIA Management Library API reference).

The CPUs and the memory are the engine's to tell (`engine.machine`): jobs run there, not here.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pynvml

from job_fetcher.errors import GpuUnavailable

log = logging.getLogger(__name__)

_ARCHITECTURES = {
    value: name.removeprefix("NVML_DEVICE_ARCH_").capitalize()
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_DEVICE_ARCH_") and name != "NVML_DEVICE_ARCH_UNKNOWN"
}


@dataclass(frozen=True)
class Gpu:
    """One GPU. `uuid` is what names it in a container's device request; `archi` is e.g. `Ampere`."""

    uuid: str
    model: str
    memory_mib: int
    archi: str | None


@dataclass(frozen=True)
class Machine:
    """What jobs may have of the host where they run."""

    cpu_cores: int
    memory_mib: int


def find_gpu() -> Gpu | None:
    """The first GPU that this process may see; `None` without a GPU or a driver, which is normal.

    A worker runs one job at a time and gives it one GPU, so that a machine with several runs a worker for each.
    """
    try:
        found = gpus()
    except GpuUnavailable as error:
        log.warning("No GPU is offered: %s", error)
        return None
    if len(found) > 1:
        log.warning(
            "This worker sees %d GPUs and uses the first, %s: start a worker for each", len(found), found[0].model
        )
    return found[0] if found else None


def gpus() -> list[Gpu]:
    """The GPUs that this process may see; none without a driver. Raises `GpuUnavailable` if the driver fails."""
    try:
        with _nvml():
            return [_gpu(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(pynvml.nvmlDeviceGetCount())]
    except GpuUnavailable as error:
        if not isinstance(error.__cause__, pynvml.NVMLError_LibraryNotFound):
            raise
        log.info("No GPU is offered: %s", error)
        return []


def used_mib(gpu: Gpu) -> int:
    """MiB of the card's memory that processes hold, those of other containers included. Raises `GpuUnavailable`."""
    with _nvml():
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        used: int = pynvml.nvmlDeviceGetMemoryInfo(handle).used  # the driver's own included: better than nothing
        with suppress(pynvml.NVMLError):  # not supported on parts of a card (MIG)
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            processes += pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)
            by_pid = {process.pid: process.usedGpuMemory for process in processes}
            if None not in by_pid.values():
                used = sum(by_pid.values())
        return used // 2**20


@contextmanager
def _nvml() -> Iterator[None]:
    try:
        pynvml.nvmlInit()
        try:
            yield
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise GpuUnavailable(str(error).rstrip(".")) from error


def _gpu(handle: object) -> Gpu:
    try:
        archi = _ARCHITECTURES.get(pynvml.nvmlDeviceGetArchitecture(handle))
    except pynvml.NVMLError:  # a driver older than this function
        archi = None
    return Gpu(
        uuid=pynvml.nvmlDeviceGetUUID(handle),
        model=pynvml.nvmlDeviceGetName(handle),
        memory_mib=pynvml.nvmlDeviceGetMemoryInfo(handle).total // 2**20,
        archi=archi,
    )


def offer(
    machine: Machine, gpu: Gpu | None, *, model: str | None = None, archi: str | None = None
) -> dict[str, str | int]:
    """The query parameters of `GET /jobs`, memory in MiB. `model` and `archi` replace what the driver tells."""
    parameters: dict[str, str | int] = {"cpu_cores": machine.cpu_cores, "memory": machine.memory_mib}
    if gpu is not None:
        parameters |= {"gpu_mem": gpu.memory_mib, "gpu_model": model or gpu.model}
        if archi or gpu.archi:
            parameters["gpu_archi"] = archi or gpu.archi or ""
    return parameters
