"""A disk whose free inodes are few has no room for a job, however many bytes are free. The engine is a stand-in."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from job_fetcher.config.settings import Settings, WorkerSettings
from job_fetcher.engine.client import Client
from job_fetcher.engine.images import Images
from job_fetcher.preflight import machine
from job_fetcher.preflight.finding import Failed
from job_fetcher.worker.readiness import Readiness
from job_fetcher.workspace.workspace import Workspace
from tests.support.fake_engine import FakeEngine

FEW = "has less than 1000 free inodes: remove files"


@pytest.fixture
def few(needs_mounts: None, tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 500 files."""
    (folder := tmp_path / "few").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=500", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def reason_against(client: Client, base: Path, min_free_gib: float) -> str | None:
    folders = Workspace(base, owner="test")
    folders.prepare()
    polling = WorkerSettings(min_free_gib=min_free_gib)
    images = Images(client, folders, polling.min_free, may_remove=False)
    return Readiness(client, folders, images, None, polling, network="bridge").reason_against()


def test_no_job_is_asked_for_with_few_inodes_for_its_files(client: Client, few: Path) -> None:
    assert reason_against(client, few, 0) == f"the disk of PATH_BASE {FEW} there"


def test_no_job_is_asked_for_with_few_inodes_for_its_image(
    client: Client, fake: FakeEngine, few: Path, tmp_path: Path
) -> None:
    fake.info["DockerRootDir"] = str(few)
    assert reason_against(client, tmp_path / "data", 0.001) == "less than MIN_FREE_GIB is free on the disk"


@pytest.mark.parametrize("whose", ["PATH_BASE", "Docker"])
def test_a_check_names_the_disk_with_few_inodes(
    client: Client, fake: FakeEngine, few: Path, tmp_path: Path, whose: str
) -> None:
    base = few if whose == "PATH_BASE" else tmp_path
    fake.info["DockerRootDir"] = str(few if whose == "Docker" else tmp_path)
    settings = Settings(api_url="https://api.example.org", access_token="x", path_base=base, min_free_gib=0)  # type: ignore[arg-type]
    with pytest.raises(Failed) as refused:
        machine.check_disk(settings, client)
    assert str(refused.value) == f"The disk of {whose} ({few}) {FEW}"
