"""`job-fetcher status`: what the page shows, in a terminal."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from job_fetcher.core.events import JobBegan, JobEnd, JobEnded, StageBegan
from job_fetcher.core.job import Job, JobStatus
from job_fetcher.monitoring import status_file
from job_fetcher.monitoring.history import HISTORY
from job_fetcher.monitoring.recorder import Recorder
from job_fetcher.monitoring.snapshot import PastJob
from job_fetcher.monitoring.terminal import rendered
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

pytestmark = pytest.mark.usefixtures("needs_time")

HARM = ["\x1b[2J\x1b]0;x\x07", "[bold red]x[/] [link=file:///etc/passwd]y", "<script>alert(1)</script>", "\udcff" * 255]


def status_of(worker: WorkerProcess, *options: str) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "job_fetcher", "status", *options]
    return subprocess.run(line, env=worker.environment, check=False, capture_output=True, text=True)


def test_status_tells_what_the_worker_does_and_that_it_does_not_run(
    mock: Platform, start: Callable[..., WorkerProcess]
) -> None:
    worker = start()
    job = run_job(mock, "exit 3", meta={"job_id": 2})

    def waits() -> bool:
        over = worker.base / HISTORY
        if not (over.exists() and over.read_text()):
            return False
        files = Path(worker.environment["TMPDIR"]).glob("*.status.json")  # the first one comes a moment after the start
        return any("waits for a job" in file.read_text() for file in files)

    wait_until(waits, "the job to be over")
    shown = status_of(worker)
    assert "exit code 3" in shown.stdout
    assert "waits for a job" in shown.stdout
    assert shown.returncode == 0
    assert f"job {job}: pulled (user's job 2, image)" in worker.log
    as_json = json.loads(status_of(worker, "--json").stdout)
    assert as_json["settings"]["PASSWORD"] == "(set)"
    assert worker.environment["PASSWORD"] not in shown.stdout
    worker.environment["PATH_BASE"] = "/elsewhere"
    elsewhere = status_of(worker)
    assert (elsewhere.returncode, elsewhere.stdout) == (1, "")
    assert "No worker with this PATH_BASE has run here" in elsewhere.stderr


@pytest.mark.parametrize("harm", HARM, ids=["escapes", "markup", "script", "bytes"])
def test_names_that_mean_harm_are_shown_as_text(harm: str) -> None:
    recorder = Recorder(worker_version="1")
    past: list[PastJob] = []
    recorder.when_over = past.append
    raw = {"handler": {"image_url": harm, "image_name": harm}, "meta": {"job_id": harm}}
    job_id = harm if "\udcff" not in harm else "\xff" * 255  # an id is part of an answer in JSON, in UTF-8
    recorder(JobBegan(Job(id=job_id, raw=raw), Path("log")))
    recorder(StageBegan(job_id, JobStatus.RUNNING))
    job = recorder.status()
    recorder(JobEnded(job_id, JobEnd.ERROR, harm))
    for status in (job, recorder.status()):
        status.model_dump_json()
        printed = io.StringIO()
        Console(file=printed, width=80, force_terminal=True, legacy_windows=False).print(rendered(status, past))
        assert "\x1b[2J" not in printed.getvalue()
        assert "\x1b]" not in printed.getvalue()
        assert "\x07" not in printed.getvalue()
        printed.getvalue().encode()


@pytest.mark.parametrize("kind", ["old", "link", "fifo", "nonsense", "folder"])
def test_status_that_cannot_be_read_is_a_sentence(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "status"
    if kind == "old":
        status_file.write(file, Recorder().status())
        os.utime(file, (1, 1))
    elif kind == "link":
        file.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"\xff{")
    with pytest.raises(status_file.NoStatus):
        status_file.read(file)


def test_status_is_its_users_alone_and_replaces_a_link(tmp_path: Path) -> None:
    file, target = tmp_path / "status", tmp_path / "target"
    file.symlink_to(target)
    status_file.write(file, Recorder(worker_version="7").status())
    assert not target.exists()
    assert file.stat().st_mode & 0o777 == 0o600
    assert status_file.read(file).worker_version == "7"
