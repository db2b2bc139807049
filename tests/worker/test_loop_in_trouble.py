"""Kinds of faults that other files have members of, too: refused removals, a deaf users' side, answers led astray."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import StartWorker
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

pytestmark = pytest.mark.usefixtures("needs_time")

WAIT = "echo ran >> /files/output/ran; until [ -e /files/go ]; do sleep 0.02; done"
UP = {"output": "output"}


@pytest.fixture
def worker(start: StartWorker) -> WorkerProcess:
    return start()


def begun(mock: Platform, worker: WorkerProcess) -> str:
    job = mock.submit(WAIT, up=UP)
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin")
    mock.wait_for_status(job, "running")
    return job


def go(worker: WorkerProcess, job: str) -> None:
    (worker.base / job / "files" / "go").touch()


REFUSALS = {
    "an authorization plugin": {"DELETE /": (403, "authorization denied by plugin opa: request rejected")},
    "a list that fails, too": {"DELETE /": (500, "busy"), "GET /containers/json": (500, "busy")},
}


@pytest.mark.parametrize("refusals", REFUSALS.values(), ids=REFUSALS)
def test_removal_that_is_refused_takes_nothing_from_the_job_and_keeps_the_next_one_away(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, refusals: dict[str, tuple[int, str]]
) -> None:
    job = begun(mock, worker)
    behind = mock.submit("true")
    [container] = engine.jobs()
    engine.refusals |= {
        end.replace("DELETE /", f"DELETE /containers/{container.id}"): answer for end, answer in refusals.items()
    }
    go(worker, job)
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)
    assert mock.outputs(job)["output/output/ran"] == b"ran\n"
    worker.wait_for_log("The worker asks for no job: ")
    assert mock.job(behind).status == "queued"
    engine.refusals.clear()
    mock.wait_for_status(behind)
    assert mock.job(behind).status == "finished", mock.details(behind)
    wait_until(lambda: not engine.jobs() and not worker.folders(), "the job's container and folder to be removed")


def test_job_is_taken_back_although_the_users_side_hears_neither_of_the_requeue_nor_of_that(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess
) -> None:
    """The API keeps each status in its queue, and answers 500."""
    job = begun(mock, worker)
    mock.fault(f"/jobs/{job}/status", "PUT", users_side_down=True)
    worker.signal(signal.SIGTERM)
    wait_until(lambda: mock.job(job).status == "queued", "the requeue")
    worker.wait()
    worker.start()
    wait_until(lambda: mock.job(job).status == "preprocessing", "the job to be taken back")
    mock.heal()
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin again")
    go(worker, job)
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)
    assert mock.outputs(job)["output/output/ran"] == b"ran\n"
    assert not list(Path(worker.base).glob(".requeued-*.json"))


ASTRAY: dict[str, dict[str, Any]] = {
    "a portal's redirect": {"status": 302, "headers": {"Location": "/login"}, "body": ""},
    "a gateway's problem+json": {
        "status": 404,
        "body": '{"type": "about:blank", "title": "Not Found", "status": 404, "detail": {"code": 1}}',
        "headers": {"Content-Type": "application/problem+json"},
    },
    "a robot check": {"status": 418, "body": "<html>are you human?</html>"},
}


@pytest.mark.parametrize("answer", ASTRAY.values(), ids=ASTRAY)
def test_answer_that_is_led_astray_ends_no_job_and_loses_no_file(
    mock: Platform, worker: WorkerProcess, answer: dict[str, Any]
) -> None:
    mock.fault("/files/*/url", times=2, **answer)
    job = mock.submit(WAIT, files={"a": b"a"}, up=UP)
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin")
    wrong = mock.fault("/jobs/*", times=4, **answer)
    mock.wait_until(lambda: wrong.matched >= 4, "the wrong answers")
    mock.fault("/jobs/*/files/url", times=2, **answer)
    mock.fault(f"/jobs/{job}/status", "PUT", query="status=finished*", times=2, **answer)
    go(worker, job)
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)
    assert mock.outputs(job)["output/output/ran"] == b"ran\n"
    assert mock.details(job)
    assert worker.is_running
