"""The last step of a job, its report, which arrives once; and what all steps are free of."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from job_fetcher import steps
from job_fetcher.core.errors import JobGone
from job_fetcher.core.job import Final, JobStatus
from tests.support.platform import Platform
from tests.support.stage import Stage

pytestmark = pytest.mark.usefixtures("waits")
FINISHED = Final(status=JobStatus.FINISHED, details="It exited with code 0.")


def updates(stage: Stage) -> list[Any]:
    return stage.mock.job(stage.id).history[2:]  # queued, pulled


def report(stage: Stage, final: Final = FINISHED, **more: Any) -> list[tuple[str, str | None]]:
    steps.report(stage.api, stage.id, final, **more)
    return [(each.status, each.runtime_details) for each in updates(stage)]


@pytest.mark.parametrize("status", [JobStatus.FINISHED, JobStatus.ERROR, JobStatus.QUEUED])
def test_the_last_status_is_sent_with_its_details(mock: Platform, tmp_path: Path, status: Any) -> None:
    assert report(Stage(mock, tmp_path), Final(status=status, details="ü 7")) == [(status, "ü 7")]


@pytest.mark.parametrize("cut", ["before", "after"])
def test_the_last_status_arrives_once_even_if_its_answer_is_lost(mock: Platform, tmp_path: Path, cut: str) -> None:
    """P14: two failure mails were sent for one job."""
    stage = Stage(mock, tmp_path)
    mock.fault("/jobs/*/status", method="PUT", cut=cut, times=1)
    assert report(stage) == [("finished", FINISHED.details)]
    assert report(stage, again=True) == [("finished", FINISHED.details)]


@pytest.mark.parametrize("ended", [JobStatus.FINISHED, JobStatus.ERROR])
def test_a_job_that_has_ended_is_not_requeued(mock: Platform, tmp_path: Path, ended: Any) -> None:
    """It would be run once more, after its user has been told that it has ended."""
    stage = Stage(mock, tmp_path)
    report(stage, Final(status=ended, details="done"))
    assert report(stage, Final(status=JobStatus.QUEUED, details="given back"), again=True) == [(ended, "done")]


def test_the_last_status_survives_an_outage(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path)
    mock.fault("/jobs/*", status=500, times=25)
    assert report(stage) == [("finished", FINISHED.details)]


@pytest.mark.parametrize("status", [413, 414, 422, 431])
def test_details_that_are_refused_do_not_keep_the_status_from_arriving(
    mock: Platform, tmp_path: Path, status: int
) -> None:
    mock.fault("/jobs/*", query="*runtime_details*", status=status, detail="no")
    assert report(Stage(mock, tmp_path)) == [("finished", None)]


def test_nothing_is_reported_of_a_job_that_is_gone(mock: Platform, tmp_path: Path) -> None:
    """P7: after its one 404 the API answers 500, which once ended the worker."""
    stage = Stage(mock, tmp_path)
    mock.cancel(stage.id)
    for _ in range(2):  # 404, then 500
        with pytest.raises(JobGone):
            report(stage)
    assert updates(stage) == []


def test_steps_run_where_docker_is_not_installed() -> None:
    """The platform's cloud side calls them from AWS Lambda."""
    code = "import sys; sys.modules['docker'] = None; import job_fetcher.steps; assert 'pynvml' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
