"""A start says the same sentences as `check`, for all that it can afford to check itself."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.check.conftest import Check, settings_of
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

MISTAKES = {
    "settings": (2, {"PATH_HOST_BASE": "data"}),
    "folder": (2, {"PATH_BASE": "/dev/null/data"}),
    "folder on the host": (2, {"PATH_HOST_BASE": "/etc"}),
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
