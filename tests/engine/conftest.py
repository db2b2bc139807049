"""What tests of pulls share: a registry that answers what it is told to, and the worker's own `Images`."""

from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from job_fetcher.engine import client as engine
from job_fetcher.engine.images import Images
from job_fetcher.workspace.workspace import Workspace
from tests.hostile.conftest import start_victim
from tests.support.fake_engine import FakeEngine
from tests.support.images import remove_images
from tests.support.scripted_registry import ScriptedRegistry, scripted_registry

__all__ = ["start_victim"]
"""The fixture of hostile tests, for the one test here that needs a worker."""


@pytest.fixture
def odd_registry(docker_client: docker.DockerClient) -> Iterator[ScriptedRegistry]:
    """A registry with one image, which answers what it is told to; its images are removed with the test."""
    with scripted_registry() as registry:
        yield registry
        remove_images(docker_client, registry.address)


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Docker's `config.json` of the user that runs the worker: not there at first."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    (tmp_path / "docker").mkdir()
    return tmp_path / "docker" / "config.json"


@pytest.fixture
def fake(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """A stand-in for this machine's engine."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    return fake


@pytest.fixture
def engine_client() -> Iterator[engine.Client]:
    """The worker's client of this machine's engine."""
    client = engine.connect()
    yield client
    client.close()


@pytest.fixture
def worker_images(engine_client: engine.Client, tmp_path: Path) -> Images:
    """The images of a worker with a folder of its own."""
    workspace = Workspace(tmp_path / "data", "me")
    workspace.prepare()
    return Images(engine_client, workspace, min_free=0)
