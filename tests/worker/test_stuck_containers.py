"""Containers that stay: what is not known counts as a reason to wait for a new job, and is asked for again."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from job_fetcher.core.errors import EngineUnavailable, JobFailed, Unavailable
from job_fetcher.core.job import Job
from job_fetcher.worker.stuck_containers import StuckContainers
from job_fetcher.workspace.workspace import Workspace

ERRORS = [EngineUnavailable("away"), EngineUnavailable("trouble", status=500), Unavailable("x"), JobFailed("refused")]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_failed_look_for_orphans_keeps_the_next_job_away_until_one_works(error: Exception) -> None:
    answers: list[Exception | Sequence[str]] = [error, error, ["job-7"], []]

    def remove_orphans() -> Sequence[str]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    stuck = StuckContainers(lambda _: None, remove_orphans)
    with pytest.raises(type(error)):
        stuck.look_for_orphans()
    assert stuck.reason_against() == f"the engine does not list the containers ({error})"
    assert "the container job-7 of a former job" in (stuck.reason_against() or "")
    assert stuck.reason_against() is None
    assert (stuck.reason_against(), answers) == (None, []), "it is not asked for again"


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_resumed_job_waits_for_a_container_that_stays_and_not_for_what_is_unknown(
    tmp_path: Path, error: Exception
) -> None:
    failures = [error]

    def remove(_: object) -> None:
        for failure in failures:
            raise failure

    stuck = StuckContainers(remove, list)
    assert stuck.reason_against_resuming() is None
    stuck.keep(Workspace(tmp_path, "me").create(Job(id="7", raw={})))
    assert "the container of job 7 cannot be removed" in (stuck.reason_against_resuming() or "")
    failures.clear()
    assert stuck.reason_against_resuming() is None
    assert not (tmp_path / "7").exists()
