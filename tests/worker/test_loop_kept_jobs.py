"""A job that stays while the worker runs on is resumed before the next one; one that has ended meanwhile is dropped."""

import json
import signal
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.jobs import Status
from job_fetcher.core.job import Job, Outcome
from job_fetcher.worker import kept_jobs
from job_fetcher.worker.kept_jobs import KeptJobs
from job_fetcher.workspace.job_folder import JobFolder
from job_fetcher.workspace.workspace import Workspace
from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import StartWorker
from tests.support.platform import USERNAME, Platform
from tests.support.worker import WorkerProcess, wait_until

WAIT = "echo ran >> /files/output/ran; until [ -e /files/go ]; do sleep 0.02; done"
IMPATIENT = {"ENGINE_MAX_WAIT_S": 0.05, "INVALID_ANSWERS": 2, "FIRST_SPAN_S": 0.2}
"""What is believed after some tries is believed soon by this worker."""


@pytest.fixture
def worker(start: StartWorker) -> WorkerProcess:
    return start(constants=IMPATIENT)


def begun(mock: Platform, worker: WorkerProcess, engine: FakeEngine | None = None) -> str:
    """Submit a job that waits for `go`; its id, as soon as its command runs, and the worker waits at `engine`."""
    job = mock.submit(WAIT, up={"output": "output"})
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin")
    mock.wait_for_status(job, "running")
    if engine is not None:
        engine.wait_for_call("/wait", "the worker to wait for the end")
    return job


def go(worker: WorkerProcess, job: str) -> None:
    (worker.base / job / "files" / "go").touch()


def assert_nothing_left(engine: FakeEngine, worker: WorkerProcess) -> None:
    wait_until(lambda: not engine.jobs() and not worker.folders(), "the job's container and folder to be removed")


@pytest.mark.parametrize("status", [500, 503, 504])
def test_job_whose_end_the_engine_does_not_tell_is_resumed_before_the_next_one(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, status: int
) -> None:
    job = begun(mock, worker, engine)
    [container] = engine.jobs()
    behind = mock.submit("true")
    engine.refusals[f"GET /{container.id}/json"] = (status, "busy")
    go(worker, job)
    worker.wait_for_log(f"job {job}: kept: ")
    engine.refusals.clear()
    for each in (job, behind):
        mock.wait_for_status(each)
        assert mock.job(each).status == "finished", mock.details(each)
    assert mock.outputs(job)["output/output/ran"] == b"ran\n"
    assert (mock.statuses(job)[-1], mock.statuses(job).count("finished")) == ("finished", 1)
    assert_nothing_left(engine, worker)
    assert worker.is_running


def test_last_status_that_nobody_understood_is_sent_before_the_next_job_is_asked_for(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess
) -> None:
    job = begun(mock, worker)
    behind = mock.submit("true")
    path = f"/jobs/{job}/status"
    mock.fault(path, "PUT", query="status=finished*", cut="before")
    mock.fault(path, "GET", status=200, body='"strange"', headers={"Content-Type": "application/json"})
    go(worker, job)
    worker.wait_for_log(f"job {job}: kept: ")
    mock.heal()
    for each in (job, behind):
        mock.wait_for_status(each)
        assert mock.job(each).status == "finished", mock.details(each)
    assert mock.statuses(job).count("finished") == 1
    assert_nothing_left(engine, worker)


def test_job_that_stays_while_the_next_one_runs_is_finished_behind_it(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess
) -> None:
    """The job that runs may run for hours: the API gave the other one up meanwhile."""
    job = begun(mock, worker)
    path = f"/jobs/{job}/status"
    mock.fault(path, "PUT", query="status=finished*", cut="before")
    asked = mock.fault(path, "GET", hang=True)
    go(worker, job)
    mock.wait_until(lambda: asked.matched > 0, "the last status to be in doubt")
    running = begun(mock, worker)
    mock.fault(path, "GET", status=200, body='"strange"', headers={"Content-Type": "application/json"})
    asked.cleared = True
    worker.wait_for_log(f"job {job}: kept: ")
    mock.heal()
    mock.wait_for_status(job)
    assert (mock.statuses(job)[-1], mock.statuses(job).count("finished")) == ("finished", 1)
    assert mock.job(running).status == "running"
    go(worker, running)
    mock.wait_for_status(running)
    assert mock.statuses(running).count("finished") == 1
    assert_nothing_left(engine, worker)
    assert worker.is_running


@pytest.mark.parametrize("known", [{"exited": True}, {}, {"outcome": Outcome(exit_code=0, reason="", succeeded=True)}])
def test_only_a_job_that_needs_no_container_is_finished_behind_another(tmp_path: Path, known: dict[str, Any]) -> None:
    kept, folder, resumed = KeptJobs(10), _folder(tmp_path, "17"), list[JobFolder]()
    folder.record(**known)
    kept.keep(folder)
    kept.resume(resumed.append, behind=True)
    assert bool(resumed) == ("outcome" in known)
    assert kept.are_due(behind=False) != ("outcome" in known)


def test_kept_job_that_another_thread_resumes_is_not_resumed_twice(tmp_path: Path) -> None:
    kept, resumed = KeptJobs(10), list[str]()

    def resume(folder: JobFolder) -> None:
        resumed.append(folder.job_id)
        kept.resume(resume)  # the main thread meanwhile

    for job_id in ("17", "18"):
        kept.keep(_folder(tmp_path, job_id))
    kept.resume(resume, behind=False)
    assert resumed == ["17", "18"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGKILL])
def test_kept_job_is_resumed_by_the_next_start_if_the_worker_ends_meanwhile(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, number: signal.Signals
) -> None:
    job = begun(mock, worker, engine)
    [container] = engine.jobs()
    engine.refusals[f"GET /{container.id}/json"] = (500, "busy")
    go(worker, job)
    worker.wait_for_log(f"job {job}: kept: ")
    worker.signal(number)
    worker.wait()
    assert "queued" not in mock.statuses(job)
    assert worker.folders() == [job]
    engine.refusals.clear()
    worker.start()
    mock.wait_for_status(job)
    assert mock.statuses(job)[-1] == "finished", mock.details(job)
    assert mock.outputs(job)["output/output/ran"] == b"ran\n"
    assert_nothing_left(engine, worker)


@pytest.mark.parametrize("ended", [Status.FINISHED, Status.ERROR])
def test_kept_job_that_somebody_has_ended_is_dropped(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, ended: Status
) -> None:
    job = begun(mock, worker, engine)
    [container] = engine.jobs()
    engine.refusals[f"GET /{container.id}/json"] = (500, "busy")
    mock.fault(f"/jobs/{job}/status", "GET", hang=True)  # nobody has looked before it has ended
    go(worker, job)
    worker.wait_for_log(f"job {job}: kept: ")
    mock.state.jobs.update(job, USERNAME, ended, "by hand")
    sent = len(mock.job(job).history)
    mock.heal()
    engine.refusals.clear()
    worker.wait_for_log(f"job {job}: dropped: its status is {ended.value}")
    assert_nothing_left(engine, worker)
    assert len(mock.job(job).history) == sent
    assert mock.outputs(job) == {}


@pytest.mark.parametrize("ended", [Status.FINISHED, Status.ERROR])
@pytest.mark.parametrize("when", ["preprocessing", "running", "over, and the disk did not take that"])
def test_job_that_has_ended_at_the_platform_is_dropped_by_the_next_start(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess, ended: Status, when: str
) -> None:
    if when == "preprocessing":
        mock.fault("*/download", hang=True)
        job = mock.submit("true", files={"a": b"a"})
        mock.wait_until(lambda: len(mock.requests("GET", "*/download")) > 0, "the download to begin")
    else:
        job = begun(mock, worker)
    record = worker.base / job / "job.json"
    if when.startswith("over"):
        mock.fault(f"/jobs/{job}/status", "PUT", query="status=finished*", hang=True)
        go(worker, job)
        wait_until(lambda: json.loads(record.read_text())["final"] is not None, "the record of the last status")
    worker.signal(signal.SIGKILL)
    worker.wait()
    mock.heal()
    if when.startswith("over"):
        state: dict[str, Any] = json.loads(record.read_text())
        record.write_text(json.dumps(state | {"final": None}))
    mock.state.jobs.update(job, USERNAME, ended, "by hand")
    sent = len(mock.job(job).history)
    worker.start()
    worker.wait_for_log(f"job {job}: dropped: its status is {ended.value}")
    assert_nothing_left(engine, worker)
    assert len(mock.job(job).history) == sent


def test_job_that_has_ended_at_the_platform_gets_no_last_status_although_that_is_heard_late(
    mock: Platform, engine: FakeEngine, worker: WorkerProcess
) -> None:
    job = begun(mock, worker)
    worker.signal(signal.SIGKILL)
    worker.wait()
    mock.state.jobs.update(job, USERNAME, Status.ERROR, "by hand")
    sent = len(mock.job(job).history)
    mock.fault(f"/jobs/{job}/status", "GET", status=503)
    go(worker, job)
    worker.start()
    worker.wait_for_log("answered 503; trying again until it works")  # the question before the last status
    mock.heal()
    assert_nothing_left(engine, worker)
    assert len(mock.job(job).history) == sent


def _folder(tmp_path: Path, job_id: str) -> JobFolder:
    return Workspace(tmp_path, "me").create(Job(id=job_id, raw={}))


def test_kept_job_is_tried_with_growing_waits_and_keeps_others_away_for_five_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(kept_jobs, "time", SimpleNamespace(monotonic=lambda: now))
    kept, folder, tried = KeptJobs(10), _folder(tmp_path, "17"), list[float]()

    def fail(folder: JobFolder) -> None:
        tried.append(now)
        kept.keep(folder)

    kept.keep(folder)
    away = []
    for _ in range(700):
        kept.resume(fail)
        away.append(kept.keep_the_next_job_away)
        now += 1
    assert [after - before for before, after in pairwise(tried)] == [10, 20, 40, 80, *[120] * 4]
    assert away.count(True) == 150, "until the fifth try"
    kept.resume(lambda _: None)
    now += 120
    kept.resume(lambda _: None)
    assert not kept.keep_the_next_job_away
    kept.keep(folder)
    assert kept.keep_the_next_job_away, "the count begins anew"


def test_folder_of_a_kept_job_is_held_until_the_job_is_over(tmp_path: Path) -> None:
    kept = KeptJobs(10)
    with _folder(tmp_path, "17") as folder:
        kept.keep(folder)
    assert list(Workspace(tmp_path, "me").resumable()) == []
    kept.resume(lambda _: None)
    assert [each.job_id for each in Workspace(tmp_path, "me").resumable()] == ["17"]
