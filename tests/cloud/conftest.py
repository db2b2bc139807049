"""The cloud's side for tests: docs/cloud.md."""

from pathlib import Path

import pytest

from tests.support.cloud import Cloud
from tests.support.leaks import Evidence
from tests.support.platform import Platform


@pytest.fixture
def cloud(needs_time: None, mock: Platform, tmp_path: Path, evidence: Evidence) -> Cloud:
    (tmp_path / "shared").mkdir()
    return Cloud(mock, tmp_path / "shared", evidence.file("lambda"))
