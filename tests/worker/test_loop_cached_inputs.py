"""Inputs that the worker keeps: the next job with the same file gets a copy, and the owner sees and removes them."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from job_fetcher import cli
from job_fetcher.config.settings import Settings
from job_fetcher.workspace import input_cache
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

pytestmark = pytest.mark.usefixtures("needs_time")

FILES = {"data/frames": b"frames"}
USE = "cat /files/data/frames > /files/output/seen; ls -A /files >> /files/output/seen; echo mine > /files/data/frames"


def command(worker: WorkerProcess, *arguments: str) -> str:
    """What `job-fetcher ARGUMENTS` prints with the worker's settings."""
    done = subprocess.run(
        [sys.executable, "-m", "job_fetcher", *arguments],
        env=worker.environment, cwd=worker.base, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def test_jobs_on_the_same_input_fetch_it_once_until_the_owner_wants_no_cache(
    mock: Platform, start: Callable[..., WorkerProcess]
) -> None:
    mock.configure(storage="s3")
    worker = start(CACHE_GIB="1")
    jobs = [run_job(mock, USE, files=FILES, up={"output": "output"}) for _ in range(3)]
    assert [mock.outputs(job)["output/output/seen"] for job in jobs] == [b"framesdata\noutput\n"] * 3
    fetched = [each for each in mock.requests("GET") if each.path.startswith("/s3")]
    assert [each.status for each in fetched] == [206, 304, 304]
    assert "in 1 inputs" in command(worker, "cache")
    worker.stop()
    worker.environment["CACHE_GIB"] = "0"
    worker.start()
    wait_until(lambda: "in 0 inputs" in command(worker, "cache"), "the worker to remove what it kept")


def test_owner_empties_the_cache_while_the_worker_runs(mock: Platform, start: Callable[..., WorkerProcess]) -> None:
    worker = start(CACHE_GIB="1")
    run_job(mock, USE, files=FILES, up={"output": "output"})
    assert command(worker, "cache", "--empty").endswith("The cache is empty.\n")
    assert not (worker.base / ".cache").exists()
    assert mock.job(run_job(mock, USE, files=FILES, up={"output": "output"})).status == "finished"


@pytest.mark.parametrize("problem", ["another user's", "a file in its place", "a link to itself"])
def test_cache_that_cannot_be_read_is_not_called_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], problem: str
) -> None:
    folder = tmp_path / ".cache"
    match problem:
        case "another user's":  # the tests may be root's, who may look into it
            folder.mkdir()
            denied = PermissionError(errno.EACCES, "Permission denied")
            for call in ("listdir", "scandir"):
                monkeypatch.setattr(os, call, Mock(side_effect=denied))
            monkeypatch.setattr(input_cache, "remove_tree", lambda _: None)
        case "a file in its place":
            folder.touch()
        case _:
            folder.symlink_to(".cache")
    settings = Settings(api_url="https://api.example.org", access_token="x", path_base=tmp_path)  # type: ignore[arg-type]
    assert cli._cache(True, settings) == cli.NOT_WELL
    told = capsys.readouterr()
    assert "Run the command as the worker's user." in told.err
    assert "empty" not in told.out
