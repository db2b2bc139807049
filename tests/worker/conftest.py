"""Fixtures for tests of the loop with a stand-in for the engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_engine import FakeEngine, fake_engine
from tests.support.fake_engine_workers import StartWorker, fake_engine_workers
from tests.support.leaks import Evidence
from tests.support.platform import Platform


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[FakeEngine]:
    """A stand-in for the engine: no real container is needed."""
    (folder := tmp_path / "engine").mkdir()
    with fake_engine(folder) as engine:
        yield engine


@pytest.fixture
def start(
    starts_worker: None, mock: Platform, engine: FakeEngine, evidence: Evidence, tmp_path: Path
) -> Iterator[StartWorker]:
    """Starts a worker of `engine`, with settings besides the usual ones."""
    with fake_engine_workers(mock, engine, evidence, tmp_path, TIMEOUT_STATUS="0.2") as start:
        yield start
