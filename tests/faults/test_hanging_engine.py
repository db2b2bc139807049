"""An engine that hangs keeps nobody from ending: a worker that is stopped leaves the rest to its next start."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import pytest

from tests.faults.conftest import StartWorker
from tests.support.gate import Gate, free_socket, running_gate
from tests.support.leaks import Evidence
from tests.support.own_engine import IMAGE, OwnEngine, own_engine
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

STOP_S = 8
AT_ONCE_S = 3
COMMAND = "trap exit TERM; until [ -e /files/go ]; do sleep 0.05; done"
REQUESTS = {
    "creating": b"/containers/create?name=job-",
    "starting": b"/start",
    "running": b"/wait",
}
"""The request in the middle of which the engine hangs."""

HangsAt = Callable[[bytes], Event]


@pytest.fixture(scope="module")
def engine(needs_engine: None) -> Iterator[OwnEngine]:
    with own_engine() as engine:
        yield engine


@pytest.fixture
def engine_gate(engine: OwnEngine) -> Iterator[Gate]:
    with running_gate(engine.socket, free_socket()) as gate:
        yield gate


@pytest.fixture
def hangs_at(engine: OwnEngine, engine_gate: Gate) -> Iterator[HangsAt]:
    """Lets the engine hang as soon as a request comes with that in it; tells when it has come."""

    def arm(text: bytes) -> Event:
        hanging = Event()

        def hang() -> None:
            if not hanging.is_set():
                engine.hang()
                hanging.set()

        engine_gate.before(text, hang)
        return hanging

    yield arm
    engine.go_on()


@pytest.fixture
def worker(
    mock: Platform, engine: OwnEngine, engine_gate: Gate, hangs_at: HangsAt, evidence: Evidence, tmp_path: Path
) -> Iterator[WorkerProcess]:
    """A worker of `engine`, idle."""
    settings = {"DOCKER_HOST": f"unix://{engine_gate.path}"}
    worker = WorkerProcess(mock, engine.client, tmp_path / "data", evidence.file("worker"), settings)
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > 0, "a look for a job")
    yield worker
    engine.go_on()
    worker.end()
    print(worker.log)  # noqa: T201 - pytest shows it if the test has failed


def _stopped(worker: WorkerProcess, hanging: Event) -> None:
    """The worker is stopped while the engine hangs."""
    assert hanging.wait(60)
    worker.signal(signal.SIGTERM)
    assert worker.wait_no_longer_than(STOP_S) == 0


def _requeued(mock: Platform, job: str) -> None:
    """The worker requeues the job, and its user deletes it before, or after, the worker has taken it back."""
    mock.wait_until(lambda: "queued" in [each.status for each in mock.job(job).history if each.account], "the requeue")
    mock.cancel(job)


def _works(mock: Platform, worker: WorkerProcess) -> None:
    """The worker's next start does a job and leaves nothing, of whatever was there before."""
    assert mock.job(run_job(mock, "true", image=IMAGE)).status == "finished"
    assert worker.stop() == 0
    worker.assert_nothing_left()


@pytest.mark.parametrize("request_under_way", REQUESTS.values(), ids=REQUESTS)
def test_worker_is_stopped_in_the_middle_of_a_job_while_the_engine_hangs_and_the_next_start_requeues_it(
    mock: Platform, engine: OwnEngine, worker: WorkerProcess, hangs_at: HangsAt, request_under_way: bytes
) -> None:
    """Also the container goes that the engine makes when nobody waits for it any more."""
    hanging = hangs_at(request_under_way)
    job = mock.submit(COMMAND, image=IMAGE)
    _stopped(worker, hanging)
    engine.go_on()
    worker.start()
    _requeued(mock, job)
    _works(mock, worker)


def test_folder_stays_for_a_container_that_may_still_come_when_the_engine_answers_everything_else(
    mock: Platform, engine_gate: Gate, worker: WorkerProcess
) -> None:
    asked, made = Event(), Event()

    def hold() -> Event:
        asked.set()
        return made

    engine_gate.before(b"/containers/create?name=job-", hold)
    job = mock.submit(COMMAND, image=IMAGE)
    _stopped(worker, asked)
    assert worker.folders() == [job]
    made.set()
    wait_until(worker.containers, "the container that nobody waits for any more")
    worker.start()
    _requeued(mock, job)
    _works(mock, worker)


def test_job_whose_command_has_ended_is_finished_by_the_next_start_if_the_engine_hung_when_its_log_was_read(
    mock: Platform, engine: OwnEngine, worker: WorkerProcess, hangs_at: HangsAt
) -> None:
    """A stop never requeues what has been computed."""
    hanging = hangs_at(b"/logs")
    job = mock.submit(COMMAND, image=IMAGE, files={"go": b""})
    _stopped(worker, hanging)
    engine.go_on()
    worker.start()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    _works(mock, worker)


def test_job_whose_end_is_known_is_finished_by_the_next_start_if_the_engine_hung_when_its_container_was_removed(
    mock: Platform, engine: OwnEngine, worker: WorkerProcess, hangs_at: HangsAt
) -> None:
    hanging = hangs_at(b"DELETE /")
    job = mock.submit(COMMAND, image=IMAGE, files={"go": b""})
    _stopped(worker, hanging)
    assert worker.folders() == [job]
    engine.go_on()
    worker.start()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    _works(mock, worker)


@pytest.mark.parametrize("starting", [True, False], ids=["starting", "idle"])
def test_worker_without_a_job_is_stopped_while_the_engine_hangs(
    mock: Platform, engine: OwnEngine, worker: WorkerProcess, hangs_at: HangsAt, starting: bool
) -> None:
    if starting:
        worker.stop()
    hanging = hangs_at(b"GET /")
    if starting:
        worker.start()
    _stopped(worker, hanging)
    engine.go_on()
    worker.start()
    _works(mock, worker)


@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1], ids=lambda each: each.name)
def test_signal_that_comes_before_the_worker_has_begun_ends_it_at_once(
    start_worker: StartWorker, tmp_path: Path, received: signal.Signals
) -> None:
    """Its engine accepts connections and never answers."""
    with running_gate(tmp_path / "nobody.sock", free_socket()) as silent:
        silent.hold()
        worker = start_worker(DOCKER_HOST=f"unix://{silent.path}")
        wait_until(lambda: silent.tries > 0, "the worker to ask the engine")
        worker.signal(received)
        assert worker.wait_no_longer_than(AT_ONCE_S) == 0
    assert "The worker ends before it has started" in worker.log
