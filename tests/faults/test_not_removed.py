"""A container that cannot be removed, or that somebody else removes: what its job has made goes up all the same.

The machine's own engine, behind a gate that refuses some requests.
"""

import pytest

from tests.faults.conftest import StartWorker
from tests.support.gate import Gate
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

BUSY = '{"message": "unable to remove filesystem for abc: device or resource busy"}'
NO_EXIT = '{"message": "could not kill: tried to kill container, but did not receive an exit event"}'
GOING = '{"message": "removal of container abc is already in progress"}'
GONE = '{"message": "No such container: abc"}'
MARKED = '{"message": "container abc is marked for removal"}'
REFUSALS: dict[str, tuple[bytes, str, str]] = {
    "busy": (b"DELETE /", "500 Internal Server Error", BUSY),
    "no exit event": (b"DELETE /", "500 Internal Server Error", NO_EXIT),
    "in progress": (b"DELETE /", "409 Conflict", GOING),
}
OF_A_RUNNING_ONE = REFUSALS | {
    "cannot be stopped, 500": (b"/stop", "500 Internal Server Error", NO_EXIT),
}
LOG = "log/log/container.log"
LINE = "echo said; echo made > /files/output/made; exit {}"
STAYS = "The worker asks for no job: the container of job"


@pytest.fixture
def worker(start_worker: StartWorker, engine_gate: Gate) -> WorkerProcess:
    return start_worker(DOCKER_HOST=f"unix://{engine_gate.path}")


def _submit(mock: Platform, image: str, exit_code: int = 0) -> str:
    return mock.submit(LINE.format(exit_code), image=image, up={"output": "output"})


def _works_again(mock: Platform, worker: WorkerProcess, waiting: str) -> None:
    """The job that waited runs, and nothing is left."""
    mock.wait_for_status(waiting)
    assert mock.job(waiting).status == "finished"
    assert worker.stop() == 0
    worker.assert_nothing_left()


@pytest.mark.parametrize(
    ("refusal", "exit_code"),
    [*((each, 0) for each in REFUSALS.values()), (REFUSALS["busy"], 3)],
    ids=[*REFUSALS, "error"],
)
def test_job_whose_container_cannot_be_removed_keeps_its_outcome_and_the_next_one_waits(
    mock: Platform,
    worker: WorkerProcess,
    engine_gate: Gate,
    job_image: str,
    refusal: tuple[bytes, str, str],
    exit_code: int,
) -> None:
    engine_gate.refuse(*refusal)
    job, waiting = _submit(mock, job_image, exit_code), mock.submit("true", image=job_image)
    mock.wait_for_status(job)
    assert mock.job(job).status == ("error" if exit_code else "finished")
    assert mock.details(job).startswith(f"The command ended with exit code {exit_code}.")
    assert mock.outputs(job) == {"output/output/made": b"made\n", LOG: b"said\n"}
    worker.wait_for_log(f"{STAYS} {job} cannot be removed")
    refused = engine_gate.refused
    wait_until(lambda: engine_gate.refused > refused + 1, "more tries")
    assert mock.job(waiting).status == "queued"
    assert not mock.job(waiting).history[1:]
    assert [each.status for each in worker.containers()] == ["exited"]
    engine_gate.refuse_no_more()
    _works_again(mock, worker, waiting)


def test_container_that_somebody_else_is_removing_is_waited_for(
    mock: Platform, worker: WorkerProcess, engine_gate: Gate, job_image: str
) -> None:
    engine_gate.refuse(*REFUSALS["in progress"])
    job, waiting = _submit(mock, job_image), mock.submit("true", image=job_image)
    wait_until(lambda: engine_gate.refused > 0, "the worker's own removal")
    for each in worker.containers():
        each.remove()
    engine_gate.refuse_no_more()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    assert mock.outputs(job) == {"output/output/made": b"made\n", LOG: b"said\n"}
    _works_again(mock, worker, waiting)
    assert STAYS not in worker.log


def test_container_that_stays_keeps_the_next_job_away_after_a_restart_of_the_worker(
    mock: Platform, worker: WorkerProcess, engine_gate: Gate, job_image: str
) -> None:
    engine_gate.refuse(*REFUSALS["busy"])
    job = _submit(mock, job_image)
    mock.wait_for_status(job)
    worker.wait_for_log(STAYS)
    assert worker.stop() == 0
    assert worker.folders() == [job]
    waiting = mock.submit("true", image=job_image)
    worker.start()
    wait_until(lambda: worker.log.count(STAYS) == 2, "the next start to say why it waits")
    assert mock.job(waiting).status == "queued"
    assert mock.statuses(job).count("finished") == 1
    engine_gate.refuse_no_more()
    _works_again(mock, worker, waiting)


@pytest.mark.parametrize("refusal", OF_A_RUNNING_ONE)
def test_deleted_job_whose_container_cannot_be_removed_is_dropped_without_a_word(
    mock: Platform, worker: WorkerProcess, engine_gate: Gate, job_image: str, refusal: str
) -> None:
    """The container may still run: its folder stays for so long, and no next job comes."""
    job = mock.submit("until [ -e /files/go ]; do sleep 0.05; done", image=job_image)
    mock.wait_for_status(job, "running")
    engine_gate.refuse(*OF_A_RUNNING_ONE[refusal])
    mock.cancel(job)
    waiting = mock.submit("true", image=job_image)
    worker.wait_for_log(STAYS)
    assert worker.folders() == [job]
    ended = [request.query["status"] for request in mock.requests("PUT", f"/jobs/{job}/status")]
    assert ["error"] not in ended
    assert ["finished"] not in ended
    engine_gate.refuse_no_more()
    _works_again(mock, worker, waiting)


@pytest.mark.parametrize(
    ("status", "body"), [("409 Conflict", MARKED), ("500 Internal Server Error", BUSY), ("404 Not Found", GONE)]
)
def test_log_that_cannot_be_read_says_so_and_the_outputs_go_up(
    mock: Platform, worker: WorkerProcess, engine_gate: Gate, job_image: str, status: str, body: str
) -> None:
    engine_gate.refuse(b"/logs?", status, body)
    job = _submit(mock, job_image)
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    outputs = mock.outputs(job)
    assert outputs["output/output/made"] == b"made\n"
    assert outputs[LOG].startswith(b"The log could not be read. ")
    engine_gate.refuse_no_more()
    assert mock.job(run_job(mock, "true", image=job_image)).status == "finished"


def test_orphan_that_cannot_be_removed_keeps_the_next_job_away(
    mock: Platform, worker: WorkerProcess, engine_gate: Gate, job_image: str
) -> None:
    """Somebody has removed its folder while the worker was away."""
    job = mock.submit("until [ -e /files/go ]; do sleep 0.05; done", image=job_image)
    mock.wait_for_status(job, "running")
    name = worker.container().name
    worker.signal(9)
    worker.wait()
    (worker.base / job).rename(worker.base.with_name("elsewhere"))
    engine_gate.refuse(*REFUSALS["busy"])
    waiting = mock.submit("true", image=job_image)
    worker.start()
    worker.wait_for_log(f"The worker asks for no job: the container {name} of a former job cannot be removed.")
    assert mock.job(waiting).status == "queued"
    engine_gate.refuse_no_more()
    _works_again(mock, worker, waiting)
