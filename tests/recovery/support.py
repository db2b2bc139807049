"""What the tests of recovery share: a job that tells how often it ran, kills, and a look into a folder left behind."""

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker.models.containers import Container

from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.workspace import Workspace
from tests.support.platform import USERNAME, Platform
from tests.support.worker import WorkerProcess, wait_until

TimesStarted = Callable[[WorkerProcess, str], int]
"""Tells how often the engine has started a container for a worker's job: the fixture `times_started`."""

RAN = "echo ran >> /files/output/ran; echo started"
WAIT_FOR_GO = "until [ -e /files/go ]; do sleep 0.02; done; echo went"
LOG = b"started\nwent\n"
OUTPUTS = {"output/output/ran": b"ran\n", "log/log/container.log": LOG}
"""What a job of `submit` leaves if its command ran once and its log was not lost."""


def submit(mock: Platform, image: str, *, then: str = "true", **job: Any) -> str:
    """Queue a job that writes down that it ran, waits for `go`, and ends with `then`."""
    return mock.submit(f"{RAN}; {WAIT_FOR_GO}; {then}", image=image, up={"output": "output"}, **job)


def go(worker: WorkerProcess, job: str) -> None:
    """Let the command of a job of `submit` go on."""
    (worker.base / job / "files" / "go").touch()


def kill(worker: WorkerProcess) -> None:
    """`kill -9`."""
    worker.signal(signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL


def killed_while_running(mock: Platform, worker: WorkerProcess, job: str) -> Container:
    """Kill the worker when the command of a job of `submit` has begun; its container, which runs on."""
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin")
    mock.wait_for_status(job, "running")
    kill(worker)
    return worker.container()


def wait_for_exit(container: Container) -> None:
    container.wait(timeout=60)


def sent(mock: Platform, job: str, status: str) -> int:
    """How often that status was sent, arrived or not."""
    return sum(request.query["status"] == [status] for request in mock.requests("PUT", f"/jobs/{job}/status"))


def wait_for_next_look(mock: Platform) -> None:
    """Wait until the worker asks for its next job: it is through with all that it found."""
    before = _looks(mock)
    mock.wait_until(lambda: _looks(mock) > before, "the look for the next job")


def _looks(mock: Platform) -> int:
    """Requests for a job, without those that only find out whether this is the platform's API (`memory=x`)."""
    asked = [request for request in mock.requests("GET", "/jobs") if request.path == "/jobs"]
    return sum(request.query["memory"] != ["x"] for request in asked)


def state(base: Path, job: str) -> dict[str, Any]:
    """What `job.json` says."""
    content: dict[str, Any] = json.loads((base / job / "job.json").read_bytes())
    return content


@contextmanager
def taken_up(mock: Platform, base: Path, job: str) -> Iterator[JobFolder]:
    """The folder that a killed worker has left, as its next start takes it up, to put it into a state of its life."""
    [folder] = [each for each in Workspace(base, f"{USERNAME} at {mock.url}").resumable() if each.job_id == job]
    with folder:
        yield folder


def assert_finished_once(mock: Platform, job: str) -> None:
    """The job is `finished`, its user was told so once, and last."""
    told = [update.status.value for update in mock.job(job).history if update.account]
    assert told[-1] == "finished", mock.details(job)
    assert [status for status in told if status in ("finished", "error", "queued")] == ["finished"]
