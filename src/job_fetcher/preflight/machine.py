"""The checks of this machine: its disks and its GPU."""

import sys
from pathlib import Path

from job_fetcher.config.settings import Settings
from job_fetcher.core.errors import GpuUnavailable
from job_fetcher.engine import hardware, image_cleanup, isolation, probe
from job_fetcher.engine.client import Client
from job_fetcher.engine.engine_info import ContainerRoot, describe
from job_fetcher.engine.product import Product
from job_fetcher.preflight.finding import Failed
from job_fetcher.workspace.disk import GIB, MIN_FREE_INODES, free_bytes, free_inodes

NO_GPU = (
    "none. Jobs that need one can come all the same, since most jobs do not name it: allow only images that need none"
    " (ALLOWED_IMAGES). If this machine has one: install its driver and the toolkit, and add --gpus '\"device=0\"'"
)
SET_UP = "nvidia-ctk runtime configure --runtime=docker, then systemctl restart docker"
SET_UP_ROOTLESS = (
    "nvidia-ctk runtime configure --runtime=docker --config=$HOME/.config/docker/daemon.json, then"
    " sudo nvidia-ctk config --set nvidia-container-cli.no-cgroups --in-place, then systemctl --user restart docker"
)
WRITE_CDI = "write it anew with sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"


def check_disk(settings: Settings, client: Client) -> str:
    """Whether the disks of PATH_BASE and of the engine have room for a job."""
    free = []
    for what, folder in (
        ("PATH_BASE", Path(settings.path_base)),
        (client.product.value, image_cleanup.disk(client)),
    ):
        free_here = free_bytes(folder)
        free.append(f"{free_here / GIB:.1f} GiB free for {what}" if free_here < sys.maxsize else f"no limit for {what}")
        if free_here < settings.min_free:
            raise Failed(
                f"Only {free[-1]} ({folder}), less than MIN_FREE_GIB ({settings.min_free_gib:g}): make room,"
                " move it to a larger disk, or lower MIN_FREE_GIB"
            )
        if free_inodes(folder) < MIN_FREE_INODES:
            raise Failed(f"The disk of {what} ({folder}) has less than {MIN_FREE_INODES} free inodes: remove files")
    return ", ".join(free)


def find_gpu() -> tuple[hardware.Gpu | None, str]:
    """The GPU that jobs get, and its line."""
    try:
        gpus = hardware.gpus()
        if not gpus:
            return None, NO_GPU
        gpu = gpus[0]
        hardware.used_mib(gpu)
    except GpuUnavailable as error:
        raise Failed(f"The GPU's driver does not work ({error}): restart the machine, or install it anew") from error
    others = f", the first of {len(gpus)}: start a worker for each of them" if len(gpus) > 1 else ""
    return gpu, f"{gpu.model}, {gpu.memory_mib} MiB, {gpu.uuid}{others}"


def check_gpu_in_container(client: Client, gpu: hardware.Gpu | None) -> str:
    """Whether a container gets the GPU."""
    if gpu is None:
        return "none"
    try:
        probe.start_as_job(client, "none", gpu)
    except probe.ProbeFailed as error:
        raise Failed(f"{error} - {_gpu_cure(client, gpu, str(error))}") from error
    return f"a container sees {gpu.uuid}"


def _gpu_cure(client: Client, gpu: hardware.Gpu, error: str) -> str:
    """What lets this engine give a container the GPU, after `error`."""
    engine = describe(client)
    if engine.product is Product.PODMAN and not engine.takes_cdi:
        return "install Podman 5.4 or newer: older ones drop a request for a GPU"
    if isolation.uses_cdi(engine, gpu.uuid):
        return f"{engine.product.value} takes the GPU from NVIDIA's CDI file: {WRITE_CDI}"
    if engine.product is Product.DOCKER_DESKTOP:
        return "update Docker Desktop and the NVIDIA driver of Windows, then restart Windows"
    missing = "select device driver" in error
    do = "install NVIDIA's container toolkit" if missing else "set up NVIDIA's container toolkit anew"
    return f"{do}: {SET_UP_ROOTLESS if engine.root is ContainerRoot.ENGINE_USER else SET_UP}"
