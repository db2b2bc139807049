"""The worker's image: `poetry run docker-build`, `docker-run`, `docker-stop`, `docker-cleanup`.

The image is `<package>:<branch>`. What belongs to this package is told by labels, so that nothing else is ever touched:
`job-fetcher.build` of the Dockerfile, which a container has from its image, and `job-fetcher.folder` of a job's
container, the path of the job's folder on this machine.
"""

import argparse
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.types import DeviceRequest, LogConfig
from docker.utils import parse_env_file

ROOT = Path(__file__).resolve().parent.parent
LABEL_BUILD = "job-fetcher.build"
LABEL_FOLDER = "job-fetcher.folder"
SOCKET = "/var/run/docker.sock"
STOP_TIMEOUT_S = 30
"""For a worker that is stopped: it needs some seconds to stop its job's container and to hand the job back."""


class Failed(Exception):
    """A sentence for the person at the terminal."""


def build() -> None:
    """Build the image from the Dockerfile; prints what the build prints."""
    parser = _parser("Build the worker's image.")
    parser.add_argument("--tag", default=image_name(), help="name of the image (default: %(default)s)")
    options = parser.parse_args()
    _tell(lambda client: build_image(client, options.tag))


def run() -> None:
    """Run the image in the background, with the settings of an env file."""
    parser = _parser("Run the worker in the background; it comes back after a crash and after a restart.")
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="settings (default: %(default)s)")
    parser.add_argument("--gpus", default="auto", help="auto, all, none, or indices or UUIDs with commas between")
    parser.add_argument("--image", default=image_name(), help="the image to run (default: %(default)s)")
    parser.add_argument("--name", default=package()["name"], help="the container's name (default: %(default)s)")
    options = parser.parse_args()
    _tell(lambda client: run_worker(client, options.image, options.name, options.env_file, options.gpus))


def stop() -> None:
    """Stop and remove all containers of this package."""
    parser = _parser("Stop the workers, which hand their jobs back, and remove their containers and those they left.")
    parser.add_argument("--timeout", type=int, default=STOP_TIMEOUT_S, help="seconds until a worker is killed")
    options = parser.parse_args()
    _tell(lambda client: stop_workers(client, options.timeout))


def cleanup() -> None:
    """Remove all images of this package."""
    _parser("Remove the worker's images and what their builds left.").parse_args()
    _tell(remove_images)


def package() -> Any:
    """`project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def image_name() -> str:
    """`<package>:<branch>`; on no branch, the commit; outside of a clone, `latest`."""
    branch = _git("symbolic-ref", "--quiet", "--short", "HEAD") or _git("rev-parse", "--short", "HEAD")
    return f"{package()['name']}:{tag_of(branch or 'latest')}"


def tag_of(branch: str) -> str:
    """The branch as Docker allows it in a tag: `[A-Za-z0-9_.-]`, neither `.` nor `-` first, at most 128 characters."""
    return re.sub(r"[^\w.-]", "-", branch, flags=re.ASCII).lstrip(".-")[:128] or "latest"


def build_image(client: docker.DockerClient, tag: str) -> None:
    """Build `tag` with the engine's own builder. Raises `Failed` with the build's error."""
    arguments = {"VERSION": package()["version"], "REVISION": _git("rev-parse", "HEAD") or "unknown"}
    events = client.api.build(path=str(ROOT), tag=tag, buildargs=arguments, rm=True, forcerm=True, decode=True)
    for event in events:
        if "error" in event:
            raise Failed(f"{tag} was not built: {event['error'].strip()}")
        print(event.get("stream", ""), end="")
    print(f"Built {tag}. Run it with: poetry run docker-run")


def run_worker(client: docker.DockerClient, image: str, name: str, env_file: Path, gpus: str) -> None:
    """Start a worker's container and say how to follow it. Raises `Failed` with what is missing."""
    environment = read_environment(env_file)
    try:
        container = create_worker(client, image, name, environment, device_requests(client, gpus))
    except ImageNotFound:
        raise Failed(f"There is no image {image}: build it first, with poetry run docker-build") from None
    except APIError as error:
        raise Failed(_refusal(error, name)) from error
    try:
        client.api.start(container)
    except APIError as error:
        client.api.remove_container(container, force=True)
        raise Failed(_refusal(error, name)) from error
    print(f"{name} runs in the background. Its log: docker logs -f {name}")


def create_worker(
    client: docker.DockerClient, image: str, name: str, environment: dict[str, str], gpus: list[DeviceRequest]
) -> str:
    """The id of a worker's container, not started yet."""
    host_config = client.api.create_host_config(
        binds=[f"{host_socket()}:{SOCKET}", f"{environment['PATH_HOST_BASE']}:{environment['PATH_BASE']}"],
        device_requests=gpus,
        extra_hosts={"host.docker.internal": "host-gateway"},
        restart_policy={"Name": "unless-stopped"},
        log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "3"}),
    )
    container: dict[str, str] = client.api.create_container(
        image, name=name, environment=environment, host_config=host_config, stop_timeout=STOP_TIMEOUT_S
    )
    return container["Id"]


def read_environment(env_file: Path) -> dict[str, str]:
    """The variables of the worker, as `docker run --env-file` reads them, with both paths of the jobs' folder."""
    if not env_file.is_file():
        raise Failed(f"There is no {env_file}: copy .env.example to {env_file} and fill it in, or name another file.")
    environment: dict[str, str] = parse_env_file(str(env_file))
    base = environment.get("PATH_BASE") or "/data"
    host_base = os.environ.get("PATH_HOST_BASE") or environment.get("PATH_HOST_BASE") or base
    for name, path in (("PATH_BASE", base), ("PATH_HOST_BASE", host_base)):
        if not PurePosixPath(path).is_absolute():
            raise Failed(f"{name} is {path!r}: an absolute path is needed, such as /data")
    return environment | {"PATH_BASE": base, "PATH_HOST_BASE": host_base}


def host_socket() -> str:
    """The engine's socket on this machine, a rootless engine's too."""
    host = os.environ.get("DOCKER_HOST", "")
    return host.removeprefix("unix://") if host.startswith("unix://") else SOCKET


def device_requests(client: docker.DockerClient, gpus: str) -> list[DeviceRequest]:
    """What `docker run --gpus` asks for. `auto` is all of them, if this machine has NVIDIA's driver or runtime."""
    if gpus == "auto":
        has_gpus = shutil.which("nvidia-smi") or "nvidia" in client.info().get("Runtimes", {})
        gpus = "all" if has_gpus else "none"
    if gpus == "none":
        return []
    if gpus == "all":
        return [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return [DeviceRequest(device_ids=gpus.split(","), capabilities=[["gpu"]])]


def stop_workers(client: docker.DockerClient, timeout_s: int) -> None:
    """Stop and remove the workers, then the jobs' containers that no living worker holds."""
    for worker in _containers(client, f"{LABEL_BUILD}=worker"):
        print(f"Stopping {worker.name}")
        _stop(worker, timeout_s)
        _remove(worker)
    for probe in _containers(client, f"{LABEL_BUILD}=probe"):  # left by a worker that was killed meanwhile
        _remove(probe)
    for job in _containers(client, LABEL_FOLDER):
        if not is_held(Path(job.labels[LABEL_FOLDER])):
            print(f"Removing {job.name}, which a worker has left")
            _remove(job)


def _stop(worker: Container, timeout_s: int) -> None:
    """Stop it by SIGTERM: another stop signal, such as that of `compose.yaml`, would leave its job running."""
    never: Any = {"Name": "no"}
    worker.update(restart_policy=never)
    with suppress(APIError):  # it is not running
        worker.kill(signal="SIGTERM")
    with suppress(requests.RequestException):
        worker.wait(timeout=timeout_s)


def is_held(job_folder: Path) -> bool:
    """Whether a living worker, in a container or not, works on this job: it then holds the lock of its folder."""
    try:
        with (job_folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except (BlockingIOError, PermissionError):  # whoever may not look leaves it alone
        return True


def remove_images(client: docker.DockerClient) -> None:
    """Remove this package's images, the unnamed ones of its builds included. Raises `Failed` for one in use."""
    for image in client.images.list(filters={"label": LABEL_BUILD}):
        name = ", ".join(image.tags) or image.short_id
        try:
            image.remove(force=True)
        except APIError as error:
            raise Failed(f"{name} is not removed: {error.explanation}. First: poetry run docker-stop") from error
        print(f"Removed {name}")


def _containers(client: docker.DockerClient, label: str) -> Iterable[Container]:
    return client.containers.list(all=True, ignore_removed=True, filters={"label": label})


def _remove(container: Container) -> None:
    with suppress(NotFound):  # a worker that stops removes its job's container itself
        container.remove(force=True, v=True)


def _refusal(error: APIError, name: str) -> str:
    """The engine's reason, with what to do about the two usual ones."""
    said = str(error.explanation or error)
    if "could not select device driver" in said:
        return f"{said}. Install NVIDIA's container toolkit for the engine, or run without GPUs: --gpus none"
    if "already in use by container" in said:
        return f"There is a container {name} already: stop it with poetry run docker-stop, or give another --name"
    return said


def _git(*arguments: str) -> str | None:
    """What git says about this clone; `None` if it says nothing, or there is no git or clone."""
    git = shutil.which("git")
    if git is None:
        return None
    result = subprocess.run([git, "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return result.stdout.strip() or None


def _parser(description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=description)


def _tell(command: Callable[[docker.DockerClient], None]) -> None:
    """Run a command with a client of the engine; what goes wrong is told in a sentence."""
    try:
        client = docker.from_env()
        try:
            command(client)
        finally:
            client.close()
    except (Failed, DockerException) as error:
        sys.exit(str(error))
