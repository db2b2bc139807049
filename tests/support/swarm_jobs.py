"""What tests of a fleet do with its jobs and workers, and with the image that these are updated to."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event

import requests
from docker.errors import NotFound
from docker.models.containers import Container

from tests.recovery.support import OUTPUTS, assert_finished_once, submit
from tests.support.engine import running_registry
from tests.support.gate import Gate, running_gate
from tests.support.own_engine import IMAGE, OwnEngine
from tests.support.platform import Platform
from tests.support.swarm import OLD, Fleet, network_of
from tests.support.worker import wait_until


def begin_jobs(fleet: Fleet, mock: Platform, count: int = 2) -> dict[str, str]:
    """Jobs whose commands have begun and wait for `go`, by service."""
    begun = {}
    for _ in range(count):
        job = submit(mock, IMAGE)
        mock.wait_for_status(job, "running")
        folder = next(each for each in fleet.folders() if each.endswith(f"/{job}"))
        wait_until((fleet.base / folder / "files/output/ran").exists, "the command to begin")
        begun[folder.split("/")[0]] = job
    return begun


def wait_for_next(fleet: Fleet, service: str, before: Container, image: str) -> None:
    """Wait until the service has another worker than `before`, of `image`, that goes on with its job."""

    def goes_on() -> bool:
        worker = fleet.workers().get(service)
        with suppress(NotFound):  # Swarm, or Compose, has just removed it
            return worker is not None and worker != before and b": resuming" in worker.logs()
        return False

    wait_until(goes_on, f"the next worker of {service}")
    assert fleet.workers()[service].attrs["Config"]["Image"].split("@")[0] == image


def finish(fleet: Fleet, mock: Platform, service: str, job: str) -> None:
    """Let the job's command end: it ran once, and the job has finished."""
    (fleet.base / service / job / "files" / "go").touch()
    mock.wait_for_status(job)
    assert_finished_once(mock, job)
    assert mock.outputs(job) == OUTPUTS


def wait_for_log(fleet: Fleet, line: str, text: str) -> None:
    """Wait until a line that the page shows prints a log with `text`: the platform hears of a job's end before that."""
    wait_until(lambda: text in fleet.run(line), f"{text!r} in a log")


def assert_nothing_left(fleet: Fleet) -> None:
    wait_until(lambda: not fleet.workers(), "the workers to end")
    assert (fleet.jobs(), fleet.folders()) == ({}, [])


def wait_for_signs_of_life(mock: Platform, job: str, count: int) -> None:
    """Wait until the platform was told of the job so many times more."""
    path = f"/jobs/{job}/status"
    told = len(mock.requests("PUT", path))
    wait_until(lambda: len(mock.requests("PUT", path)) >= told + count, "signs of life")


def assert_looked_after(worker: Container) -> None:
    config, host = worker.attrs["Config"], worker.attrs["HostConfig"]
    assert config["StopSignal"] == "SIGUSR1"
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "job_fetcher.core.health"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}


@contextmanager
def gate_of_registry(engine: OwnEngine, folder: Path) -> Iterator[Gate]:
    """A gate in front of a registry, which keeps its images in `folder`; both are in the network of `engine`."""
    storage = folder / "registry"
    storage.mkdir()
    with ExitStack() as running:
        with network_of(engine):
            address = running.enter_context(running_registry(storage))
            gate = running.enter_context(running_gate(int(address.rpartition(":")[2])))
        yield gate


def push_with_new_layer(engine: OwnEngine, gate: Gate, image: str) -> str:
    """Push the worker's image with one more layer, which the engine has no more then; the layer's digest."""
    engine.client.images.build(fileobj=io.BytesIO(f"FROM {OLD}\nRUN echo new > /new\n".encode()), tag=image, rm=True)
    engine.client.images.push(image)
    engine.client.images.remove(image)
    headers = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    with network_of(engine):
        manifest = requests.get(f"{gate.url}/v2/job-fetcher/manifests/1.1", headers=headers, timeout=10).json()
    return str(manifest["layers"][-1]["digest"])


@contextmanager
def holding(gate: Gate, text: str) -> Iterator[Event]:
    """Let nothing with `text` in it pass through the gate; the event tells that something was to."""
    asked, passes = Event(), Event()

    def hold() -> Event:
        asked.set()
        return passes

    gate.before(text.encode(), hold)
    try:
        yield asked
    finally:
        passes.set()
