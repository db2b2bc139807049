"""A job that its user deletes is dropped wherever it is: nothing of it is left or reported, the next one is run."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.faults.conftest import StartWorker
from tests.support.gate import Gate
from tests.support.platform import Platform
from tests.support.turns import wait_within
from tests.support.worker import WorkerProcess, wait_until

KEEP_ALIVE_S = 1
GPU_FREE_S = KEEP_ALIVE_S + 10
IGNORES_SIGTERM = "trap '' TERM; echo ready; while :; do sleep 1; done"


@dataclass(frozen=True)
class Stage:
    """Where a job is: what it does, which requests about it hang, and how it is seen to be there."""

    line: str = "echo said"
    hanging: tuple[str, str] | None = None
    status: str = "running"


STAGES = {
    "asking for an input": Stage(hanging=("GET", "/files/*/url"), status="preprocessing"),
    "downloading": Stage(hanging=("GET", "/files/*/download"), status="preprocessing"),
    "running": Stage(IGNORES_SIGTERM),
    "asking for an upload": Stage(hanging=("POST", "/jobs/*/files/url"), status="postprocessing"),
    "uploading": Stage(hanging=("POST", "/store/jobs/*"), status="postprocessing"),
}


def _reach(mock: Platform, worker: WorkerProcess, stage: Stage, image: str) -> str:
    """A job in that stage."""
    fault = mock.fault(stage.hanging[1], stage.hanging[0], hang=True) if stage.hanging else None
    job = mock.submit(stage.line, image=image, files={"a": b"a"}, up={"output": "output"})
    mock.wait_for_status(job, stage.status)
    if fault is not None:
        mock.wait_until(lambda: fault.matched > 0, "the request that hangs")
    else:
        worker.container()
    return job


def _assert_dropped(mock: Platform, worker: WorkerProcess, job: str, image: str) -> None:
    """Nothing is left of a job that was cancelled or reported for it, and the worker does the next one."""
    wait_within(GPU_FREE_S, lambda: not worker.containers() and not worker.folders(), "the job's end")
    assert f"job {job}: dropped" in worker.log
    asked = len(mock.requests(path=f"/jobs/{job}/"))
    mock.heal()
    following = mock.submit("true", image=image)
    mock.wait_for_status(following)
    assert mock.job(following).status == "finished"
    assert len(mock.requests(path=f"/jobs/{job}/")) == asked
    assert not {"queued", "error", "finished"} & set(mock.statuses(job))
    assert worker.stop() == 0
    worker.assert_nothing_left()


@pytest.mark.parametrize("stage", STAGES.values(), ids=STAGES)
def test_job_that_is_deleted_is_dropped_in_every_stage(
    mock: Platform, worker: WorkerProcess, job_image: str, stage: Stage
) -> None:
    """P7, P8: after the one 404 the API answers 500 to everything about the job."""
    job = _reach(mock, worker, stage, job_image)
    mock.cancel(job)
    mock.wait_until(lambda: [each.status for each in mock.requests("PUT", f"/jobs/{job}/")].count(404) == 1, "the 404")
    _assert_dropped(mock, worker, job, job_image)


STALLS: dict[str, Callable[[Gate], None]] = {
    "a registry that does not answer": Gate.hold,
    "a registry that stalls in the middle of a layer": lambda gate: gate.stall_after(200_000),
}


@pytest.mark.parametrize("stall", STALLS.values(), ids=STALLS)
def test_job_that_is_deleted_is_dropped_while_its_image_is_pulled(
    mock: Platform,
    worker: WorkerProcess,
    job_image: str,
    remote_image: str,
    registry_gate: Gate,
    stall: Callable[[Gate], None],
) -> None:
    """P7."""
    stall(registry_gate)
    job = mock.submit("true", image=remote_image)
    wait_until(lambda: registry_gate.tries > 0, "the pull")
    mock.wait_for_status(job, "preprocessing")
    mock.cancel(job)
    _assert_dropped(mock, worker, job, job_image)
    assert mock.statuses(job) == ["preprocessing"]


@pytest.mark.parametrize("stage", ["downloading", "uploading"])
def test_deletion_is_found_although_its_one_404_was_lost_on_the_way(
    mock: Platform, worker: WorkerProcess, job_image: str, stage: str
) -> None:
    """From then on the API answers 500, and only the probe tells."""
    job = _reach(mock, worker, STAGES[stage], job_image)
    lost = mock.fault(f"/jobs/{job}/status", "PUT", cut="after", times=1)
    mock.cancel(job)
    mock.wait_until(lambda: lost.matched > 0, "the loss")
    _assert_dropped(mock, worker, job, job_image)
    answers = [each.status for each in mock.requests("PUT", f"/jobs/{job}/status")]
    assert 404 not in answers
    assert answers[-1] == 500
    assert {each.status for each in mock.requests("GET", f"/jobs/{job}/status")} == {404}


def test_deletion_during_the_upload_is_found_by_its_500_long_before_the_next_keep_alive(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    """P8."""
    worker = start_worker(TIMEOUT_STATUS="120")
    job = _reach(mock, worker, STAGES["asking for an upload"], job_image)
    mock.cancel(job)
    mock.heal()
    _assert_dropped(mock, worker, job, job_image)


@pytest.mark.parametrize("status", ["preprocessing", "running", "postprocessing", "finished"])
def test_job_that_is_deleted_before_one_of_its_statuses_is_dropped(
    mock: Platform, worker: WorkerProcess, job_image: str, status: str
) -> None:
    fault = mock.fault("/jobs/*/status", "PUT", query=f"status={status}*", hang=True)
    job = mock.submit("true", image=job_image)
    mock.wait_until(lambda: fault.matched > 0, "the status on its way")
    mock.cancel(job)
    mock.heal()
    _assert_dropped(mock, worker, job, job_image)
