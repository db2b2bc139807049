"""A disk that is full, or nearly, in each stage; and folders of finished jobs, which go whatever is in them."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.engine import image_cleanup
from job_fetcher.engine.client import connect
from job_fetcher.engine.images import Images
from job_fetcher.workspace.workspace import Workspace
from tests.faults.conftest import StartWorker
from tests.support.images import add_image, push, remove_images, shell_files
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

MIB = 2**20
DISK = 8 * MIB


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 8 MiB."""
    folder = tmp_path / "data"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_worker(small_disk: Path, start_worker: StartWorker) -> WorkerProcess:
    return start_worker(small_disk.name, MIN_FREE_GIB="0")


def _assert_goes_on(mock: Platform, worker: WorkerProcess, image: str) -> None:
    """The next job finishes, and nothing is left of any."""
    job = run_job(mock, "cat /files/a", image=image, files={"a": b"content"})
    assert mock.job(job).status == "finished", mock.details(job)
    assert worker.stop() == 0
    worker.assert_nothing_left()


def test_input_that_does_not_fit_fails_the_job_before_the_disk_is_full(
    mock: Platform, small_worker: WorkerProcess, job_image: str
) -> None:
    job = run_job(mock, "true", image=job_image, files={"big": bytes(3 * DISK)})
    told = "The input 'big' cannot be fetched: it needs 0.02 GiB, and the worker's disk has 0.01 GiB left."
    assert (mock.job(job).status, mock.details(job)) == ("error", told)
    sent = sum(each.sent for each in mock.requests("GET", "*/download"))
    assert sent < 2 * DISK  # what the connection's buffers took before it was closed
    _assert_goes_on(mock, small_worker, job_image)


def test_inputs_that_do_not_fit_together_fail_the_job(
    mock: Platform, small_worker: WorkerProcess, job_image: str
) -> None:
    job = run_job(mock, "true", image=job_image, files={f"input-{n}": bytes(3 * MIB) for n in range(4)})
    assert mock.job(job).status == "error"
    assert "cannot be fetched: " in mock.details(job)
    assert "the worker's disk" in mock.details(job)
    _assert_goes_on(mock, small_worker, job_image)


@pytest.mark.parametrize(("end", "status"), [("", "error"), ("; true", "finished")], ids=["fails", "does not mind"])
def test_outputs_of_a_job_that_fills_the_disk_go_up_and_its_end_is_told(
    mock: Platform, small_worker: WorkerProcess, job_image: str, end: str, status: str
) -> None:
    """Its command decides what a full disk means; the log and `job.json` find no room either."""
    line = f"echo kept > /files/output/small; seq 1 20000; dd if=/dev/zero of=/files/output/zeros bs=64k{end}"
    job = run_job(mock, line, image=job_image, up={"output": "output"})
    assert mock.job(job).status == status
    outputs = mock.outputs(job)
    assert outputs["output/output/small"] == b"kept\n"
    assert len(outputs["output/output/zeros"]) > DISK / 2
    kept = outputs["log/log/container.log"]
    assert kept.startswith(b"[job-fetcher] The disk of this worker does not take the log. Its end follows")
    assert b"20000\n" in kept
    assert b"No space left on device" in kept
    _assert_goes_on(mock, small_worker, job_image)


def test_no_job_is_asked_for_on_a_full_disk_until_there_is_room(
    mock: Platform, small_worker: WorkerProcess, small_disk: Path, job_image: str
) -> None:
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > 0, "a look for a job")
    ballast = small_disk / "somebody's"
    ballast.write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize))
    small_worker.wait_for_log(f"The worker asks for no job: PATH_BASE ({small_disk}) cannot be written to: No space")
    job = mock.submit("true", image=job_image)
    ballast.unlink()
    mock.wait_for_status(job)
    assert mock.statuses(job) == ["preprocessing", "running", "postprocessing", "finished"]
    _assert_goes_on(mock, small_worker, job_image)


def _wait_for_next_look(alive: Path) -> None:
    """Until the worker has set the time of its file `alive` anew, as it does before it waits for its next look."""
    wait_until(alive.exists, "the first look")
    before = alive.stat().st_mtime
    wait_until(lambda: alive.stat().st_mtime != before, "another look")


def test_no_job_is_taken_while_less_than_min_free_gib_is_free(
    mock: Platform, small_disk: Path, start_worker: StartWorker, job_image: str, tmp_path: Path
) -> None:
    ballast = small_disk / "somebody's"
    ballast.write_bytes(bytes(DISK // 2))
    job = mock.submit("true", image=job_image)
    worker = start_worker(small_disk.name, MIN_FREE_GIB=str(DISK * 0.75 / 2**30), TMPDIR=str(tmp_path))
    worker.wait_for_log("The worker asks for no job: less than MIN_FREE_GIB is free")
    for _ in range(3):
        _wait_for_next_look(tmp_path / "job-fetcher.alive")
    assert mock.requests("GET", "/jobs") == []
    ballast.unlink()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"


# Images.


class FakeDisk:
    """How much is free: nothing, until enough images were removed."""

    def __init__(self, client: docker.DockerClient, prefix: str) -> None:
        self._client, self._prefix, self.most = client, prefix, 99

    @property
    def names(self) -> set[str]:
        """The images that are here, by the last letter of their repositories."""
        found = [
            tag for each in self._client.api.images() for tag in each["RepoTags"] or [] if tag.startswith(self._prefix)
        ]
        return {tag.removesuffix(":latest")[-1] for tag in found}

    def free(self, _path: Path) -> int:
        return 10 if len(self.names) <= self.most else 0


def test_worker_waits_for_room_on_a_disk_without_any(small_disk: Path, start_worker: StartWorker) -> None:
    subprocess.run(["dd", "if=/dev/zero", f"of={small_disk}/full", "bs=64K"], check=False, capture_output=True)
    worker = start_worker(small_disk.name, MIN_FREE_GIB="1000000")
    told = f"PATH_BASE ({small_disk}) cannot be written to: No space left on device - make room on that disk"
    worker.wait_for_log(f"The worker asks for no job: {told}")
    assert worker.stop() == 0


def test_pause_on_a_disk_without_room_for_another_file_is_a_sentence(tmp_path: Path, worker: WorkerProcess) -> None:
    (base := tmp_path / "full").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=1", "none", str(base)], check=True)
    try:
        line, settings = [sys.executable, "-m", "job_fetcher", "pause"], {**worker.environment, "PATH_BASE": str(base)}
        told = subprocess.run(line, env=settings, check=False, capture_output=True, text=True, cwd=tmp_path)
    finally:
        subprocess.run(["umount", str(base)], check=True)
    sentence = f"PATH_BASE ({base}) cannot be written to: No space left on device\n"
    assert (told.returncode, told.stdout, told.stderr) == (2, "", sentence)


def test_images_that_jobs_brought_are_removed_least_recently_used_first(
    docker_client: docker.DockerClient, registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never one that a container uses, nor one that was here before, though by another name."""
    prefix = f"{registry}/lru-{tmp_path.name[-8:]}-".lower()
    names = {letter: f"{prefix}{letter}:latest" for letter in "abcdh"}
    for name in names.values():
        add_image(docker_client, name, {**shell_files(), "stamp": name.encode()})
        push(docker_client, name)
    for letter in "abcd":
        docker_client.images.remove(names[letter])
    names["m"] = f"{prefix}m:latest"  # another image by now, where this machine has an old one
    docker_client.images.get(names["h"]).tag(names["m"])
    push(docker_client, names["m"])
    docker_client.images.get("python:3.11-slim").tag(names["m"])
    disk = FakeDisk(docker_client, prefix)
    monkeypatch.setattr(image_cleanup, "free_bytes", disk.free)
    client = connect()
    ours = Images(client, Workspace(tmp_path / "data", "me"), min_free=5)
    container = None
    try:
        for letter in "mhabcda":
            ours.pull(names[letter], cancelled=Cancellation())
        docker_client.images.remove(names["m"])
        assert disk.names == {*"abcdh"}
        container = docker_client.containers.create(names["b"], ["true"])
        disk.most = 4
        assert ours.make_room()
        assert disk.names == {*"abdh"}, "c was used least recently of those that no container uses"
        disk.most = 0
        assert not ours.make_room()
        assert disk.names == {*"bh"}
    finally:
        if container is not None:
            container.remove()
        remove_images(docker_client, prefix)
        client.close()


# Folders of finished jobs.

LEVELS = "cd /files; p=$(yes d/ | head -n 1000 | tr -d '\\n'); mkdir -p x/$p y/$p z/$p"
LEFT = {
    "read-only": "mkdir -p /files/x/y && touch /files/x/y/z && chmod -R 0500 /files/x /files/output",
    "of 100,000 files": "mkdir /files/x && cd /files/x && seq 1 100000 | xargs touch",
    "1,000 levels deep": LEVELS,
    "with odd names": "cd /files && touch -- -rf '*' \"$(printf 'a\\nb')\" \"$(printf '\\377')\" && ln -s / root",
}
DEEP = f"{LEVELS}; mv z y/$p; mv y x/$p"
"""3,000 levels. For root only: chown of the job's image, which gives its files to another user, may not get so deep."""


def _assert_removed(mock: Platform, worker: WorkerProcess, line: str, image: str) -> None:
    job = run_job(mock, line, image=image, files={"in/a": b"a"}, up={"output": "output"})
    assert mock.job(job).status == "finished", mock.details(job)
    assert worker.stop() == 0
    try:
        worker.assert_nothing_left()
    finally:
        subprocess.run(["rm", "-rf", str(worker.base)], check=True)  # pytest's own removal would not get so deep


@pytest.mark.parametrize("line", [*LEFT.values(), DEEP], ids=[*LEFT, "3,000 levels deep"])
def test_folder_of_a_finished_job_is_removed(mock: Platform, worker: WorkerProcess, job_image: str, line: str) -> None:
    _assert_removed(mock, worker, line, job_image)


@pytest.mark.parametrize("line", LEFT.values(), ids=LEFT)
def test_folder_of_a_finished_job_is_removed_by_a_worker_that_is_not_root(
    mock: Platform, unprivileged_worker: WorkerProcess, job_image: str, line: str
) -> None:
    """The job's files belong to root all the same."""
    _assert_removed(mock, unprivileged_worker, line, job_image)
