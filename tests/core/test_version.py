"""The worker's own version, wherever its sources come from."""

import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from job_fetcher.core.version import UNKNOWN, worker_version

PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_an_installed_worker_has_the_projects_version() -> None:
    assert worker_version() == tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["version"]


def test_a_worker_whose_sources_were_only_copied_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a layer of a Lambda."""

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    assert worker_version() == UNKNOWN
