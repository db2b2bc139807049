"""Short-lived containers that find out what a job's container would see of this machine."""

import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from docker.errors import NotFound

from job_fetcher.core.errors import EngineUnavailable, JobFailed, JobFetcherError, SettingsError
from job_fetcher.engine import logins
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.engine.hardware import Gpu
from job_fetcher.engine.isolation import ISOLATION, LABEL_BUILD, device_requests, image_labels, labelled
from job_fetcher.engine.own_container import own_image

_OURS = re.compile(r"(localhost/|docker\.io/library/)?job-fetcher:")
"""What `docker-build` calls the worker's own images: a label alone may be on a job's, which is not to be trusted.

Podman writes `localhost/` before the name of an image that was built on the machine, and Docker Hub's full name before
one that was built through its Docker API.
"""
FALLBACK = "busybox:latest"
IMAGES = 3
"""So many images are tried, one after the other, while somebody removes them: by an update, or a clean-up."""
PROBE = {LABEL_BUILD: "probe"}
PROBE_S, LINES = 60, 100
LEAST_MIB = 64
"""MiB of a container that is not started: more than any engine's least."""
LIST_GPUS = "nvidia-smi -L || { [ $? -ge 126 ] && cat /proc/driver/nvidia/gpus/*/information; }"
"""NVIDIA's container toolkit gives a container both, with the UUIDs of its GPUs. The program asks the GPU itself, but
does not run in an image without glibc (126, 127)."""


class ProbeFailed(JobFetcherError):
    """A container does not start, or does not do what it should. The message says why."""


class NoImage(ProbeFailed):
    """No image is there to try a container with. That says nothing about containers."""


def image(client: Client, *, may_pull: bool = True) -> str:
    """An image with a shell: this container's own, or one of the worker's that was built here, or `busybox`.

    Raises `NoImage` if there is none, and none can or `may_pull` be pulled.
    """
    own = own_image(client)
    if own is not None:
        return own
    try:
        with translate_errors("list the images"):
            built: list[dict[str, Any]] = client.images(filters={"label": f"{LABEL_BUILD}=worker"})
        ours = [each for each in built if any(_OURS.match(tag) for tag in each["RepoTags"] or [])]
        if ours:
            return str(max(ours, key=lambda each: each["Created"])["Id"])
        with translate_errors(f"look for {FALLBACK}"):
            if client.images(name=FALLBACK):
                return FALLBACK
        if not may_pull:
            raise NoImage("there is no image to try it with")
        with translate_errors(f"pull {FALLBACK}"):
            client.pull(FALLBACK, auth_config=dict(logins.find(logins.DOCKER_HUB).auth))
    except (Missing, JobFailed, EngineUnavailable) as error:
        raise NoImage(
            f"there is no image to try it with ({error}): build the worker's, with poetry run docker-build"
        ) from error
    return FALLBACK


def run(
    client: Client,
    image: str,
    line: str,
    *,
    folder: PurePosixPath | None = None,
    gpu: Gpu | None = None,
    network: str = "none",
) -> str:
    """Run a shell line in a container that is removed afterwards, and return what it prints; `ProbeFailed` otherwise.

    `folder` of the host is mounted at /probe; it has to be there.
    """
    try:
        host_config = client.create_host_config(
            mounts=[_mount(folder)] if folder else None,
            device_requests=device_requests(client, gpu),
            network_mode=network,
            **ISOLATION,
        )
        with translate_errors("start a container"):
            container = create(
                client, image, PROBE, entrypoint=["/bin/sh", "-c", line], command=[], user="0", host_config=host_config,
                environment={"NVIDIA_DRIVER_CAPABILITIES": "utility"},
            )["Id"]  # fmt: skip
            try:
                client.start(container)
                code = client.wait(container, timeout=PROBE_S)["StatusCode"]
                output = client.logs(container, tail=LINES).decode(errors="replace")
            finally:
                client.remove_container(container, v=True, force=True)
    except (Missing, JobFailed, EngineUnavailable) as error:
        raise ProbeFailed(str(error)) from error
    if code != 0:
        raise ProbeFailed(f"exit code {code}: {output.strip()[-300:]}")
    return str(output)


def create(
    client: Client, image_id: str, own_labels: Mapping[str, str], *, tries: int = IMAGES, **what: Any
) -> dict[str, Any]:
    """Create a container of an image that this module found; if that has just been removed, of another one here.

    Raises what docker-py does: call it within `translate_errors`.
    """
    try:
        labels = labelled(own_labels, image_labels(client, image_id))
        made: dict[str, Any] = client.create_container(image_id, **what, **labels)
        return made
    except NotFound:
        try:
            other = image(client, may_pull=False) if tries > 1 else None
        except NoImage:
            other = None
        if other is None:
            raise
    return create(client, other, own_labels, tries=tries - 1, **what)


def start_as_job(client: Client, network: str, gpu: Gpu | None) -> None:
    """Raise `ProbeFailed` if a container with a job's network and GPU does not start, or does not see the GPU."""
    seen = run(client, image(client), LIST_GPUS if gpu else "true", network=network, gpu=gpu)
    if gpu and gpu.uuid not in seen:
        raise ProbeFailed(f"a container with {gpu.uuid} sees other GPUs, or none")


def creation_warnings(client: Client) -> list[str]:
    """What the engine warns of when it creates a container with the limits of a job. None is started or pulled.

    Raises `NoImage`, and what `translate_errors` does.
    """
    probe_image = image(client, may_pull=False)
    limit = f"{LEAST_MIB}m"
    host_config = client.create_host_config(mem_limit=limit, memswap_limit=limit, network_mode="none", **ISOLATION)
    made = _make_and_remove(client, probe_image, host_config)
    return [str(each) for each in made.get("Warnings") or ()]


def is_seen(client: Client, on_host: PurePosixPath, here: Path) -> bool:
    """Whether the engine sees in `on_host` what this process makes in `here`.

    The engine looks when it creates a container. None is started, so this takes a tenth of the time of `same_folder`,
    which says what is wrong.
    """
    probe_image = image(client)
    with _folder_to_try(here) as folder:
        host_config = client.create_host_config(mounts=[_mount(on_host / folder.name)], **ISOLATION)
        try:
            _make_and_remove(client, probe_image, host_config)
        except (Missing, EngineUnavailable, JobFailed):
            return False
    return True


def same_folder(client: Client, on_host: PurePosixPath, here: Path) -> None:
    """Raise `SettingsError` if `on_host` of the engine's host is not the folder that this process sees as `here`.

    A container mounts a new folder in it, which no other folder has, and writes to it.
    """
    with _folder_to_try(here) as folder:
        try:
            run(client, image(client), "echo seen > /probe/file", folder=on_host / folder.name)
            seen = (folder / "file").exists()
        except ProbeFailed as error:
            if "bind source path does not exist" not in str(error):
                raise
            seen = False
    if not seen:
        raise SettingsError(
            f"{on_host} of the engine's host is not the folder that the worker sees as PATH_BASE ({here}). In a"
            f" container mount it with -v {on_host}:{here} and leave PATH_HOST_BASE out. Outside of one choose a folder"
            " that the engine sees, too (Docker from a snap: one below your home)"
        )


def _make_and_remove(client: Client, image_id: str, host_config: dict[str, Any]) -> dict[str, Any]:
    """What the engine answers to the creation of a container, which is never started.

    Raises what `translate_errors` does.
    """
    with translate_errors("make a container"):
        made = create(client, image_id, PROBE, command=["true"], host_config=host_config)
        client.remove_container(made["Id"], v=True, force=True)
    return made


@contextmanager
def _folder_to_try(here: Path) -> Iterator[Path]:
    """A new folder in `here` with a random name, which any user may write to."""
    folder = here / f".probe-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o777)
    try:
        folder.chmod(0o777)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _mount(folder: PurePosixPath) -> Any:
    """A bind mount at /probe: unlike `-v`, it makes no folder on the host."""
    return {"Type": "bind", "Source": str(folder), "Target": "/probe"}
