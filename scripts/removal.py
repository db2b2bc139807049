"""What `docker-stop` and `docker-cleanup` remove. They report each failure at the end, and remove the rest.

Labels say what belongs to this package; nothing else is ever touched: `job-fetcher.build` of the
Dockerfile, which a container has from its image; `job-fetcher.folder` of a job's container and `job-fetcher.helper` of
one that gives a job's files back: the path of the job's folder on this machine.
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, NotFound
from docker.models.containers import Container

LABEL_BUILD = "job-fetcher.build"
LABEL_FOLDER = "job-fetcher.folder"
LABEL_HELPER = "job-fetcher.helper"


def stop_workers(client: docker.DockerClient, timeout_s: int) -> list[str]:
    """Stop and remove the workers, then what no living worker holds. Returns what is left, and why."""
    problems: list[str] = []
    for worker in _containers(client, f"{LABEL_BUILD}=worker"):
        print(f"Stopping {worker.name}")
        with _noting(problems, worker.name):
            _stop(worker, timeout_s)
            _remove(worker)
    for probe in _containers(client, f"{LABEL_BUILD}=probe"):
        with _noting(problems, probe.name):
            _wait(probe, timeout_s)  # a worker without a container may be looking at it: it ends by itself
            _remove(probe)
    for label in (LABEL_FOLDER, LABEL_HELPER):
        for left in _containers(client, label):
            with _noting(problems, left.name):
                folder = left.labels[label]
                if folder and not is_held(Path(folder)):
                    print(f"Removing {left.name}, which a worker has left")
                    _remove(left)
    return problems


def is_held(job_folder: Path) -> bool:
    """Whether a living worker, in a container or not, works on this job: it then holds the lock of its folder.

    Raises `PermissionError` for a user who may not look.
    """
    try:
        with (job_folder / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


def remove_images(client: docker.DockerClient, package: str) -> list[str]:
    """Remove the images named `package`, and unnamed ones of its builds. Returns what is left, and why."""
    problems: list[str] = []
    for image in client.images.list(filters={"label": LABEL_BUILD}):
        if any(tag.rpartition(":")[0].rpartition("/")[2] != package for tag in image.tags):
            continue  # somebody's own, built upon ours: it has our labels, too
        for name in image.tags or [str(image.id)]:
            with _noting(problems, name):
                client.images.remove(name)
                print(f"Removed {name}")
    return problems


@contextmanager
def _noting(problems: list[str], name: str | None) -> Iterator[None]:
    """Note an error with `name`, unless somebody else has removed it meanwhile."""
    try:
        yield
    except NotFound:
        pass
    except APIError as error:
        problems.append(f"{name} is not removed: {error.explanation}")
    except PermissionError as error:
        problems.append(f"{name} is left alone: only root can tell whether a worker holds {error.filename}; use sudo")


def _stop(worker: Container, timeout_s: int) -> None:
    """Stop the worker with SIGTERM: another signal, such as that of `compose.yaml`, would leave its job running."""
    policy: Any = worker.attrs["HostConfig"]["RestartPolicy"]
    never: Any = {"Name": "no"}
    worker.update(restart_policy=never)
    try:
        with suppress(APIError):  # it is not running
            worker.kill(signal="SIGTERM")
        _wait(worker, timeout_s)
    except KeyboardInterrupt:
        worker.update(restart_policy=policy)
        raise


def _wait(container: Container, timeout_s: int) -> None:
    """Wait for its end, at most this long."""
    with suppress(requests.RequestException):
        container.wait(timeout=max(timeout_s, 1))


def _remove(container: Container) -> None:
    try:
        container.remove(force=True, v=True)
    except APIError as error:  # started with --rm, the engine removes it itself; a worker its job's container
        if "is already in progress" not in str(error.explanation):
            raise


def _containers(client: docker.DockerClient, label: str) -> Iterable[Container]:
    return client.containers.list(all=True, ignore_removed=True, filters={"label": label})


def remove_cache(base: Path) -> list[str]:
    """Remove the inputs that the workers of the jobs' folder `base` kept. Returns what is wrong, if something stays."""
    cache = base / ".cache"
    shutil.rmtree(cache, ignore_errors=True)
    if os.path.lexists(cache):
        return [f"{cache} is not removed: it belongs to the worker's user. Remove it with: sudo rm -rf {cache}"]
    return []
