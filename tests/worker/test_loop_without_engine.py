"""The life of a job with a stand-in for the engine: what the platform and the job's user see of each way it can go.

The worker, the platform's mock and the job's command are real processes: see tests/support/fake_engine.py.
"""

import json
import signal
from typing import Any

import pytest

from job_fetcher.workspace.job_folder import JobState
from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import StartWorker
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

WAIT = "echo begun; echo ran >> /files/output/ran; until [ -e /files/go ]; do sleep 0.02; done; echo went"


@pytest.fixture
def worker(start: StartWorker) -> WorkerProcess:
    return start(constants={})  # as patient with the engine as on a lab's machine


def begun(mock: Platform, worker: WorkerProcess) -> str:
    """Submit a job that waits for `go`; its id, as soon as its command runs."""
    job = mock.submit(WAIT, up={"output": "output"})
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin")
    mock.wait_for_status(job, "running")
    return job


def go(worker: WorkerProcess, job: str) -> None:
    (worker.base / job / "files" / "go").touch()


def assert_finished_once(mock: Platform, job: str) -> None:
    assert mock.statuses(job)[-1] == "finished", mock.details(job)
    assert mock.outputs(job) == {"output/output/ran": b"ran\n", "log/log/container.log": b"begun\nwent\n"}


def assert_nothing_left(engine: FakeEngine, worker: WorkerProcess) -> None:
    wait_until(lambda: not engine.jobs() and not worker.folders(), "the job's container and folder to be removed")


def test_finished_job_has_its_inputs_outputs_log_and_statuses(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess
) -> None:
    line = "cat /files/data/a > /files/output/b; echo $GREETING"
    job = run_job(mock, line, files={"data/a": b"in"}, up={"output": "output"}, env={"GREETING": "hello"})
    assert mock.statuses(job) == ["preprocessing", "running", "postprocessing", "finished"]
    assert mock.outputs(job) == {"output/output/b": b"in", "log/log/container.log": b"hello\n"}
    assert_nothing_left(engine, worker)


@pytest.mark.usefixtures("memory_suffices")
@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("echo no room; exit 3", "The command ended with exit code 3."),
        ("kill -9 $$", "The command ended with exit code 137 (SIGKILL)."),
        ("/no/such/program", "The command ended with exit code 127 (the command was not found)."),
    ],
)
def test_failed_command_is_told_with_its_exit_code_and_its_outputs_come_all_the_same(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, line: str, told: str
) -> None:
    job = run_job(mock, f"echo kept > /files/output/x; {line}", up={"output": "output"})
    assert mock.job(job).status == "error"
    assert mock.details(job).startswith(told)
    assert mock.outputs(job)["output/output/x"] == b"kept\n"
    assert_nothing_left(engine, worker)


@pytest.mark.parametrize("what", ["image", "input", "description"])
def test_job_that_cannot_be_begun_fails_by_name_and_the_next_one_runs(
    mock: Platform, worker: WorkerProcess, what: str
) -> None:
    faulty: dict[str, dict[str, Any]] = {
        "image": {"image": "no-such:image"},
        "input": {"files": {"data/a": "s3://missing"}},
        "description": {"files": {"../outside": b"x"}},
    }
    names = {"image": "no-such:image", "input": "data/a", "description": "../outside"}
    job = run_job(mock, "true", **faulty[what])
    assert mock.job(job).status == "error"
    assert names[what] in mock.details(job)
    assert mock.job(run_job(mock, "true")).status == "finished"


def test_cancelled_job_is_stopped_without_a_word_and_the_next_one_runs(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess
) -> None:
    job = begun(mock, worker)
    mock.cancel(job)
    assert_nothing_left(engine, worker)
    assert mock.statuses(job) == ["preprocessing", "running"]
    assert mock.job(run_job(mock, "true")).status == "finished"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_worker_requeues_its_job(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, number: signal.Signals
) -> None:
    job = begun(mock, worker)
    worker.signal(number)
    assert worker.wait() == 0
    assert mock.job(job).status == "queued"
    assert (engine.jobs(), worker.folders()) == ([], [])


def test_drained_worker_finishes_its_job_first(mock: Platform, engine: FakeEngine, worker: WorkerProcess) -> None:
    job, other = begun(mock, worker), mock.submit("true")
    worker.signal(signal.SIGQUIT)
    worker.wait_for_log("The worker takes no new job")
    go(worker, job)
    assert worker.wait() == 0
    assert_finished_once(mock, job)
    assert mock.job(other).status == "queued"
    assert_nothing_left(engine, worker)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL], ids=["detached", "killed"])
@pytest.mark.parametrize("when", ["still runs", "has ended"])
def test_job_of_a_worker_that_has_left_is_resumed_by_the_next_start(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, number: signal.Signals, when: str
) -> None:
    job = begun(mock, worker)
    [container] = engine.jobs()
    worker.signal(number)
    assert worker.wait() == (0 if number is signal.SIGUSR1 else -signal.SIGKILL)
    assert container.status == "running"
    if when == "has ended":
        go(worker, job)
        wait_until(lambda: container.status == "exited", "the command to end")
    waits = f"POST /containers/{container.id}/wait"
    before = engine.calls.count(waits)
    worker.start()
    if when == "still runs":
        wait_until(lambda: engine.calls.count(waits) > before, "it to wait again")
        go(worker, job)
    mock.wait_for_status(job)
    assert_finished_once(mock, job)
    assert_nothing_left(engine, worker)


@pytest.mark.usefixtures("needs_time")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_last_status_that_its_user_has_not_seen_is_sent_again_by_the_next_start(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, number: signal.Signals
) -> None:
    """The API has kept `finished`, and answered 500: it could not tell the users' side."""
    job = begun(mock, worker)
    untold = mock.fault(f"/jobs/{job}/status", "PUT", query="status=finished*", users_side_down=True)
    go(worker, job)
    mock.wait_until(lambda: untold.matched > 1, "the worker to send it again")
    worker.signal(number)
    worker.wait()
    assert mock.job(job).status == "finished"
    mock.heal()
    worker.start()
    mock.wait_until(lambda: mock.job(job).history[-1].reported, "its user to be told")
    assert_finished_once(mock, job)
    assert_nothing_left(engine, worker)


@pytest.mark.parametrize(
    ("number", "when"),
    [(signal.SIGUSR1, "still runs"), (signal.SIGKILL, "still runs"), (signal.SIGKILL, "has ended")],
)
def test_owner_who_restarts_a_container_while_the_worker_is_away_has_ended_its_command(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, number: signal.Signals, when: str
) -> None:
    job = begun(mock, worker)
    [container] = engine.jobs()
    record = worker.base / job / "job.json"
    wait_until(lambda: json.loads(record.read_text()).get("container_started_at"), "the record of its start")
    worker.signal(number)
    worker.wait()
    container.restart()
    if when == "has ended":
        go(worker, job)
        wait_until(lambda: container.status == "exited", "the second run to end")
    worker.start()
    mock.wait_for_status(job)
    assert mock.details(job).startswith("The owner of this worker restarted the container while the command ran.")
    assert mock.statuses(job)[-1] == "error"
    assert mock.outputs(job)["output/output/ran"].startswith(b"ran\n")
    assert_nothing_left(engine, worker)


def test_job_is_requeued_by_a_machine_on_which_no_container_starts(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess
) -> None:
    """The probe with an image of the worker's own kind tells that the job is not to blame."""
    engine.images.add("busybox:latest")
    engine.refusals["POST /start"] = (400, "the runtime is not installed")
    job = mock.submit("true")
    mock.wait_until(lambda: "queued" in mock.statuses(job), "the job to be requeued")
    assert "This worker can start no container now" in mock.details(job)
    engine.refusals.clear()
    assert mock.job(run_job(mock, "true")).status == "finished", "the worker takes jobs again once it can"


def test_job_runs_on_while_the_platform_is_away(mock: Platform, engine: FakeEngine, worker: WorkerProcess) -> None:
    job = begun(mock, worker)
    fault = mock.fault("/jobs/*", "PUT", status=503)
    go(worker, job)
    mock.wait_until(lambda: fault.matched > 1, "the worker to try again")
    mock.heal()
    mock.wait_for_status(job)
    assert_finished_once(mock, job)


def test_command_is_stopped_after_max_runtime(mock: Platform, engine: FakeEngine, worker: WorkerProcess) -> None:
    """Also by a worker that goes on with it: its command has begun by then."""
    job = begun(mock, worker)
    worker.environment["MAX_RUNTIME"] = "0.5"
    worker.signal(signal.SIGUSR1)
    worker.wait()
    worker.start()
    mock.wait_for_status(job)
    assert mock.job(job).status == "error"
    assert "this worker's MAX_RUNTIME" in mock.details(job)
    assert mock.outputs(job)["output/output/ran"] == b"ran\n"
    assert_nothing_left(engine, worker)


@pytest.mark.usefixtures("needs_time")
@pytest.mark.parametrize("call", ["GET /logs", "GET /json", "POST /wait"])
def test_stop_while_the_engine_does_not_tell_how_a_command_has_ended_loses_nothing(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, call: str
) -> None:
    """The engine has said that it has ended. The container stays for the next start, which reads the rest."""
    job = begun(mock, worker)
    engine.wait_for_call("/wait", "the worker to wait for the end")
    engine.refusals[call] = (503, "busy")
    go(worker, job)
    mock.wait_for_status(job, "postprocessing", "finished")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    engine.refusals.clear()
    worker.start()
    mock.wait_for_status(job)
    assert "queued" not in mock.statuses(job)
    assert_finished_once(mock, job)
    assert_nothing_left(engine, worker)


@pytest.mark.parametrize("answer", [(500, "trouble"), (503, "busy"), (504, "a proxy waits no longer")])
def test_start_of_the_command_is_recorded_before_the_engine_is_asked_for_it(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, answer: tuple[int, str]
) -> None:
    """A worker that is killed in between would know it by the wall clock alone."""
    engine.refusals["POST /start"] = answer
    job = mock.submit("true")
    worker.wait_for_log("cannot start the job's container")
    state = JobState.model_validate_json((worker.base / job / "job.json").read_bytes())
    assert state.started is not None
    engine.refusals.clear()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
