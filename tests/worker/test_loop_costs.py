"""What a job costs beside its work: questions to the engine, and what is on disk when its command starts."""

import json
from typing import Any

import pytest

from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import StartWorker
from tests.support.platform import Platform
from tests.support.worker import run_job, wait_until

pytestmark = pytest.mark.usefixtures("needs_time")

MOST_QUESTIONS = {
    "GET /images/json": 1,  # which ones the pull does not bring
    "GET /containers/json": 1,  # whether an earlier worker has left its container
    "POST /stop": 0,  # of a container that has ended
    "GET /info": 0,  # which product it is, is known
    "GET /version": 0,
}
MOST_IN_ALL = 19


def test_second_job_on_the_same_image_asks_the_engine_no_more_than_it_has_to(
    mock: Platform, start: StartWorker, engine: FakeEngine
) -> None:
    """Of a command that runs when the worker looks at it first: an end before that costs less."""
    worker = start(FINISH_BEHIND="0")
    run_job(mock, "true")
    wait_until(lambda: not engine.jobs(), "the first container to go")
    engine.calls.clear()
    job = mock.submit("until [ -e /files/go ]; do sleep 0.02; done")
    engine.wait_for_call("/wait", "the worker to wait for the end")
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    calls = [each for each in engine.calls if not each.endswith("/_ping")]  # of each look for a job, too
    assert len(calls) <= MOST_IN_ALL, calls
    for question, most in MOST_QUESTIONS.items():
        method, _, end = question.partition(" ")
        assert len([each for each in calls if each.startswith(f"{method} ") and each.endswith(end)]) <= most, calls


@pytest.mark.parametrize("call", ["_create", "_do", "_list"])
def test_start_of_the_command_is_on_disk_before_the_engine_is_asked_for_its_container(
    mock: Platform, start: StartWorker, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A record replaces the one before by a rename, after its fsync: what can be read would outlive a power cut.

    It is the record that says that the job runs: the start has no fsync of its own.
    """
    answer = getattr(FakeEngine, call)
    seen: list[dict[str, Any]] = []
    worker = start()

    def noted(*arguments: Any) -> Any:
        seen.extend(json.loads(each.read_text()) for each in worker.base.glob("[!.]*/job.json"))
        return answer(*arguments)

    monkeypatch.setattr(FakeEngine, call, noted)
    run_job(mock, "true")
    before = [each for each in seen if each["outcome"] is None]
    assert before
    assert [each["runs"] for each in before] == [int(each["started"] is not None) for each in before]
