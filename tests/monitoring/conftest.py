"""A worker of the mock with a stand-in for the engine, and with a page."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import StartWorker, fake_engine_workers
from tests.support.leaks import Evidence
from tests.support.page import answers
from tests.support.platform import Platform
from tests.support.ports import free_port
from tests.support.worker import WorkerProcess, wait_until
from tests.worker.conftest import engine

__all__ = ["engine"]
"""The stand-in for the engine is that of the tests of the loop."""


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(mock: Platform, engine: FakeEngine, evidence: Evidence, tmp_path: Path) -> Iterator[StartWorker]:
    """Starts a worker of the mock with some settings more; it ends with the test."""
    (temporary := tmp_path / "tmp").mkdir()
    with fake_engine_workers(mock, engine, evidence, tmp_path, TMPDIR=str(temporary)) as start:
        yield start


@pytest.fixture
def worker(start: StartWorker, port: int) -> WorkerProcess:
    """A worker whose page answers."""
    worker = start(STATUS_PORT=str(port))
    wait_until(lambda: answers(port), "the page")
    return worker
