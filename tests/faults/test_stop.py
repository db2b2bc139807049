"""A worker that is told to stop is done within 8 s wherever it is: `docker stop` gives it 10."""

import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.faults.conftest import StartWorker
from tests.support.gate import Gate
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

STOP_S = 8
REASON = "The worker was stopped (SIGTERM)."


@dataclass(frozen=True)
class Stage:
    """Where the worker is: the request that hangs then, what its command does, the status seen before."""

    hanging: tuple[str, str, str] | None = None
    line: str = "true"
    status: str = "running"


STAGES = {
    "in the first status": Stage(("PUT", "/jobs/*", "status=preprocessing"), status="pulled"),
    "asking for an input": Stage(("GET", "/files/*", "*"), status="preprocessing"),
    "downloading": Stage(("GET", "/store/*", "*"), status="preprocessing"),
    "running": Stage(line="sleep 600"),
    "running a command that ignores SIGTERM": Stage(line="trap '' TERM; while :; do sleep 1; done"),
    "in a keep-alive": Stage(("PUT", "/jobs/*", "status=running"), line="sleep 600", status="preprocessing"),
    "asking for an upload": Stage(("POST", "/jobs/*", "*"), status="postprocessing"),
    "uploading": Stage(("POST", "/store/*", "*"), status="postprocessing"),
}


def _reach(mock: Platform, worker: WorkerProcess, stage: Stage, image: str) -> str:
    """A job in that stage."""
    method, path, query = stage.hanging or ("", "", "*")
    fault = mock.fault(path, method, query=query, hang=True) if stage.hanging else None
    job = mock.submit(stage.line, image=image, files={"a": b"a"}, up={"output": "output"})
    mock.wait_for_status(job, stage.status)
    if fault is not None:
        mock.wait_until(lambda: fault.matched > 0, "the request that hangs")
    if "sleep" in stage.line:
        worker.container()
    return job


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_worker_that_is_stopped_hands_its_job_back_within_8_seconds(
    mock: Platform, worker: WorkerProcess, job_image: str, stage: Stage
) -> None:
    """P20."""
    job = _reach(mock, worker, stage, job_image)
    worker.signal(signal.SIGTERM)
    assert worker.wait(STOP_S) == 0
    assert mock.job(job).status == "queued"
    assert mock.details(job) == REASON
    worker.assert_nothing_left()


@pytest.mark.parametrize("stall", [Gate.hold, lambda gate: gate.stall_after(200_000)], ids=["no answer", "a layer"])
def test_worker_is_stopped_in_the_middle_of_a_pull_that_stalls(
    mock: Platform,
    worker: WorkerProcess,
    remote_image: str,
    registry_gate: Gate,
    stall: Callable[[Gate], None],
) -> None:
    stall(registry_gate)
    job = mock.submit("true", image=remote_image)
    wait_until(lambda: registry_gate.tries > 0, "the pull")
    worker.signal(signal.SIGTERM)
    assert worker.wait(STOP_S) == 0
    assert (mock.job(job).status, mock.details(job)) == ("queued", REASON)
    worker.assert_nothing_left()


SILENCE: dict[str, Callable[[Gate], None]] = {"closed": Gate.close_port, "hanging": Gate.hold}


@pytest.mark.parametrize("silence", SILENCE.values(), ids=SILENCE)
@pytest.mark.parametrize("stage", ["downloading", "running", "uploading"])
def test_job_that_cannot_be_handed_back_is_kept_for_the_next_start_which_does_so(
    mock: Platform, gated_worker: WorkerProcess, gate: Gate, job_image: str, stage: str, silence: Callable[[Gate], None]
) -> None:
    """The container is stopped at once all the same."""
    job = _reach(mock, gated_worker, STAGES[stage], job_image)
    silence(gate)
    gated_worker.signal(signal.SIGTERM)
    assert gated_worker.wait(STOP_S) == 0
    assert gated_worker.containers() == []
    assert gated_worker.folders() == [job]
    mock.heal()
    gate.open()
    gated_worker.start()
    mock.wait_for_status(job, "queued")
    assert mock.details(job) == REASON
    wait_until(lambda: not gated_worker.folders(), "the folder to be removed")
    gated_worker.stop()


def test_worker_that_is_stopped_while_it_asks_for_a_job_hands_back_what_comes(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    fault = mock.fault("/jobs", "GET", hang=True)
    worker = start_worker()
    mock.wait_until(lambda: fault.matched > 0, "the look for a job")
    job = mock.submit("true", image=job_image)
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("Received SIGTERM")
    mock.heal()
    assert worker.wait(STOP_S) == 0
    assert (mock.statuses(job), mock.details(job)) == (["queued"], REASON)


@pytest.mark.parametrize("silence", SILENCE.values(), ids=SILENCE)
def test_idle_worker_is_stopped_while_the_platform_is_away(
    mock: Platform, gated_worker: WorkerProcess, gate: Gate, silence: Callable[[Gate], None]
) -> None:
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > 1, "looks for a job")
    silence(gate)
    wait_until(lambda: "No job can be asked for" in gated_worker.log or gate.tries, "a look in vain")
    gated_worker.signal(signal.SIGTERM)
    assert gated_worker.wait(STOP_S) == 0


@pytest.mark.parametrize("stage", ["downloading", "running a command that ignores SIGTERM", "uploading"])
def test_second_signal_ends_the_worker_at_once_and_the_next_start_cleans_up(
    mock: Platform, worker: WorkerProcess, job_image: str, stage: str
) -> None:
    job = _reach(mock, worker, STAGES[stage], job_image)
    mock.fault("/jobs/*/status", "PUT", query="status=queued*", hang=True)
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("Received SIGTERM")
    worker.signal(signal.SIGINT)
    assert worker.wait() == 128 + signal.SIGINT
    mock.heal()
    worker.start()
    mock.wait_for_status(job, "queued", "finished")
    wait_until(lambda: not worker.folders(), "the folder to be removed")
    worker.stop()
    worker.assert_nothing_left()


@pytest.mark.parametrize("stage", ["downloading", "running", "uploading"])
def test_worker_that_drains_finishes_its_job_and_takes_no_other(
    mock: Platform, worker: WorkerProcess, job_image: str, stage: str
) -> None:
    job = _reach(mock, worker, STAGES[stage], job_image)
    other = mock.submit("true", image=job_image)
    worker.signal(signal.SIGQUIT)
    worker.wait_for_log("Received SIGQUIT")
    mock.heal()
    if stage == "running":
        worker.container().kill()
    assert worker.wait() == 0
    assert mock.job(job).status == ("error" if stage == "running" else "finished")
    assert mock.job(other).status == "queued"
    worker.assert_nothing_left()
