"""The worker's image: `poetry run docker-build`, `docker-run`, `docker-stop`, `docker-cleanup`.

The image is `<package>:<branch>`. Commands end with a sentence, and exit code 1, if something goes wrong.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO, Any

import docker
import requests
from docker.context import ContextAPI
from docker.errors import APIError, DockerException, ImageNotFound
from docker.types import DeviceRequest, LogConfig

from job_fetcher.engine.engine_info import EngineInfo
from job_fetcher.engine.isolation import CDI_KIND, uses_cdi
from scripts import removal
from scripts.env_file import variables

ROOT = Path(__file__).resolve().parent.parent
SOCKET = "/var/run/docker.sock"
HOST_BASE = "/srv/jobs"
"""Folder of this machine for the jobs, unless PATH_HOST_BASE names another."""
STOP_TIMEOUT_S = 30
"""For a worker to stop: it needs some seconds to stop its job's container and to requeue the job."""

START_S = 30
"""For a worker to start: one that has not ended by then counts as running."""
LINES = 20
"""How much of the log to show of a worker that ends at once."""


class Failed(Exception):
    """A sentence for the person at the terminal."""


def build() -> None:
    """Build the image from the Dockerfile; prints what the build prints."""
    parser = _parser("Build the worker's image.")
    parser.add_argument("--tag", default=image_name(), help="name of the image (default: %(default)s)")
    options = parser.parse_args()
    _tell(lambda client: build_image(client, options.tag))
    print(f"Run it with: poetry run docker-run --image {options.tag}")


def run() -> None:
    """Run the image in the background, with the settings of an env file."""
    parser = _parser("Run the worker in the background; Docker starts it again after a crash and after a reboot.")
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="settings (default: %(default)s)")
    parser.add_argument("--gpus", default="auto", help="auto (0, if there is one), all, none, or indices or UUIDs")
    parser.add_argument("--image", default=image_name(), help="the image to run (default: %(default)s)")
    parser.add_argument("--name", default=package()["name"], help="the container's name (default: %(default)s)")
    options = parser.parse_args()
    _tell(lambda client: run_worker(client, options.image, options.name, options.env_file, options.gpus))


def stop() -> None:
    """Stop and remove all containers of this package."""
    parser = _parser("Stop the workers, which requeue their jobs; remove their containers, and those that they left.")
    parser.add_argument("--timeout", type=int, default=STOP_TIMEOUT_S, help="seconds until a worker is killed")
    options = parser.parse_args()
    _tell(lambda client: _all_removed(removal.stop_workers(client, options.timeout)))


def cleanup() -> None:
    """Remove all images of this package, and the inputs that workers kept."""
    parser = _parser("Remove the worker's images, what their builds have left, and the inputs that workers kept.")
    parser.add_argument("--env-file", type=Path, default=Path(".env"), help="settings (default: %(default)s)")
    options = parser.parse_args()
    problems = removal.remove_cache(jobs_folder(options.env_file))
    _tell(lambda client: _all_removed(problems + removal.remove_images(client, package()["name"])))


def package() -> Any:
    """`project` of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def image_name() -> str:
    """`<package>:<branch>`; without a branch, the commit; outside of a clone, `latest`."""
    branch = _git("symbolic-ref", "--quiet", "--short", "HEAD") or _git("rev-parse", "--short", "HEAD")
    return f"{package()['name']}:{tag_of(branch or 'latest')}"


def tag_of(branch: str) -> str:
    """The branch as Docker allows it in a tag: `[A-Za-z0-9_.-]`, neither `.` nor `-` first, at most 128 characters."""
    return re.sub(r"[^\w.-]", "-", branch, flags=re.ASCII).lstrip(".-")[:128] or "latest"


def build_image(client: docker.DockerClient, tag: str, context: IO[bytes] | None = None, *, pull: bool = False) -> None:
    """Build `tag` with the engine's own builder, from this folder or from `context`, a tar. `pull`: its base, too.

    Raises `Failed` with the build's error.
    """
    arguments = {"VERSION": package()["version"], "REVISION": _git("rev-parse", "HEAD") or "unknown"}
    source: Any = {"fileobj": context, "custom_context": True} if context else {"path": str(ROOT)}
    for event in client.api.build(
        **source, tag=tag, buildargs=arguments, pull=pull, rm=True, forcerm=True, decode=True
    ):
        if "error" in event:
            raise Failed(f"{tag} was not built: {event['error'].strip()}")
        print(event.get("stream", ""), end="")
    print(f"Built {tag}.")


def run_worker(client: docker.DockerClient, image: str, name: str, env_file: Path, gpus: str) -> None:
    """Start a worker's container, and say how to follow it. Raises `Failed` with what is missing, or if it ends."""
    environment = read_environment(env_file)
    try:
        container = create_worker(client, image, name, environment, device_requests(client, gpus))
    except ImageNotFound:
        raise Failed(f"There is no image {image}: build it first, with poetry run docker-build") from None
    except APIError as error:
        raise Failed(_refusal(client, error, name)) from error
    try:
        client.api.start(container)
    except APIError as error:
        client.api.remove_container(container, force=True)
        raise Failed(_refusal(client, error, name)) from error
    if not begins(client, container):
        said = client.api.logs(container, tail=LINES).decode(errors="replace")
        client.api.remove_container(container, force=True)
        raise Failed(f"{said}{name} has ended with this, and is removed: mend it, then run it again")
    print(f"{name} runs in the background. Its log: docker logs -f {name}")


def begins(client: docker.DockerClient, container: str) -> bool:
    """Whether the worker advertises this machine, or is about to: false if it has ended."""
    for _ in range(START_S):
        try:
            client.api.wait(container, timeout=1)
            return False
        except (requests.ReadTimeout, requests.ConnectionError):  # it has not ended
            if b"Offering" in client.api.logs(container):
                return True
    return True


def create_worker(
    client: docker.DockerClient, image: str, name: str, environment: dict[str, str], gpus: list[DeviceRequest]
) -> str:
    """The id of a worker's container, which is not started yet. Its page, if it has one, is this machine's alone."""
    port = environment.get("STATUS_PORT", "")
    host_config = client.api.create_host_config(
        binds=[f"{host_socket()}:{SOCKET}", f"{environment['PATH_HOST_BASE']}:{environment['PATH_BASE']}"],
        device_requests=gpus,
        port_bindings={int(port): ("127.0.0.1", int(port))} if port.isdigit() else {},
        extra_hosts={"host.docker.internal": "host-gateway"},
        restart_policy={"Name": "unless-stopped"},
        log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "10m", "max-file": "3"}),
    )
    container: dict[str, str] = client.api.create_container(
        image,
        name=name,
        environment=environment,
        host_config=host_config,
        ports=[int(port)] if port.isdigit() else [],
        stop_timeout=STOP_TIMEOUT_S,
    )
    return container["Id"]


def read_environment(env_file: Path) -> dict[str, str]:
    """The variables of the worker, as `docker run --env-file` reads them, with both paths of the jobs' folder."""
    try:
        environment = dict(variables(env_file.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        raise Failed(
            f"There is no {env_file}: copy .env.example to {env_file} and fill it in, or name another file."
        ) from None
    except (OSError, ValueError) as error:
        raise Failed(f"{env_file} cannot be read: {error}") from None
    base = environment.get("PATH_BASE") or "/data"
    host_base = os.environ.get("PATH_HOST_BASE") or environment.get("PATH_HOST_BASE") or HOST_BASE
    for name, path in (("PATH_BASE", base), ("PATH_HOST_BASE", host_base)):
        if not PurePosixPath(path).is_absolute():
            raise Failed(f"{name} is {path!r}: an absolute path is needed, such as /data")
    return environment | {"PATH_BASE": base, "PATH_HOST_BASE": host_base}


def jobs_folder(env_file: Path) -> Path:
    """The jobs' folder on this machine, as `docker-run` takes it; without settings, the default."""
    try:
        return Path(read_environment(env_file)["PATH_HOST_BASE"])
    except Failed:
        return Path(HOST_BASE)


def engine_host() -> str:
    """Where the engine listens, as docker's command and docker-py find it: DOCKER_HOST, or the current context."""
    host = os.environ.get("DOCKER_HOST") or ContextAPI.kwargs_from_context().get("base_url")
    return host or f"unix://{SOCKET}"


def host_socket() -> str:
    """The engine's socket on this machine, a rootless engine's too."""
    host = engine_host()
    return host.removeprefix("unix://") if host.startswith("unix://") else SOCKET


def device_requests(client: docker.DockerClient, gpus: str) -> list[DeviceRequest]:
    """What `docker run --gpus` requests. `auto` is the first GPU, if this machine has NVIDIA's driver or runtime.

    The worker's container gets it as a job's does: by CDI where that is the engine's way.
    """
    if gpus == "auto":
        has_gpus = shutil.which("nvidia-smi") or "nvidia" in client.info().get("Runtimes", {})
        gpus = "0" if has_gpus else "none"
    if gpus == "none":
        return []
    engine, names = EngineInfo.of(client.info(), client.version()), gpus.split(",")
    if all(uses_cdi(engine, each) for each in names):
        return [DeviceRequest(driver="cdi", device_ids=[f"{CDI_KIND}={each}" for each in names])]
    if gpus == "all":
        return [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return [DeviceRequest(device_ids=names, capabilities=[["gpu"]])]


def _refusal(client: docker.DockerClient, error: APIError, name: str) -> str:
    """The engine's reason, with what to do about the two usual ones."""
    said = str(error.explanation or error)
    if "could not select device driver" in said:
        return f"{said}. Install NVIDIA's container toolkit for the engine, or run without GPUs: --gpus none"
    if "already in use by container" not in said:
        return said
    if client.containers.get(name).labels.get(removal.LABEL_BUILD) != "worker":
        return f"There is a container {name} already, which is no worker of this package: give another --name"
    return (
        f"There is a worker {name} already. To update it in the middle of its job, first:\n"
        f"docker kill --signal USR1 {name}; docker wait {name}; docker rm {name}\n"
        "(poetry run docker-stop would end its job.) For a second worker give another --name."
    )


def _all_removed(problems: list[str]) -> None:
    if problems:
        raise Failed("\n".join(problems))


def _git(*arguments: str) -> str | None:
    """What git says about this clone; `None` if it says nothing, or there is no git or clone."""
    git = shutil.which("git")
    if git is None:
        return None
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(ROOT.parent)}  # no clone around this folder
    command = [git, "-C", str(ROOT), *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return result.stdout.strip() or None


def _parser(description: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(description=description)


def _tell(command: Callable[[docker.DockerClient], None]) -> None:
    """Run a command with a client of the engine; turn an error into a sentence."""
    try:
        client = docker.from_env()
        try:
            command(client)
        finally:
            client.close()
    except (Failed, APIError) as error:
        sys.exit(str(error))
    except (DockerException, OSError) as error:
        sys.exit(f"The Docker engine cannot be used: {error}. Does `docker info` work?")
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
