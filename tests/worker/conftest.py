"""Fixtures for tests of the loop with a stand-in for the engine."""

from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.support.fake_engine import FakeEngine, fake_engine
from tests.support.leaks import Evidence
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    """A stand-in for the engine: no real container is needed."""
    (folder := tmp_path / "engine").mkdir()
    with fake_engine(folder) as engine:
        yield engine


@pytest.fixture
def start(mock: Platform, engine: FakeEngine, evidence: Evidence, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts one worker of `engine`, with settings besides the usual ones."""
    client = docker.DockerClient(engine.url, version="1.41")
    started: list[WorkerProcess] = []

    def start_worker(**settings: str | None) -> WorkerProcess:
        usual = {"DOCKER_HOST": engine.url, "MIN_FREE_GIB": "0", "TIMEOUT_STATUS": "0.2"}
        started.append(WorkerProcess(mock, client, tmp_path / "data", evidence.file("worker"), usual | settings))
        return started[0]

    yield start_worker
    for worker in started:
        worker.end()
        print(worker.log)  # noqa: T201 - pytest shows it if the test has failed
    client.close()
    evidence.keep_history(mock)
