"""A worker that is told to stop requeues what it has, leaves nothing behind and says so by its exit code."""

import signal
from collections.abc import Callable

import pytest

from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

StartWorker = Callable[..., WorkerProcess]

SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", SIGNALS)
def test_idle_worker_ends_with_exit_code_0(mock: Platform, worker: WorkerProcess, number: signal.Signals) -> None:
    """P20."""
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > 1, "a second look for a job")
    worker.signal(number)
    assert worker.wait() == 0
    worker.assert_nothing_left()


@pytest.mark.parametrize("number", SIGNALS)
def test_worker_that_is_stopped_requeues_its_running_job(
    mock: Platform, worker: WorkerProcess, job_image: str, number: signal.Signals
) -> None:
    """P19, P20."""
    job = mock.submit("sleep 600", image=job_image)
    mock.wait_for_status(job, "running")
    assert worker.container().labels["job-fetcher.job"] == job
    worker.signal(number)
    assert worker.wait() == 0
    assert mock.statuses(job) == ["preprocessing", "running", "queued"]
    assert mock.details(job) == f"The worker was stopped ({number.name})."
    worker.assert_nothing_left()


def test_last_status_that_is_on_its_way_arrives_although_the_worker_is_stopped(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    fault = mock.fault("/jobs/*/status", query="status=finished*", hang=True)
    job = mock.submit("true", image=job_image)
    mock.wait_until(lambda: fault.matched > 0, "the last status on its way")
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("Received SIGTERM")
    mock.heal()
    assert worker.wait() == 0
    assert mock.job(job).status == "finished"
    worker.assert_nothing_left()


def test_worker_says_why_it_cannot_start(start_worker: StartWorker) -> None:
    worker = start_worker(USERNAME="nobody")
    assert worker.wait() == 3
    assert "The platform knows no account 'nobody'" in worker.log
    worker = start_worker(PASSWORD=None, TIMEOUT_STATUS="500")
    assert worker.wait() == 2
    assert "Traceback" not in worker.log
    worker = start_worker(DOCKER_HOST="unix:///nowhere.sock")
    assert worker.wait() == 4
    assert "-v /var/run/docker.sock:/var/run/docker.sock" in worker.log
