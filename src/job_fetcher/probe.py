"""Short-lived containers that find out what a job's container would see of this machine."""

import logging
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from job_fetcher import engine
from job_fetcher.confinement import device_requests
from job_fetcher.engine import Client, Missing, our_errors
from job_fetcher.errors import EngineUnavailable, JobFailed, JobFetcherError
from job_fetcher.hardware import Gpu

LABEL_BUILD = "job-fetcher.build"
"""Of the worker's own images; `worker` is what the Dockerfile says."""
FALLBACK = "busybox:latest"
PROBE_S = 60
LIST_GPUS = "nvidia-smi -L || cat /proc/driver/nvidia/gpus/*/information"
"""NVIDIA's container toolkit brings both into a container, of the cards that this may use: with their UUIDs."""

log = logging.getLogger(__name__)


class ProbeFailed(JobFetcherError):
    """A container cannot be started, or does not do what it should; the message says why."""


def image(client: Client) -> str:
    """An image with a shell: this container's own, or one of the worker's that was built here, or `busybox`.

    Raises `ProbeFailed` if there is none and none can be pulled.
    """
    own = engine.own_image(client)
    if own is not None:
        return own
    try:
        with our_errors("list the images"):
            built: list[dict[str, Any]] = client.images(filters={"label": f"{LABEL_BUILD}=worker"})
        if built:
            return str(max(built, key=lambda each: each["Created"])["Id"])
        with our_errors(f"pull {FALLBACK}"):
            client.pull(FALLBACK)
    except (Missing, JobFailed, EngineUnavailable) as error:
        raise ProbeFailed(f"there is no image to try it with ({error}). First: poetry run docker-build") from error
    return FALLBACK


def run(
    client: Client,
    image: str,
    line: str,
    *,
    binds: Mapping[PurePosixPath, str] | None = None,
    gpu: Gpu | None = None,
) -> str:
    """Run a shell line in a container that is removed afterwards, and return what it prints; `ProbeFailed` otherwise.

    `binds`: folders of the host, and where they are mounted.
    """
    host_config = client.create_host_config(
        binds={str(host): {"bind": there, "mode": "rw"} for host, there in (binds or {}).items()},
        device_requests=device_requests(gpu),
        network_mode="none",
    )
    try:
        with our_errors("start a container"):
            container = client.create_container(
                image, entrypoint=["/bin/sh", "-c", line], command=[], user="0", labels={LABEL_BUILD: "probe"},
                environment={"NVIDIA_DRIVER_CAPABILITIES": "utility"}, host_config=host_config,
            )["Id"]  # fmt: skip
            try:
                client.start(container)
                code = client.wait(container, timeout=PROBE_S)["StatusCode"]
                output = client.logs(container).decode(errors="replace")
            finally:
                client.remove_container(container, v=True, force=True)
    except (Missing, JobFailed, EngineUnavailable) as error:
        raise ProbeFailed(str(error)) from error
    if code != 0:
        raise ProbeFailed(f"exit code {code}: {output.strip()[-300:]}")
    return str(output)


def see_gpu(client: Client, gpu: Gpu) -> None:
    """Raise `ProbeFailed` if a container that asks for the card does not see it."""
    if gpu.uuid not in run(client, image(client), LIST_GPUS, gpu=gpu):
        raise ProbeFailed(f"a container with {gpu.uuid} sees other cards, or none")
