"""What is on disk is readable after a crash at any point: the record of a job, and its folder as a whole."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from job_fetcher.core.job import Job
from job_fetcher.workspace.disk import write_durably
from job_fetcher.workspace.workspace import Workspace
from tests.recovery import killed_at_each_step
from tests.recovery.support import wait_for_next_look
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job

pytestmark = pytest.mark.usefixtures("needs_time")

ROOT = Path(__file__).parents[2]
OWNER = "ada at https://api"
JOB = Job(id="7", raw={"app": {"cmd": ["echo", "ü"]}, "handler": {"image_url": "x"}})

JOB_JSON = (
    '{"version":1,"boot_id":"b0","owner":"ada at https://api","job":{"id":"7","raw":{"app":{"cmd":["true"]},'
    '"handler":{"image_url":"x"}}},"runs":1,"outcome":null,"final":null}'
)
"""As the first release writes it. A worker is updated in the middle of a job: every later one must understand this."""


@pytest.mark.parametrize("action", killed_at_each_step.ACTIONS)
def test_folder_is_whole_or_not_there_wherever_the_worker_was_killed(action: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", killed_at_each_step.__name__, action, str(tmp_path / "data")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5


def test_record_that_was_cut_at_any_byte_leaves_the_one_before(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "data", OWNER)
    workspace.prepare()
    with workspace.create(JOB) as folder:
        record = folder.path / "job.json"
    new = record.read_text().replace('"runs":0', '"runs":1').encode()
    for size in range(len(new) + 1):
        record.with_name("job.json.new").write_bytes(new[:size])
        [found] = workspace.resumable()
        with found:
            assert (found.state.job, found.state.runs) == (JOB, 0)
    [found] = workspace.resumable()
    with found:
        found.record(runs=1)
    assert record.read_bytes() == new
    assert not record.with_name("job.json.new").exists()


def test_record_is_on_disk_before_it_replaces_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the replacement is on disk before anything else happens."""
    path = tmp_path / "job.json"
    path.write_text("old")
    seen: list[tuple[str, str]] = []

    def fsync(descriptor: int) -> None:
        seen.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, path.read_text()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_durably(path, "new")
    assert seen == [("job.json.new", "old"), (tmp_path.name, "new")]


def test_record_of_the_first_release_is_understood(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "7"
    (folder / "files").mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "job.json").write_text(JOB_JSON)
    workspace = Workspace(tmp_path / "data", OWNER)
    workspace.prepare()
    [found] = workspace.resumable()
    with found:
        assert (found.job_id, found.state.runs, found.state.outcome, found.state.final) == ("7", 1, None, None)


def test_what_the_container_has_written_is_on_disk_before_its_end_is_recorded(
    mock: Platform, worker: WorkerProcess, job_image: str, tmp_path: Path
) -> None:
    """The worker's sync(1) is another one, which writes down what it is to do, and what the record says meanwhile."""
    wait_for_next_look(mock)
    worker.stop()
    note, ours, real = tmp_path / "note", tmp_path / "sync", shutil.which("sync", path=os.defpath)
    ours.write_text(
        f'#!/bin/sh\necho "$*" $(cat "$2/files/a") $(grep -o \'"outcome":[a-z]*\' "$2/job.json") >> {note}\n'
    )
    ours.chmod(0o755)
    worker.run_by = ("unshare", "--mount", "sh", "-c", f'mount --bind {ours} {real} && exec "$@"', "sh")
    worker.start()
    job = run_job(mock, "echo written > /files/a", image=job_image)
    assert mock.job(job).status == "finished"
    assert note.read_text() == f'--file-system {worker.base / job} written "outcome":null\n'
