"""The Docker engine restarts, dies, stalls or answers 500 while a job is under way."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import StartWorker
from tests.support.gate import Gate
from tests.support.leaks import Evidence
from tests.support.own_engine import IMAGE, OwnEngine, own_engine
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

ENDS_WITH_143 = "trap 'exit 143' TERM"
ENDS_WITH_0 = "trap 'exit 0' TERM"
IGNORES_IT = "trap '' TERM"
LINE = (
    "test ! -e /files/output/stale && touch /files/output/stale;"
    " until [ -e /files/go ]; do sleep 0.05; done; cp /files/a /files/output/b; exit $(cat /files/go)"
)
ENDINGS = {"restarted": signal.SIGTERM, "killed": signal.SIGKILL}


@pytest.fixture(scope="module")
def engine(needs_engine: None) -> Iterator[OwnEngine]:
    with own_engine() as engine:
        yield engine


@pytest.fixture
def engine_worker(mock: Platform, engine: OwnEngine, evidence: Evidence, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker of `engine`."""
    worker = WorkerProcess(mock, engine.client, tmp_path / "data", evidence.file("worker"), {"DOCKER_HOST": engine.url})
    yield worker
    if not engine.answers():
        engine.start()
    worker.end()
    print(worker.log)  # noqa: T201 - pytest shows it if the test has failed


def _kill(worker: WorkerProcess) -> None:
    worker.signal(signal.SIGKILL)
    worker.wait()


def _running(mock: Platform, worker: WorkerProcess, trap: str) -> str:
    job = mock.submit(f"{trap}; {LINE}", image=IMAGE, files={"a": b"content"}, up={"output": "output"})
    wait_until(lambda: (worker.base / job / "files/output/stale").exists(), "the command")
    return job


def _run_again(mock: Platform, worker: WorkerProcess, job: str, before: str | None) -> None:
    """The command runs anew in another container, from clean outputs, and the job finishes, told of once."""
    wait_until(lambda: [each for each in worker.containers() if each.id != before], "another container")
    wait_until(lambda: (worker.base / job / "files/output/stale").exists(), "the command once more")
    (worker.base / job / "files/go").write_text("0")
    mock.wait_for_status(job)
    assert mock.outputs(job) == {"output/output/stale": b"", "output/output/b": b"content"}
    assert [update.status.value for update in mock.job(job).history].count("finished") == 1
    assert mock.job(job).status == "finished"
    worker.stop()
    worker.assert_nothing_left()


@pytest.mark.parametrize("trap", [ENDS_WITH_143, ENDS_WITH_0], ids=["exits with 143", "exits with 0"])
def test_command_that_the_engines_restart_ended_is_run_again(
    mock: Platform, engine: OwnEngine, engine_worker: WorkerProcess, trap: str
) -> None:
    """Whatever its exit code: who watches it sees that the engine went first."""
    job = _running(mock, engine_worker, trap)
    before = engine_worker.container().id
    engine.restart()
    _run_again(mock, engine_worker, job, before)


def test_command_is_run_again_after_the_engine_was_killed(
    mock: Platform, engine: OwnEngine, engine_worker: WorkerProcess
) -> None:
    """The engine's next start ends the container that it finds."""
    job = _running(mock, engine_worker, IGNORES_IT)
    before = engine_worker.container().id
    engine.restart(signal.SIGKILL)
    _run_again(mock, engine_worker, job, before)


@pytest.mark.parametrize("how", ENDINGS.values(), ids=ENDINGS)
def test_command_is_run_again_although_the_worker_was_away_when_the_engine_ended(
    mock: Platform, engine: OwnEngine, engine_worker: WorkerProcess, how: signal.Signals
) -> None:
    job = _running(mock, engine_worker, ENDS_WITH_143)
    before = engine_worker.container().id
    _kill(engine_worker)
    engine.restart(how)
    engine_worker.start()
    _run_again(mock, engine_worker, job, before)


@pytest.mark.parametrize(("code", "how"), [(0, signal.SIGTERM), (3, signal.SIGKILL)], ids=["restarted", "killed"])
def test_command_that_ended_by_itself_before_the_engine_did_is_not_run_again(
    mock: Platform, engine: OwnEngine, engine_worker: WorkerProcess, code: int, how: signal.Signals
) -> None:
    """While the worker was away."""
    job = _running(mock, engine_worker, ENDS_WITH_143)
    container = engine_worker.container()
    _kill(engine_worker)
    (engine_worker.base / job / "files/go").write_text(str(code))
    container.wait()
    engine.restart(how)
    engine_worker.start()
    mock.wait_for_status(job)
    assert mock.job(job).status == ("error" if code else "finished")
    assert f"exit code {code}" in mock.details(job)


@pytest.mark.parametrize("code", [137, 143])
def test_command_that_died_by_itself_is_not_run_again(
    mock: Platform, engine: OwnEngine, engine_worker: WorkerProcess, code: int
) -> None:
    """By the same exit codes as those that a shutdown leaves."""
    job = _running(mock, engine_worker, ENDS_WITH_143)
    (engine_worker.base / job / "files/go").write_text(str(code))
    mock.wait_for_status(job)
    assert mock.job(job).status == "error"
    assert f"exit code {code}" in mock.details(job)


def test_job_that_loses_its_container_three_times_fails(
    mock: Platform, engine: OwnEngine, engine_worker: WorkerProcess
) -> None:
    job = _running(mock, engine_worker, ENDS_WITH_143)
    seen: set[str] = set()
    for _ in range(3):
        seen.add(wait_until(lambda: _another(engine_worker, seen), "another container"))
        engine.restart()
    mock.wait_for_status(job)
    assert mock.job(job).status == "error"
    assert "lost 3 times, by shutdowns of this machine or its engine" in mock.details(job)


def _another(worker: WorkerProcess, seen: set[str]) -> str:
    return next((each.id or "" for each in worker.containers() if each.status == "running" and each.id not in seen), "")


# The machine's own engine, behind a gate.


@pytest.fixture
def behind_gate(start_worker: StartWorker, engine_gate: Gate) -> WorkerProcess:
    return start_worker(DOCKER_HOST=f"unix://{engine_gate.path}")


WAIT_FOR_GO = "until [ -e /files/go ]; do sleep 0.05; done"
TROUBLE: dict[str, Callable[[Gate], None]] = {
    "500": lambda gate: gate.answer("500 Internal Server Error", '{"message": "trouble"}'),
    "refused": Gate.close_port,
    "reset": Gate.reset,
    "silent": Gate.hold,
}


@pytest.mark.parametrize("trouble", ["refused", "500"])
def test_no_job_is_asked_for_while_the_engine_is_away(
    mock: Platform, behind_gate: WorkerProcess, engine_gate: Gate, job_image: str, trouble: str
) -> None:
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > 0, "a look for a job")
    TROUBLE[trouble](engine_gate)
    behind_gate.wait_for_log("The worker asks for no job: the Docker engine does not answer")
    job = mock.submit("true", image=job_image)
    looks = len(mock.requests("GET", "/jobs"))
    TROUBLE["500"](engine_gate)  # which counts the tries, as a closed port cannot
    wait_until(lambda: engine_gate.tries > 2, "more looks for the engine")
    assert len(mock.requests("GET", "/jobs")) == looks
    assert behind_gate.log.count("The worker asks for no job") == 1
    engine_gate.open()
    behind_gate.wait_for_log("The worker asks for jobs again")
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"


@pytest.mark.parametrize("trouble", ["refused", "500"])
@pytest.mark.parametrize(
    "request_under_way", ["/jobs", "/files/*/download"], ids=["when the job comes", "while it downloads"]
)
def test_job_waits_for_an_engine_that_is_away_before_its_container_is_made(
    mock: Platform,
    behind_gate: WorkerProcess,
    engine_gate: Gate,
    job_image: str,
    trouble: str,
    request_under_way: str,
) -> None:
    fault = mock.fault(request_under_way, "GET", hang=True)
    job = mock.submit("cat /files/a", image=job_image, files={"a": b"content"})
    mock.wait_until(lambda: fault.matched > 0, "the request")
    TROUBLE[trouble](engine_gate)
    mock.heal()
    behind_gate.wait_for_log("trying again until it works")
    engine_gate.open()
    mock.wait_for_status(job)
    assert mock.outputs(job) == {"log/log/container.log": b"content"}


@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE)
def test_running_container_is_attached_to_again_when_the_engine_answers(
    mock: Platform, behind_gate: WorkerProcess, engine_gate: Gate, job_image: str, trouble: Callable[[Gate], None]
) -> None:
    job = mock.submit(WAIT_FOR_GO, image=job_image)
    mock.wait_for_status(job, "running")
    behind_gate.container()
    trouble(engine_gate)
    if trouble is TROUBLE["500"] or trouble is TROUBLE["reset"]:
        wait_until(lambda: engine_gate.tries >= 2, "tries")
    (behind_gate.base / job / "files/go").touch()
    engine_gate.open()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    behind_gate.stop()
    behind_gate.assert_nothing_left()


def test_engine_that_answers_500_for_good_is_not_waited_for_for_ever(
    mock: Platform, behind_gate: WorkerProcess, engine_gate: Gate, job_image: str
) -> None:
    """The engine is this machine's: its job is requeued, and its user reads why. No job fails for that."""
    job = mock.submit(WAIT_FOR_GO, image=job_image)
    mock.wait_for_status(job, "running")
    TROUBLE["500"](engine_gate)
    mock.wait_until(lambda: "queued" in mock.statuses(job), "the job to be requeued", timeout_s=120)
    assert "The Docker engine cannot" in mock.details(job)
    assert "trouble" in mock.details(job)
    assert "error" not in mock.statuses(job)
