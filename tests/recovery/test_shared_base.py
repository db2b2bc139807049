"""What else may lie in PATH_BASE: folders that are not understood, another account's, another worker's."""

import shutil
from collections.abc import Callable

from tests.recovery.support import (
    OUTPUTS,
    TimesStarted,
    assert_finished_once,
    go,
    kill,
    killed_while_running,
    submit,
    wait_for_next_look,
)
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

StartWorker = Callable[..., WorkerProcess]


def test_folders_that_are_not_understood_are_put_aside_and_told_and_do_not_block_the_start(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """Once: the next start finds them where they are. Folders that are no jobs' are not touched at all."""
    job = submit(mock, job_image)
    killed_while_running(mock, worker, job)
    broken = {
        "0-cut": b'{"version":1',
        "0-empty": b"",
        "0-odd": b"\xff\x00",
        "0-other": b'{"version":2}',
        "0-none": None,
    }
    for name, content in broken.items():
        shutil.copytree(worker.base / job, worker.base / name)
        (worker.base / name / "job.json").unlink()
        if content is not None:
            (worker.base / name / "job.json").write_bytes(content)
    shutil.copytree(worker.base / job, worker.base / "0-renamed")
    (worker.base / "photos").mkdir()
    worker.start()
    go(worker, job)
    mock.wait_for_status(job)
    assert_finished_once(mock, job)
    wait_for_next_look(mock)
    assert worker.stop() == 0
    put_aside = worker.folders()
    names = [*broken, "0-renamed"]
    assert sorted(name.rsplit("-", 1)[0] for name in put_aside) == sorted(
        [f".unreadable-{n}" for n in names] + ["photos"]
    )
    for name in names:
        assert worker.log.count(f"The worker cannot resume the job in {worker.base / name} ") == 1
    assert (worker.base / put_aside[0] / "files" / "output" / "ran").exists(), "with all that was in it"
    worker.start()
    wait_for_next_look(mock)
    assert worker.folders() == put_aside


def test_job_of_another_account_is_left_alone(mock: Platform, start_worker: StartWorker, job_image: str) -> None:
    """Its folder and its container wait for the account's own worker."""
    worker = start_worker()
    job = submit(mock, job_image)
    container = killed_while_running(mock, worker, job)
    other = start_worker(USERNAME="worker2", PASSWORD="Worker-password-2")
    other.wait_for_log(
        f"job {job}: left alone: its folder {worker.base / job} belongs to another account (worker at {mock.url})"
    )
    another_job = mock.submit("true", image=job_image)
    mock.wait_for_status(another_job)
    assert mock.job(another_job).holder == "worker2"
    assert other.stop() == 0
    assert [each.id for each in worker.containers()] == [container.id]
    worker.start()
    go(worker, job)
    mock.wait_for_status(job)
    assert_finished_once(mock, job)
    assert mock.outputs(job) == OUTPUTS
    assert worker.stop() == 0
    worker.assert_nothing_left()


def test_worker_takes_up_only_what_nobody_holds(
    mock: Platform, start_worker: StartWorker, job_image: str, times_started: TimesStarted
) -> None:
    """Two workers of one account on one PATH_BASE; one of them is killed, and started again."""
    first, second = start_worker(), start_worker()
    jobs = [submit(mock, job_image), submit(mock, job_image)]
    for job in jobs:
        wait_until((first.base / job / "files" / "output" / "ran").exists, "the command to begin")
    mine, others = sorted(jobs, key=lambda job: f"job {job}: pulled" not in first.log)
    assert f"job {others}: pulled" in second.log
    third = start_worker()
    third.wait_for_log("Offering")
    wait_for_next_look(mock)
    assert third.stop() == 0
    assert "resuming" not in third.log, "there was nothing that nobody held"
    kill(first)
    first.start()
    first.wait_for_log(f"job {mine}: resuming")
    go(first, mine)
    mock.wait_for_status(mine)
    assert f"job {others}: " not in first.log
    go(second, others)
    mock.wait_for_status(others)
    for job in jobs:
        assert_finished_once(mock, job)
        assert mock.outputs(job) == OUTPUTS
        assert times_started(first, job) == 1
    assert first.stop() == second.stop() == 0
    first.assert_nothing_left()
