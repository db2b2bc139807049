"""What this machine offers to jobs: its GPU, as NVML describes it (NVIDIA Management Library API reference).

The engine knows the CPUs and the memory (`client.machine`): jobs run where the engine is, which may be elsewhere.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pynvml

from job_fetcher.core.errors import GpuError, GpuUnavailable
from job_fetcher.core.events import GpuFound, tell

log = logging.getLogger(__name__)

_ARCHITECTURES = {
    value: name.removeprefix("NVML_DEVICE_ARCH_").capitalize()
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_DEVICE_ARCH_") and name != "NVML_DEVICE_ARCH_UNKNOWN"
}

_NO_DRIVER = (pynvml.NVMLError_LibraryNotFound, pynvml.NVMLError_DriverNotLoaded)


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
    """The first GPU that this process may see; `None` without a GPU or a driver. Raises `GpuError` as `gpus` does.

    A worker runs one job at a time and gives it one GPU, so that a machine with several runs a worker for each.
    """
    found = gpus()
    if len(found) > 1:
        log.warning(
            "This worker sees %d GPUs and uses the first, %s: start a worker for each", len(found), found[0].model
        )
    if found:
        tell(GpuFound(found[0].uuid, found[0].model, found[0].memory_mib))
    return found[0] if found else None


def gpus() -> list[Gpu]:
    """The GPUs that this process may see; none without a driver, which is normal.

    Raises `GpuError` if the driver fails: a worker that went on without the GPU would never use it again.
    """
    try:
        with nvml():
            return [_gpu(pynvml.nvmlDeviceGetHandleByIndex(index)) for index in range(pynvml.nvmlDeviceGetCount())]
    except GpuUnavailable as error:
        if isinstance(error.__cause__, _NO_DRIVER):
            log.info("No GPU is offered: %s", error)
            return []
        raise GpuError(f"The GPU's driver does not work ({error}): restart the machine, or install it anew") from error


def used_mib(gpu: Gpu) -> int:
    """MiB of the GPU's memory that processes hold, also those of other containers. Raises `GpuUnavailable`.

    In a container NVML lists none of the processes outside of it: then all that is in use counts.
    """
    with nvml():
        handle = pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid)
        in_use = used(handle)
        with suppress(pynvml.NVMLError):  # not supported everywhere (WSL)
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
            processes += pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)
            by_pid = {process.pid: process.usedGpuMemory for process in processes}
            if by_pid and None not in by_pid.values():
                in_use = sum(by_pid.values())
        return in_use // 2**20


def used(handle: object) -> int:
    """Bytes of the GPU that are in use. Drivers from 510 on do not count their own."""
    try:
        in_use: int = pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2).used
    except pynvml.NVMLError_FunctionNotFound:
        in_use = pynvml.nvmlDeviceGetMemoryInfo(handle).used
    return in_use


@contextmanager
def nvml() -> Iterator[None]:
    """NVML, for this block. Raises `GpuUnavailable` for its errors."""
    try:
        pynvml.nvmlInit()
        try:
            yield
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise GpuUnavailable(str(error).rstrip(".")) from error


def _gpu(handle: object) -> Gpu:
    with suppress(pynvml.NVMLError):  # a GPU, or a driver, that has no parts
        if pynvml.nvmlDeviceGetMigMode(handle)[0] == pynvml.NVML_DEVICE_MIG_ENABLE:
            raise GpuError("The GPU is partitioned (MIG), and jobs cannot use a partition. Run `nvidia-smi -mig 0`")
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


def fits(offer: Mapping[str, str | int], wanted: Mapping[str, Any]) -> bool:
    """Whether a machine with `offer` (see there) suffices for a job's `hardware`, as the platform decides that.

    Numbers have to suffice, names have to be equal; `null` matches everything.
    """
    enough = all(
        not isinstance(number := wanted.get(name), int | float) or number <= int(offer.get(name, 0))
        for name in ("cpu_cores", "memory", "gpu_mem")
    )
    return enough and all(wanted.get(name) in (None, offer.get(name)) for name in ("gpu_model", "gpu_archi"))


def offer(
    machine: Machine, gpu: Gpu | None, *, model: str | None = None, archi: str | None = None
) -> dict[str, str | int]:
    """The query parameters of `GET /jobs`, memory in MiB. `model` and `archi` replace what the driver says."""
    parameters: dict[str, str | int] = {"cpu_cores": machine.cpu_cores, "memory": machine.memory_mib}
    if gpu is not None:
        parameters |= {"gpu_mem": gpu.memory_mib, "gpu_model": model or gpu.model}
        if archi or gpu.archi:
            parameters["gpu_archi"] = archi or gpu.archi or ""
    return parameters
