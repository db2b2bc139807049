"""A worker that is told to stop is done within 8 s wherever it is: `docker stop` gives it 10."""

import signal
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from app.jobs import Status
from job_fetcher.worker import shutdown
from tests.faults.conftest import StartWorker
from tests.support.gate import Gate
from tests.support.platform import Platform
from tests.support.worker import PATIENT, WorkerProcess, wait_until

STOP_S = 8
REASON = "The worker was stopped (SIGTERM)."


@dataclass(frozen=True)
class Stage:
    """Where the worker is: the request that hangs then, what its command does, the status seen before.

    `runs`: its container is waited for.
    """

    hanging: tuple[str, str, str] | None = None
    line: str = "echo said"
    status: str = "running"
    runs: bool = False


STAGES = {
    "in the first status": Stage(("PUT", "/jobs/*", "status=preprocessing"), line="sleep 600", status="pulled"),
    "asking for an input": Stage(("GET", "/files/*/url", "*"), status="preprocessing"),
    "downloading": Stage(("GET", "/files/*/download", "*"), status="preprocessing"),
    "running": Stage(line="trap '' TERM; while :; do sleep 1; done", runs=True),
    "in a keep-alive": Stage(("PUT", "/jobs/*", "status=running"), line="sleep 600", status="preprocessing", runs=True),
}
AFTER_THE_COMMAND = {
    "asking for an upload": Stage(("POST", "/jobs/*", "*"), status="postprocessing"),
    "uploading": Stage(("POST", "/store/*", "*"), status="postprocessing"),
    "in the last keep-alive": Stage(("PUT", "/jobs/*", "status=postprocessing"), status="running"),
}
"""Where the outcome of the command is recorded."""


def _reach(mock: Platform, worker: WorkerProcess, stage: Stage, image: str) -> str:
    """A job in that stage."""
    method, path, query = stage.hanging or ("", "", "*")
    fault = mock.fault(path, method, query=query, hang=True) if stage.hanging else None
    job = mock.submit(stage.line, image=image, files={"a": b"a"}, up={"output": "output"})
    mock.wait_for_status(job, stage.status)
    if fault is not None:
        mock.wait_until(lambda: fault.matched > 0, "the request that hangs")
    if stage.runs:
        worker.container()
    return job


def _requeues(mock: Platform, job: str) -> list[str | None]:
    """What the user was told each time that a worker requeued the job."""
    return [each.runtime_details for each in mock.job(job).history if each.account and each.status is Status.QUEUED]


@pytest.mark.parametrize("stage", AFTER_THE_COMMAND.values(), ids=AFTER_THE_COMMAND)
def test_job_whose_command_has_ended_is_never_requeued_and_the_next_start_finishes_it(
    mock: Platform, worker: WorkerProcess, job_image: str, stage: Stage
) -> None:
    """12 hours of results are not thrown away for a stop."""
    job = _reach(mock, worker, stage, job_image)
    worker.signal(signal.SIGTERM)
    assert worker.wait_no_longer_than(STOP_S) == 0
    assert worker.containers() == []
    assert worker.folders() == [job]
    mock.heal()
    worker.start()
    mock.wait_for_status(job)
    assert (mock.job(job).status, _requeues(mock, job)) == ("finished", [])
    assert worker.stop() == 0
    worker.assert_nothing_left()


@pytest.mark.parametrize("stage", ["asking for an upload", "uploading"])
def test_what_can_still_go_up_within_the_seconds_of_a_stop_does(
    mock: Platform, start_worker: StartWorker, job_image: str, stage: str
) -> None:
    worker = start_worker(constants=PATIENT)
    job = _reach(mock, worker, AFTER_THE_COMMAND[stage], job_image)
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("Received SIGTERM")
    mock.heal()
    assert worker.wait() == 0
    assert mock.job(job).status == "finished"
    worker.assert_nothing_left()


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_worker_that_is_stopped_requeues_its_job_within_8_seconds(
    mock: Platform, worker: WorkerProcess, job_image: str, stage: Stage
) -> None:
    """P20."""
    job = _reach(mock, worker, stage, job_image)
    worker.signal(signal.SIGTERM)
    assert worker.wait_no_longer_than(STOP_S) == 0
    assert mock.job(job).status == "queued"
    assert mock.details(job) == REASON
    worker.assert_nothing_left()


def test_worker_is_stopped_in_time_although_the_api_takes_5_seconds_to_answer(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    answer_s = 5
    assert answer_s < shutdown.STOP_S, "so long a stopped worker waits; this one has more, on a busy machine"
    worker = start_worker(TIMEOUT_STATUS="60", constants=PATIENT)
    job = _reach(mock, worker, STAGES["downloading"], job_image)
    mock.fault("/jobs/*", delay_s=answer_s)
    worker.signal(signal.SIGTERM)
    assert worker.wait_no_longer_than(STOP_S) == 0
    assert (mock.job(job).status, mock.details(job)) == ("queued", REASON)
    worker.assert_nothing_left()


def test_requeue_that_arrives_too_late_to_be_heard_of_is_not_sent_again(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    """The API takes 5 s for the keep-alive that is on its way, and 5 s more."""
    job = _reach(mock, worker, STAGES["downloading"], job_image)
    slow = mock.fault("/jobs/*", delay_s=5)
    mock.wait_until(lambda: slow.matched > 0, "the keep-alive")
    worker.signal(signal.SIGTERM)
    assert worker.wait_no_longer_than(STOP_S) == 0
    mock.wait_for_status(job, "queued")
    mock.heal()
    worker.start()
    mock.wait_for_status(job)
    assert (mock.job(job).status, _requeues(mock, job)) == ("finished", [REASON])
    assert worker.stop() == 0
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
    assert worker.wait_no_longer_than(STOP_S) == 0
    assert (mock.job(job).status, mock.details(job)) == ("queued", REASON)
    worker.assert_nothing_left()


@pytest.mark.parametrize(
    ("stage", "silence"),
    [("downloading", Gate.close_port), ("running", Gate.hold), ("in the first status", Gate.hold)],
    ids=["downloading-closed", "running-hanging", "preparing-hanging"],
)
def test_job_that_cannot_be_requeued_is_kept_for_the_next_start_which_takes_it_back(
    mock: Platform, gated_worker: WorkerProcess, gate: Gate, job_image: str, stage: str, silence: Callable[[Gate], None]
) -> None:
    """The container is stopped at once all the same."""
    job = _reach(mock, gated_worker, STAGES[stage], job_image)
    silence(gate)
    gated_worker.signal(signal.SIGTERM)
    assert gated_worker.wait_no_longer_than(STOP_S) == 0
    assert gated_worker.containers() == []
    assert gated_worker.folders() == [job]
    mock.heal()
    gate.open()
    gated_worker.start()
    gated_worker.wait_for_log(f"job {job}: taken back")
    assert _requeues(mock, job) == [REASON]
    if stage == "downloading":
        mock.wait_for_status(job)
        assert mock.job(job).status == "finished"
    else:
        gated_worker.container()
    gated_worker.stop()


def test_worker_that_is_stopped_while_it_asks_for_a_job_requeues_what_comes(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    fault = mock.fault("/jobs", "GET", hang=True)
    worker = start_worker(constants=PATIENT)
    mock.wait_until(lambda: fault.matched > 0, "the look for a job")
    job = mock.submit("sleep 600", image=job_image)
    worker.signal(signal.SIGTERM)
    worker.wait_for_log("Received SIGTERM")
    mock.heal()
    assert worker.wait() == 0
    told = mock.statuses(job)  # the thread that has received the signal may get on after the job has come
    assert (told[-1], mock.details(job)) == ("queued", REASON)
    assert worker.folders() == []


def test_idle_worker_is_stopped_while_the_platform_is_away(
    mock: Platform, gated_worker: WorkerProcess, gate: Gate
) -> None:
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > 1, "looks for a job")
    gate.close_port()
    gated_worker.wait_for_log("The worker cannot ask for a job")
    gated_worker.signal(signal.SIGTERM)
    assert gated_worker.wait_no_longer_than(STOP_S) == 0


@pytest.mark.parametrize("stage", ["downloading", "running"])
def test_second_signal_ends_a_stop_at_once_and_the_next_start_completes_it(
    mock: Platform, start_worker: StartWorker, job_image: str, stage: str
) -> None:
    """The engine goes on to stop the container by itself, whose exit code 137 is not the command's then."""
    worker = start_worker(constants=PATIENT)
    job = _reach(mock, worker, STAGES[stage], job_image)
    mock.fault("/jobs/*/status", "PUT", query="status=queued*", hang=True)
    worker.signal(signal.SIGTERM)
    record = worker.base / job / "job.json"
    wait_until(lambda: REASON in record.read_text(), "the stop to be under way")
    worker.signal(signal.SIGINT)
    assert worker.wait() == 128 + signal.SIGINT
    mock.heal()
    worker.start()
    worker.wait_for_log(f"job {job}: taken back")
    assert _requeues(mock, job) == [REASON]
    worker.stop()
    worker.assert_nothing_left()
