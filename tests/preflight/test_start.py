"""A start says the same sentences as `check`, for all that it can afford to check itself."""

import secrets
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest

from job_fetcher.engine import client as engine
from job_fetcher.engine import probe
from job_fetcher.worker import wiring
from tests.preflight.conftest import Check, settings_of
from tests.support.installation import ENOUGH, Installation
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

MISTAKES = {
    "settings": (2, {"PATH_HOST_BASE": "data"}),
    "folder": (2, {"PATH_BASE": "/dev/null/data"}),
    "folder on the host": (2, {"PATH_HOST_BASE": "/etc"}),
    "network": (2, {"JOB_NETWORK": "lab-net"}),
    "engine": (4, {"DOCKER_HOST": "unix:///nowhere"}),
    "credentials": (3, {"PASSWORD": "not-the-password"}),
}


@pytest.mark.parametrize(("name", "code", "mistake"), [(name, *each) for name, each in MISTAKES.items()], ids=MISTAKES)
def test_start_refuses_what_the_check_does_with_the_same_sentence(
    check: Check, start_worker: Callable[..., WorkerProcess], name: str, code: int, mistake: dict[str, str]
) -> None:
    sentence = check(**mistake).sentence(name)
    worker = start_worker(**mistake)
    assert worker.wait() == code
    assert worker.log.count(sentence) == 1
    assert "Traceback" not in worker.log


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ({"API_URL": ""}, "API_URL is not set"),
        ({"PATH_BASE": "/dev/null/data"}, "PATH_BASE (/dev/null/data) cannot be written to: Not a directory"),
    ],
)
def test_pause_tells_what_is_wrong(mock: Platform, tmp_path: Path, mistake: dict[str, str], sentence: str) -> None:
    command = [sys.executable, "-m", "job_fetcher", "pause"]
    environment = settings_of(mock, tmp_path / "data") | mistake
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_start_believes_a_host_path_that_is_the_same_folder_by_another_name(
    start_worker: Callable[..., WorkerProcess], probe_image: str, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "data")
    worker = start_worker(PATH_HOST_BASE=f"{tmp_path}/link")
    worker.wait_for_log("Offering")


def test_start_refuses_a_folder_that_only_the_worker_sees(
    start_worker: Callable[..., WorkerProcess], probe_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the check does: the engine would make another folder there, and each job would fail for its inputs."""
    alone = ("unshare", "--mount", "bash", "-euc", f'mount -t tmpfs none {tmp_path}/data; exec "$@"', "bash")
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(WorkerProcess, "run_by", alone)
    worker = start_worker()
    assert worker.wait() == 2
    assert f"{tmp_path}/data of the engine's host is not the folder that the worker sees as PATH_BASE" in worker.log


def test_start_finds_its_folder_without_starting_a_container(
    probe_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which would take longer than the rest of the start."""
    monkeypatch.setattr(probe, "same_folder", lambda *_: pytest.fail("a container is started"))
    settings = Installation(monkeypatch, tmp_path / ".env").read(**ENOUGH, PATH_BASE=str(tmp_path))
    assert wiring.host_base(settings, engine.connect()) == PurePosixPath(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_start_goes_on_where_the_disk_is_too_full_to_try_the_folder(
    start_worker: Callable[..., WorkerProcess], small_disk: Path
) -> None:
    """What it has left behind there may be what makes room."""
    with suppress(OSError):
        while True:
            (small_disk / secrets.token_hex()).touch()
    worker = start_worker()
    worker.wait_for_log("Offering")
    assert "No space left on device" in worker.log
