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
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess
from tests.worker.test_loop_overlap import assert_finished_once, go, two_in_hand

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


def test_drain_finishes_the_job_that_waits_for_its_turn_too(
    mock: Platform, start: Callable[..., WorkerProcess]
) -> None:
    worker = start()
    first, second = two_in_hand(mock, worker)
    worker.signal(signal.SIGKILL)
    worker.wait()
    asked = mock.fault(f"/jobs/{first}/status", method="GET", hang=True)
    worker.start()
    mock.wait_until(lambda: asked.matched > 0, "the first to be resumed")
    worker.signal(signal.SIGQUIT)
    worker.wait_for_log("Received SIGQUIT")
    go(worker, second)
    mock.heal()
    assert worker.wait() == 0
    assert_finished_once(mock, first, second)
