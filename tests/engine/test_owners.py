"""Who owns the files of a job that ran as root, by the engine's own users. The engine is a stand-in."""

import logging
import os
from pathlib import Path, PurePosixPath

import pytest

from job_fetcher.engine.cleanup import give_files_to_worker
from job_fetcher.engine.client import Client
from tests.support.engines import DOCKER, PODMAN, ROOTLESS_DOCKER, ROOTLESS_PODMAN, USERNS_REMAP, Says
from tests.support.fake_engine import FakeEngine

pytestmark = pytest.mark.usefixtures("needs_time")

WORKER = (4711, 4712)
"""User and group of a worker that is not root."""


@pytest.fixture
def fake(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    monkeypatch.setattr(os, "geteuid", lambda: WORKER[0])
    monkeypatch.setattr(os, "getegid", lambda: WORKER[1])
    fake.images.add("busybox:latest")
    return fake


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """What the job has made as root."""
    folder = tmp_path / "17" / "files" / "output"
    folder.mkdir(parents=True)
    (folder / "result.csv").touch()
    return folder / "result.csv"


def give(fake: FakeEngine, client: Client, says: Says, made: Path) -> list[dict[str, object]]:
    """Let a worker at an engine that `says` so take the files over. Returns what containers were created for it."""
    fake.info, fake.version = says.info, says.version
    job = client.create_container("image", ["true"], host_config={})["Id"]
    before = len(fake.created)
    give_files_to_worker(client, job, PurePosixPath(made.parents[2]))
    return fake.created[before:]


@pytest.mark.parametrize("says", [DOCKER, PODMAN], ids=["Docker", "Podman"])
def test_an_engine_as_root_gives_files_to_the_workers_user(
    fake: FakeEngine, client: Client, made: Path, says: Says
) -> None:
    [helper] = give(fake, client, says, made)
    assert (made.stat().st_uid, made.stat().st_gid) == WORKER
    assert helper["HostConfig"].get("UsernsMode", "") == ""  # type: ignore[attr-defined]


@pytest.mark.parametrize("says", [ROOTLESS_DOCKER, ROOTLESS_PODMAN], ids=["Docker", "Podman"])
def test_root_of_a_rootless_engines_container_is_the_engines_user(
    fake: FakeEngine, client: Client, made: Path, says: Says
) -> None:
    """The worker's number would be another user of the host: one of the subordinate ids."""
    os.chown(made, 1, 1)
    [helper] = give(fake, client, says, made)
    assert (made.stat().st_uid, made.stat().st_gid) == (0, 0)
    assert helper["HostConfig"].get("UsernsMode", "") == ""  # type: ignore[attr-defined]


def test_an_engine_that_maps_users_gives_files_as_root_of_the_host(
    fake: FakeEngine, client: Client, made: Path
) -> None:
    """A remapped root can neither change files of others, nor name a user of the host."""
    [helper] = give(fake, client, USERNS_REMAP, made)
    assert helper["HostConfig"]["UsernsMode"] == "host"  # type: ignore[index]
    assert helper["Image"] == "busybox:latest"
    assert (made.stat().st_uid, made.stat().st_gid) == WORKER


def test_no_image_of_a_job_ever_runs_as_root_of_the_host(
    fake: FakeEngine, client: Client, made: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake.images.remove("busybox:latest")
    caplog.set_level(logging.WARNING)
    assert give(fake, client, USERNS_REMAP, made) == []
    assert "job 17: files of root not taken over: there is no image to try it with" in caplog.text


@pytest.mark.parametrize("says", [DOCKER, ROOTLESS_DOCKER, ROOTLESS_PODMAN])
def test_the_jobs_own_image_does_where_it_gets_no_more_than_the_job(
    fake: FakeEngine, client: Client, made: Path, says: Says
) -> None:
    fake.images.remove("busybox:latest")
    fake.images.add("sha256:0")
    [helper] = give(fake, client, says, made)
    assert helper["Image"] == "sha256:0"
