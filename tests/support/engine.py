"""The real Docker engine of this machine, a real registry beside it, and the check that nothing is left behind."""

import re
import subprocess
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container
from docker.types import DeviceRequest

from tests.support.waiting import wait_until

JOB_LABEL, FOLDER_LABEL = "job-fetcher.job", "job-fetcher.folder"

REGISTRY_CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {storage}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:0"}}
"""


def connect() -> docker.DockerClient:
    """A client of the engine; a sentence instead of it where none answers, since no test is skipped for that."""
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise RuntimeError("No Docker engine answers: ./scripts/setup.sh tests installs and starts one.") from error
    return client


def require_gpu_hook(client: docker.DockerClient, image: str) -> None:
    """Raise a sentence unless the engine starts containers with GPUs: it looks for NVIDIA's hook when it starts."""
    everything = DeviceRequest(count=-1, capabilities=[["gpu"]])
    try:
        client.containers.run(image, ["true"], remove=True, device_requests=[everything])
    except APIError as error:
        raise RuntimeError(
            "This engine was started without nvidia-container-runtime-hook on its PATH. "
            "Stop it and let ./scripts/setup.sh tests start it."
        ) from error


@contextmanager
def running_registry(folder: Path) -> Iterator[str]:
    """The address of a docker-registry that keeps its images in `folder`; engines ask no TLS of 127.0.0.1."""
    config = folder / "config.yml"
    config.write_text(REGISTRY_CONFIG.format(storage=folder / "storage"))
    command = ["docker-registry", "serve", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        listening = (re.search(r"listening on (127\.0\.0\.1:\d+)", line) for line in process.stderr)
        address = next((match[1] for match in listening if match), None)
        if address is None:
            raise RuntimeError(f"docker-registry ended with {process.wait()} before it listened.")
        # A pipe that nobody reads would stop the registry once it is full.
        drain = Thread(target=deque, args=(process.stderr, 0))
        drain.start()
        try:
            yield address
        finally:
            process.terminate()
            drain.join()


def remove(container: Container) -> None:
    """Remove a container by force; one that somebody else is removing, such as a worker that was killed, is waited for.

    Raises docker's `APIError` for another refusal.
    """
    try:
        container.remove(force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if "is already in progress" not in str(error.explanation):
            raise
        wait_until(lambda: _is_gone(container), f"the engine to remove {container.name}")


def _is_gone(container: Container) -> bool:
    try:
        container.reload()
    except NotFound:
        return True
    return False


def containers_of(client: docker.DockerClient, image_prefix: str) -> list[Container]:
    """Every container, in whatever state, whose image's name begins so."""
    found = []
    for summary in client.api.containers(all=True):
        with suppress(NotFound):  # others' containers come and go
            container = client.containers.get(summary["Id"])
            if container.attrs["Config"]["Image"].startswith(image_prefix):
                found.append(container)
    return found


def remove_litter(client: docker.DockerClient, image_prefix: str, killed: Collection[Path] = ()) -> list[str]:
    """Remove the containers that tests left of these images; the names of those that were jobs' containers.

    `killed`: folders (PATH_BASE) of workers that were killed. What one of them was asking for at that moment, the
    engine makes afterwards: that is nobody's fault, and not told.
    """
    litter = containers_of(client, image_prefix)
    jobs = [each for each in litter if JOB_LABEL in each.labels and _base_of(each) not in killed]
    for container in litter:
        remove(container)
    return [each.name or each.short_id for each in jobs]


def _base_of(container: Container) -> Path:
    """The PATH_BASE of the worker that has made a job's container."""
    return Path(container.labels.get(FOLDER_LABEL, "")).parent


@contextmanager
def events_told(client: docker.DockerClient, **filters: str) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Gives what tells the engine's events since the block began, as `GET /events` has them.

    The engine remembers the last 256 events of all containers: in a whole run of the tests, those of some seconds. So
    they are heard as they come, and asked for once more, since the last ones may be on their way.
    """
    heard: dict[tuple[int, str], dict[str, Any]] = {}
    since = f"{time.time():.6f}"

    def hear(events: Any) -> None:
        for each in events:
            heard[each["timeNano"], each["Actor"]["ID"]] = each

    def told() -> list[dict[str, Any]]:
        span: Any = {"since": since, "until": f"{time.time():.6f}"}  # the stubs know no fractions
        hear(client.api.events(**span, filters=filters, decode=True))
        return [heard[key] for key in sorted(heard)]

    begun: Any = {"since": since}
    stream = client.api.events(**begun, filters=filters, decode=True)
    hearing = Thread(target=hear, args=[stream], name="hear-events")
    hearing.start()
    try:
        yield told
    finally:
        stream.close()
        hearing.join()
