"""Fixtures for tests of the loop with a stand-in for the engine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import StartWorker, fake_engine_workers
from tests.support.leaks import Evidence
from tests.support.platform import Platform


@pytest.fixture
def engine(fake: FakeEngine) -> FakeEngine:
    """The stand-in for the engine."""
    return fake


@pytest.fixture
def start(
    starts_worker: None, mock: Platform, engine: FakeEngine, evidence: Evidence, tmp_path: Path
) -> Iterator[StartWorker]:
    """Starts a worker of `engine`, with settings besides the usual ones."""
    with fake_engine_workers(mock, engine, evidence, tmp_path, TIMEOUT_STATUS="0.2") as start:
        yield start
