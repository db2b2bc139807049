"""The jobs of an earlier start: in which order they are resumed, and that those that wait are kept alive."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job_fetcher.config.settings import Reporting
from job_fetcher.core.job import Final, Job, JobStatus, Outcome
from job_fetcher.worker.left_behind import in_turn
from job_fetcher.worker.shutdown import Shutdown
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.workspace import Workspace
from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import IMPATIENT
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until
from tests.worker.test_loop_overlap import (
    WAIT,
    assert_drain_finishes,
    assert_finished_once,
    go,
    submit,
    two_in_hand,
)

OUTCOME = Outcome(exit_code=0, reason="", succeeded=True)
OFTEN = Reporting(timeout_status=0.2)


def left(base: Path, job_id: str, **known: Any) -> JobFolder:
    folder = Workspace(base, "me").create(Job(id=job_id, raw={}))
    folder.record(**known)
    return folder


FINALS = [
    Final(status=JobStatus.FINISHED, details=""),
    Final(status=JobStatus.ERROR, details=""),
    Final(status=JobStatus.QUEUED, details=""),
]


@pytest.mark.parametrize("final", FINALS, ids=lambda final: final.status)
@pytest.mark.parametrize("ended", [{"outcome": OUTCOME}, {"exited": True}])
def test_job_with_the_least_left_to_do_is_resumed_first(
    mock: Platform, tmp_path: Path, final: Final, ended: dict[str, Any]
) -> None:
    mock.fault("/jobs/*", status=503)
    folders = [
        left(tmp_path, "1", runs=1),
        left(tmp_path, "2", runs=1, **ended),
        left(tmp_path, "3", final=final),
        left(tmp_path, "4"),
    ]
    turns = in_turn(folders, mock.api(), Shutdown(), OFTEN)
    assert [folder.job_id for folder in turns] == ["3", "2", "1", "4"]


def test_job_that_waits_for_a_container_that_stays_is_kept_alive(mock: Platform, tmp_path: Path) -> None:
    jobs = [mock.pulled(), mock.pulled()]

    def wait_for_machine(folder: JobFolder) -> None:
        if folder.job_id == jobs[1]:
            heard = len(mock.requests("PUT", f"/jobs/{jobs[1]}/status"))
            mock.wait_until(
                lambda: len(mock.requests("PUT", f"/jobs/{jobs[1]}/status")) > heard + 1, "keep-alives meanwhile"
            )

    turns = in_turn([left(tmp_path, job) for job in jobs], mock.api(), Shutdown(), OFTEN, wait_for_machine)
    assert [folder.job_id for folder in turns] == jobs


def second_waits(
    mock: Platform, worker: WorkerProcess, while_away: Callable[[str], None] = lambda _: None
) -> tuple[str, str]:
    """A start that has found two jobs. It resumes the first one as long as there is a fault, and the second waits."""
    first, second = two_in_hand(mock, worker)
    worker.signal(signal.SIGKILL)
    worker.wait()
    while_away(second)
    asked = mock.fault(f"/jobs/{first}/status", method="GET", hang=True)
    worker.start()
    mock.wait_until(lambda: asked.matched > 0, "the first to be resumed")
    return first, second


def test_drain_finishes_the_job_that_waits_for_its_turn_too(
    mock: Platform, start: Callable[..., WorkerProcess]
) -> None:
    worker = start()
    first, second = second_waits(mock, worker)
    assert_drain_finishes(mock, worker, first, second)


def test_stop_requeues_the_job_that_waits_for_its_turn_too(
    mock: Platform, engine: FakeEngine, start: Callable[..., WorkerProcess]
) -> None:
    """Its container ran on."""
    worker = start()
    first, second = second_waits(mock, worker)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert (mock.statuses(first)[-1], mock.statuses(second)[-1]) == ("postprocessing", "queued")
    assert (worker.folders(), engine.jobs()) == ([first], [])


def test_stop_keeps_the_job_that_waits_for_its_turn_if_its_command_has_ended(
    mock: Platform, engine: FakeEngine, start: Callable[..., WorkerProcess]
) -> None:
    worker = start(constants={**IMPATIENT, "LOOK_S": 30.0})  # a busy engine has its time for the last look

    def end(job: str) -> None:
        go(worker, job)
        wait_until(lambda: not any(each.status == "running" for each in engine.jobs()), "the command to end")

    first, second = second_waits(mock, worker, end)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert "queued" not in mock.statuses(second)
    assert worker.folders() == sorted([first, second])
    mock.heal()
    worker.start()
    assert_finished_once(mock, first, second)


def test_detach_leaves_the_container_of_the_job_that_waits_for_its_turn(
    mock: Platform, engine: FakeEngine, start: Callable[..., WorkerProcess]
) -> None:
    worker = start()
    first, second = second_waits(mock, worker)
    worker.signal(signal.SIGUSR1)
    assert worker.wait() == 0
    assert len(engine.jobs()) == 1
    mock.heal()
    worker.start()
    go(worker, second)
    assert_finished_once(mock, first, second)


@pytest.mark.parametrize("status", [500, 504])
def test_stop_before_the_engine_has_told_of_the_container_keeps_what_its_command_has_made(
    mock: Platform, engine: FakeEngine, start: Callable[..., WorkerProcess], status: int
) -> None:
    worker = start(constants={"FIRST_SPAN_S": 0.2, "ENGINE_MAX_WAIT_S": 0.05, "STOP_S": 0.5})
    job = submit(mock, WAIT)
    mock.wait_for_status(job, "running")
    worker.signal(signal.SIGKILL)
    worker.wait()
    go(worker, job)
    engine.refusals["GET /containers/json"] = (status, "busy")
    worker.start()
    worker.wait_for_log(f"job {job}: resuming")
    worker.wait_for_log("trying again until it works")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert (worker.folders(), "queued" in mock.statuses(job)) == ([job], False)
    engine.refusals.clear()
    worker.start()
    assert_finished_once(mock, job)
