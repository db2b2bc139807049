"""A worker of the mock with a stand-in for the engine, and with a page."""

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.support.fake_engine import FakeEngine, fake_engine
from tests.support.leaks import Evidence
from tests.support.page import answers, free_port
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    (folder := tmp_path / "engine").mkdir()
    with fake_engine(folder) as engine:
        yield engine


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(
    mock: Platform, engine: FakeEngine, evidence: Evidence, tmp_path: Path
) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts a worker of the mock with some settings more; it ends with the test."""
    client = docker.DockerClient(engine.url, version="1.41")
    started: list[WorkerProcess] = []

    def start(**settings: str | None) -> WorkerProcess:
        (temporary := tmp_path / "tmp").mkdir(exist_ok=True)
        usual = {"DOCKER_HOST": engine.url, "MIN_FREE_GIB": "0", "TMPDIR": str(temporary)}
        started.append(WorkerProcess(mock, client, tmp_path / "data", evidence.file("worker"), usual | settings))
        return started[-1]

    yield start
    for worker in started:
        worker.end()
        print(worker.log)  # noqa: T201 - pytest shows it if the test has failed
    client.close()
    evidence.keep_history(mock)


@pytest.fixture
def worker(start: Callable[..., WorkerProcess], port: int) -> WorkerProcess:
    """A worker whose page answers."""
    worker = start(STATUS_PORT=str(port))
    wait_until(lambda: answers(port), "the page")
    return worker
