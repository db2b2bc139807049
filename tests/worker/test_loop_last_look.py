"""A stop between the end of a command and the engine's word of it: the job has an outcome, and is not requeued."""

import signal

import pytest

from tests.support.fake_engine import FakeContainer, FakeEngine
from tests.support.fake_engine_workers import StartWorker
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

pytestmark = pytest.mark.usefixtures("needs_time")

WAIT = "echo ran >> /files/output/ran; until [ -e /files/go ]; do sleep 0.02; done"


@pytest.fixture
def worker(start: StartWorker) -> WorkerProcess:
    """Refusals are believed soon. The engine has all the time that it needs for its answer to the last look."""
    return start(constants={"REFUSED_FOR_S": 1.0, "LOOK_S": 30.0, "STOP_S": 30.0})


def ended_unheard(mock: Platform, engine: FakeEngine, worker: WorkerProcess, last: str) -> tuple[str, FakeContainer]:
    """A job whose command has ended with `last`, and the engine has told nobody."""
    engine.tells_ends = False
    job = mock.submit(f"{WAIT}; {last}", up={"output": "output"})
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin")
    mock.wait_for_status(job, "running")
    engine.wait_for_call("/wait", "the worker to wait for the end")
    [container] = engine.jobs()
    (worker.base / job / "files" / "go").touch()
    wait_until(lambda: container.status == "exited", "the command to end")
    return job, container


def assert_ends(mock: Platform, engine: FakeEngine, worker: WorkerProcess, job: str, status: str) -> None:
    assert "queued" not in mock.statuses(job)
    engine.tells_ends = True
    mock.heal()
    worker.start()
    mock.wait_for_status(job)
    assert mock.job(job).status == status, mock.details(job)
    assert mock.outputs(job)["output/output/ran"] == b"ran\n"
    assert "queued" not in mock.statuses(job)
    wait_until(lambda: not engine.jobs() and not worker.folders(), "the job's container and folder to be removed")


@pytest.mark.parametrize(("last", "status"), [("true", "finished"), ("exit 3", "error"), ("kill -9 $$", "error")])
def test_stop_between_the_end_of_a_command_and_the_engines_word_of_it_requeues_nothing(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, last: str, status: str
) -> None:
    job, _ = ended_unheard(mock, engine, worker, last)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert_ends(mock, engine, worker, job, status)


def test_refused_credentials_between_the_end_of_a_command_and_the_engines_word_of_it_requeue_nothing(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess
) -> None:
    job, _ = ended_unheard(mock, engine, worker, "true")
    mock.fault("/jobs/*", status=401, detail="no")
    worker.wait_for_log(f"job {job}: kept: ")
    engine.tells_ends = True
    assert worker.wait() == 3
    assert_ends(mock, engine, worker, job, "finished")


@pytest.mark.parametrize("code", [137, 143, 0, 3])
def test_command_that_the_engines_shutdown_ended_together_with_the_worker_is_requeued(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, code: int
) -> None:
    job, container = ended_unheard(mock, engine, worker, f"exit {code}")
    container.signals.append(signal.SIGTERM)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert mock.job(job).status == "queued"
    assert engine.jobs() == []


@pytest.mark.parametrize("trouble", ["answers 500", "is gone"])
def test_job_is_requeued_if_the_engine_cannot_be_asked_for_the_last_look(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, trouble: str
) -> None:
    job, container = ended_unheard(mock, engine, worker, "true")
    if trouble == "is gone":
        del engine.containers[container.id]
    else:
        engine.refusals[f"GET /{container.id}/json"] = (500, "busy")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    engine.refusals.clear()
    assert mock.job(job).status == "queued"
