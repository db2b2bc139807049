"""What a worker finds when it starts: the jobs that were left behind, at each point of their lives."""

import signal
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.job import JobSpecs, Outcome
from job_fetcher.engine.client import connect
from job_fetcher.engine.container import JobContainer
from job_fetcher.engine.isolation import Resources
from tests.recovery.support import (
    LOG,
    OUTPUTS,
    TimesStarted,
    assert_finished_once,
    go,
    kill,
    killed_while_running,
    sent,
    submit,
    taken_up,
    wait_for_exit,
    wait_for_next_look,
)
from tests.support.platform import Platform
from tests.support.worker import PATIENT, WorkerProcess, wait_until

StartWorker = Callable[..., WorkerProcess]


def assert_done(mock: Platform, worker: WorkerProcess, job: str) -> None:
    """The job has finished, its command ran once, and nothing is left of it."""
    mock.wait_for_status(job)
    assert_finished_once(mock, job)
    assert mock.outputs(job) == OUTPUTS
    assert worker.stop() == 0
    worker.assert_nothing_left()


def assert_dropped(mock: Platform, worker: WorkerProcess, job: str) -> None:
    """The worker asks for the next job, has told nothing of this one and has left nothing of it."""
    told = len(mock.job(job).history)
    worker.start()
    wait_for_next_look(mock)
    worker.assert_nothing_left()
    assert len(mock.job(job).history) == told
    assert sent(mock, job, "finished") == sent(mock, job, "error") == sent(mock, job, "queued") == 0


def test_container_that_has_exited_meanwhile_is_not_run_again(
    mock: Platform, worker: WorkerProcess, job_image: str, times_started: TimesStarted
) -> None:
    """Its exit code and its log are not lost."""
    job = submit(mock, job_image, then="exit 7")
    container = killed_while_running(mock, worker, job)
    go(worker, job)
    wait_for_exit(container)
    worker.start()
    mock.wait_for_status(job)
    assert mock.job(job).status == "error"
    assert mock.details(job).startswith("The command ended with exit code 7. The worker uploaded ")
    assert mock.details(job).endswith("\n\nThe end of the log:\nstarted\nwent")
    assert mock.outputs(job) == OUTPUTS
    assert times_started(worker, job) == 1
    assert worker.stop() == 0
    worker.assert_nothing_left()


def test_container_that_runs_is_attached_to(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    job = submit(mock, job_image)
    container = killed_while_running(mock, worker, job)
    worker.start()
    worker.wait_for_log(f"job {job}: resuming")
    mock.wait_until(lambda: sent(mock, job, "running") > 3, "keep-alives of the next start")
    assert worker.container().id == container.id
    go(worker, job)
    assert_done(mock, worker, job)


def test_container_that_was_created_but_not_started_is_started(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """P17. The worker is killed before it has a container; then one is created as it would have been."""
    fault = mock.fault("/files/*/url", hang=True)
    job = submit(mock, job_image, files={"go": b""})
    mock.wait_until(lambda: fault.matched > 0, "the input to be asked for")
    kill(worker)
    mock.heal()
    with taken_up(mock, worker.base, job) as folder:
        (folder.files / "output").mkdir()
        (folder.files / "go").touch()
        client = connect()
        container = JobContainer(client, PurePosixPath(folder.path), Cancellation(), Cancellation())
        container.create(job, JobSpecs.parse(folder.state.job.raw), Resources(memory_mib=256, gpu=None))
        client.close()
        folder.record(runs=1)
    [created] = worker.containers()
    assert created.status == "created"
    worker.start()
    assert_done(mock, worker, job)
    assert len(mock.requests("GET", "/files/")) == fault.matched, "the input was there already"


def test_paused_container_is_waited_for(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    """P17."""
    job = submit(mock, job_image)
    container = killed_while_running(mock, worker, job)
    container.pause()
    go(worker, job)
    worker.start()
    before = sent(mock, job, "running")
    mock.wait_until(lambda: sent(mock, job, "running") > before + 2, "keep-alives of the next start")
    container.unpause()
    assert_done(mock, worker, job)


def test_container_that_was_removed_by_hand_is_run_anew_from_clean_outputs(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """P27."""
    job = submit(mock, job_image)
    container = killed_while_running(mock, worker, job)
    container.remove(force=True)
    worker.start()
    worker.container()
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin again")
    go(worker, job)
    assert_done(mock, worker, job)


def test_container_whose_end_was_recorded_is_removed_by_the_next_start(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """P19. The worker is killed between the record of how the container ended and its removal."""
    job = submit(mock, job_image)
    container = killed_while_running(mock, worker, job)
    go(worker, job)
    wait_for_exit(container)
    with taken_up(mock, worker.base, job) as folder:
        folder.log.write_bytes(LOG)
        folder.record(outcome=Outcome(exit_code=0, reason="The command ended with exit code 0.", succeeded=True))
    worker.start()
    assert_done(mock, worker, job)


def test_job_that_is_gone_meanwhile_is_dropped_with_its_running_container(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    job = submit(mock, job_image)
    killed_while_running(mock, worker, job)
    mock.cancel(job)
    assert_dropped(mock, worker, job)


@pytest.mark.parametrize("path", ["/files/*/url", "/jobs/*/files/url", "/jobs/*/status"])
def test_job_that_is_gone_meanwhile_is_dropped_wherever_it_was(
    mock: Platform, worker: WorkerProcess, job_image: str, path: str
) -> None:
    """P7, P8. Killed in the middle of its inputs, of its outputs and of its last status."""
    query = "status=finished*" if path.endswith("status") else "*"
    fault = mock.fault(path, query=query, hang=True)
    job = submit(mock, job_image, files={"go": b""})
    mock.wait_until(lambda: fault.matched > 0, f"a request to {path}")
    kill(worker)
    mock.cancel(job)
    mock.heal()
    told = sent(mock, job, "finished")
    worker.start()
    wait_for_next_look(mock)
    worker.assert_nothing_left()
    assert sent(mock, job, "finished") == told
    assert sent(mock, job, "error") == sent(mock, job, "queued") == 0


def test_last_status_that_had_not_arrived_is_sent_by_the_next_start(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """P14. Killed between the record of the last status and its arrival."""
    fault = mock.fault("/jobs/*/status", query="status=finished*", hang=True)
    job = submit(mock, job_image, files={"go": b""})
    mock.wait_until(lambda: fault.matched > 0, "the last status on its way")
    kill(worker)
    mock.heal()
    worker.start()
    assert_done(mock, worker, job)


def test_last_status_that_had_arrived_is_not_sent_again(mock: Platform, worker: WorkerProcess, job_image: str) -> None:
    """P14. Its answer is lost, and the worker is killed before it knows."""
    mock.fault("/jobs/*/status", "PUT", query="status=finished*", cut="after")
    asking = mock.fault("/jobs/*/status", "GET", hang=True)
    job = submit(mock, job_image, files={"go": b""})
    mock.wait_until(lambda: asking.matched > 0, "the worker to ask whether it has arrived")
    kill(worker)
    mock.heal()
    worker.start()
    wait_for_next_look(mock)
    assert sent(mock, job, "finished") == 1
    assert_done(mock, worker, job)


def test_stop_while_a_job_is_taken_up_requeues_it_and_removes_its_container(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    """P19, P20. The next start is stopped when it has not heard yet whether the job is still its own."""
    worker = start_worker(constants=PATIENT)
    job = submit(mock, job_image)
    killed_while_running(mock, worker, job)
    fault = mock.fault("/jobs/*/status", query="status=running*", hang=True)
    worker.start()
    mock.wait_until(lambda: fault.matched > 0, "the first keep-alive")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert mock.job(job).status == "queued"
    worker.assert_nothing_left()


def test_worker_that_leaves_while_a_job_is_taken_up_leaves_its_container_running(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    job = submit(mock, job_image)
    container = killed_while_running(mock, worker, job)
    fault = mock.fault("/jobs/*/status", query="status=running*", hang=True)
    worker.start()
    mock.wait_until(lambda: fault.matched > 0, "the first keep-alive")
    worker.signal(signal.SIGUSR1)
    assert worker.wait() == 0
    assert worker.container().id == container.id
    mock.heal()
    worker.start()
    go(worker, job)
    assert_done(mock, worker, job)


def test_worker_that_drains_finishes_its_job_and_takes_no_other(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    job = submit(mock, job_image)
    mock.wait_for_status(job, "running")
    other = mock.submit("true", image=job_image)
    worker.signal(signal.SIGQUIT)
    worker.wait_for_log("The worker takes no new job")
    go(worker, job)
    assert worker.wait() == 0
    assert_finished_once(mock, job)
    assert mock.job(other).status == "queued"
    assert mock.outputs(job) == OUTPUTS
    worker.assert_nothing_left()


def test_second_signal_ends_the_worker_at_once_and_the_next_start_goes_on(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    job = submit(mock, job_image)
    mock.wait_for_status(job, "running")
    worker.signal(signal.SIGQUIT)
    worker.wait_for_log("Received SIGQUIT")
    worker.signal(signal.SIGQUIT)
    assert worker.wait() == 128 + signal.SIGQUIT
    assert worker.container().status == "running"
    worker.start()
    go(worker, job)
    assert_done(mock, worker, job)
