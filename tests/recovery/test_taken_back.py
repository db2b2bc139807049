"""A lab with one account: what its worker requeues, its next start takes back, or the same worker when it can."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.jobs import Status
from tests.recovery.support import OUTPUTS, go, kill, submit, wait_for_next_look
from tests.support.platform import Platform
from tests.support.worker import PATIENT, WorkerProcess, run_job, wait_until

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def worker(start_worker: StartWorker) -> WorkerProcess:
    """One that does not leave the requeue to its next start, however busy this machine is."""
    return start_worker(constants=PATIENT)


def requeues(mock: Platform, job: str) -> list[str | None]:
    """What its user was told each time that a worker requeued the job."""
    return [each.runtime_details for each in mock.job(job).history if each.account and each.status is Status.QUEUED]


def assert_finished(mock: Platform, job: str) -> None:
    """The job has finished, and its outputs are those of one run."""
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)
    assert mock.outputs(job) == OUTPUTS


def stopped_while_it_ran(mock: Platform, worker: WorkerProcess, job: str, number: int = signal.SIGTERM) -> None:
    """Stop the worker when the command of a job of `recovery.support.submit` has begun."""
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin")
    mock.wait_for_status(job, "running")
    worker.signal(number)
    assert worker.wait() == 0
    assert mock.job(job).status == "queued"
    worker.assert_nothing_left()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_job_of_a_worker_that_was_stopped_is_taken_back_by_its_next_start(
    mock: Platform, worker: WorkerProcess, job_image: str, number: signal.Signals
) -> None:
    """Row 2: still queued after 18 minutes, since the platform never gives it to this account again."""
    job = submit(mock, job_image)
    stopped_while_it_ran(mock, worker, job, number)
    worker.start()
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin again")
    go(worker, job)
    assert_finished(mock, job)
    assert requeues(mock, job) == [f"The worker was stopped ({number.name})."]
    assert worker.stop() == 0
    worker.assert_nothing_left()
    assert list(worker.base.glob(".requeued-*")) == []


def test_job_that_was_requeued_comes_before_a_new_one(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    job = submit(mock, job_image)
    stopped_while_it_ran(mock, worker, job)
    new = mock.submit("true", image=job_image)
    worker.start()
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin again")
    assert mock.job(new).status == "queued"
    go(worker, job)
    assert_finished(mock, job)
    mock.wait_for_status(new)


def test_job_that_another_account_has_pulled_meanwhile_stays_with_it(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    worker = start_worker(constants=PATIENT)
    job = submit(mock, job_image)
    stopped_while_it_ran(mock, worker, job)
    other = start_worker("other", USERNAME="worker2", PASSWORD="Worker-password-2")
    wait_until((other.base / job / "files" / "output" / "ran").exists, "the command to begin there")
    worker.start()
    wait_for_next_look(mock)
    worker.wait_for_log(f"job {job}: not taken back")
    go(other, job)
    assert_finished(mock, job)
    assert (mock.job(job).holder, worker.folders()) == ("worker2", [])


def test_job_that_its_user_has_deleted_meanwhile_is_forgotten(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    job = submit(mock, job_image)
    stopped_while_it_ran(mock, worker, job)
    told = len(mock.requests("PUT"))
    mock.cancel(job)
    worker.start()
    worker.wait_for_log(f"job {job}: not taken back")
    wait_for_next_look(mock)
    assert (len(mock.requests("PUT")), list(worker.base.glob(".requeued-*"))) == (told, [])


def test_worker_that_is_paused_takes_nothing_back_until_it_resumes(
    mock: Platform, worker: WorkerProcess, job_image: str, tmp_path: Path
) -> None:
    def command(name: str) -> None:
        line = [sys.executable, "-m", "job_fetcher", name]
        subprocess.run(line, env=worker.environment, cwd=tmp_path, check=True, capture_output=True)

    job = submit(mock, job_image)
    stopped_while_it_ran(mock, worker, job)
    command("pause")
    worker.start()
    worker.wait_for_log("The worker asks for no job: the worker is paused")
    assert mock.job(job).status == "queued"
    command("resume")
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin again")
    go(worker, job)
    assert_finished(mock, job)


def test_job_whose_image_is_not_allowed_any_more_stays_queued(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    job = submit(mock, job_image)
    stopped_while_it_ran(mock, worker, job)
    worker.environment["ALLOWED_IMAGES"] = "ghcr.io/decode/*"
    worker.start()
    wait_for_next_look(mock)
    wait_for_next_look(mock)
    assert mock.job(job).status == "queued"
    assert worker.stop() == 0
    worker.environment.pop("ALLOWED_IMAGES")
    worker.start()
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin again")
    go(worker, job)
    assert_finished(mock, job)


def test_job_is_taken_back_three_times_and_fails_then(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    job = submit(mock, job_image)
    for _ in range(4):
        stopped_while_it_ran(mock, worker, job)
        worker.start()
    mock.wait_for_status(job)
    assert mock.job(job).status == "error"
    assert mock.details(job) == "The owner of this worker stopped it 4 times while it had the job."
    assert requeues(mock, job) == ["The worker was stopped (SIGTERM).", None, None, None]
    assert mock.job(run_job(mock, "true", image=job_image)).status == "finished"


def test_worker_that_is_killed_after_a_stop_was_recorded_loses_nothing(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """Between the note and the answer of the API."""
    job = submit(mock, job_image)
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin")
    mock.wait_for_status(job, "running")
    hanging = mock.fault(f"/jobs/{job}/status", "PUT", query="status=queued*", hang=True)
    worker.signal(signal.SIGTERM)
    mock.wait_until(lambda: hanging.matched > 0, "the job to be requeued")
    kill(worker)
    mock.heal()
    worker.start()
    worker.wait_for_log(f"job {job}: taken back")
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin again")
    go(worker, job)
    assert_finished(mock, job)


def test_job_that_this_machine_cannot_run_is_taken_back_when_the_reason_is_gone_and_its_user_told_once(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """Somebody's folder has its name. Other jobs run meanwhile."""
    wait_for_next_look(mock)
    thesis = worker.base / "1" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("three years of work")
    job = mock.submit("true", image=job_image)
    mock.wait_until(lambda: requeues(mock, job) != [], "the job to be requeued")
    assert mock.job(run_job(mock, "true", image=job_image)).status == "finished"
    thesis.unlink()
    thesis.parent.rmdir()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    assert requeues(mock, job) == ["Something else has the name of this job in the worker's folder."]


def test_two_workers_of_one_folder_take_a_job_back_once(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    worker = start_worker(constants=PATIENT)
    job = submit(mock, job_image)
    stopped_while_it_ran(mock, worker, job)
    worker.start()
    second = start_worker()
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin again")
    wait_for_next_look(mock)
    assert (worker.log + second.log).count(f"job {job}: taken back") == 1
    go(worker, job)
    assert_finished(mock, job)
