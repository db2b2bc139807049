"""A job finishes behind the next one: both are the platform's as if each were alone."""

import errno
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from job_fetcher import steps
from job_fetcher.config.settings import JobLimits
from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobFailed, NoRoom, StopRequested
from job_fetcher.core.job import Job
from job_fetcher.worker.overlap import Overlap
from job_fetcher.worker.preparation import Preparation
from job_fetcher.worker.shutdown import JobCancellation, Shutdown
from job_fetcher.workspace.workspace import Workspace
from tests.support.fake_engine import FakeEngine
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

START = Callable[..., WorkerProcess]
UPLOADS = "/store*"
WAIT = "echo ran > /files/output/ran; until [ -e /files/go ]; do sleep 0.02; done"


def submit(mock: Platform, line: str = "echo ran > /files/output/ran") -> str:
    return mock.submit(line, up={"output": "output"})


def two_in_hand(mock: Platform, worker: WorkerProcess) -> tuple[str, str]:
    """A job whose outputs do not go up, and the next one, whose command runs until there is `go`."""
    mock.fault(UPLOADS, method="POST", hang=True)
    first = submit(mock)
    mock.wait_for_status(first, "postprocessing")
    second = submit(mock, WAIT)
    wait_until((worker.base / second / "files" / "output" / "ran").exists, "the second command to begin")
    mock.wait_for_status(second, "running")
    return first, second


def heard(mock: Platform, job: str) -> int:
    """How many statuses of the job the platform has had."""
    return len(mock.requests("PUT", f"/jobs/{job}/status"))


def go(worker: WorkerProcess, job: str) -> None:
    (worker.base / job / "files" / "go").touch()


def assert_finished_once(mock: Platform, *jobs: str) -> None:
    for job in jobs:
        mock.wait_for_status(job)
        assert mock.statuses(job).count("finished") == 1, (mock.statuses(job), mock.details(job))
        assert mock.outputs(job)["output/output/ran"] == b"ran\n"


def test_next_job_runs_while_the_outputs_of_the_last_one_go_up_and_a_third_waits(
    mock: Platform, start: START, engine: FakeEngine
) -> None:
    worker = start()
    first, second = two_in_hand(mock, worker)
    third = submit(mock)
    polls = len(mock.requests("GET", "/jobs"))
    go(worker, second)
    mock.wait_for_status(second, "postprocessing")
    kept_alive = heard(mock, first), heard(mock, second)
    mock.wait_until(
        lambda: heard(mock, first) > kept_alive[0] + 1 and heard(mock, second) > kept_alive[1] + 1,
        "the keep-alives of both",
    )
    assert mock.job(third).status == "queued"
    assert len([each for each in mock.requests("GET", "/jobs") if each.path == "/jobs"]) <= polls
    mock.heal()
    assert_finished_once(mock, first, second, third)
    assert mock.statuses(second)[0] == "preprocessing"
    worker.stop()
    wait_until(lambda: not engine.jobs() and not worker.folders(), "nothing to be left")


def test_without_overlap_the_next_job_is_asked_for_when_the_last_one_has_ended(mock: Platform, start: START) -> None:
    worker = start(FINISH_BEHIND="0")
    mock.fault(UPLOADS, method="POST", hang=True)
    first, second = submit(mock), submit(mock)
    mock.wait_for_status(first, "postprocessing")
    kept_alive = heard(mock, first)
    mock.wait_until(lambda: heard(mock, first) > kept_alive + 2, "keep-alives")
    assert mock.job(second).status == "queued"
    mock.heal()
    assert_finished_once(mock, first, second)
    assert worker.is_running


@pytest.mark.parametrize("which", [0, 1])
def test_cancellation_of_one_does_not_touch_the_other(mock: Platform, start: START, which: int) -> None:
    worker = start()
    jobs = two_in_hand(mock, worker)
    mock.cancel(jobs[which])
    wait_until(lambda: not (worker.base / jobs[which]).exists(), "the cancelled job to go")
    go(worker, jobs[1]) if which == 0 else None
    mock.heal()
    assert_finished_once(mock, jobs[1 - which])
    assert worker.is_running


@pytest.mark.usefixtures("needs_time")
def test_stop_requeues_the_running_job_and_keeps_the_finishing_one_for_the_next_start(
    mock: Platform, start: START
) -> None:
    worker = start()
    first, second = two_in_hand(mock, worker)
    assert worker.stop() == 0
    assert (mock.statuses(second)[-1], mock.statuses(first)[-1]) == ("queued", "postprocessing")
    assert worker.folders() == [first]
    mock.heal()
    worker.start()
    assert_finished_once(mock, first)
    mock.wait_until(lambda: (worker.base / second / "files").exists(), "the second to be taken back")
    wait_until((worker.base / second / "files" / "output" / "ran").exists, "the second command to begin")
    go(worker, second)
    assert_finished_once(mock, second)


def test_stop_lets_the_finishing_job_end_if_that_takes_little_time(mock: Platform, start: START) -> None:
    worker = start()
    first, second = two_in_hand(mock, worker)
    worker.signal(signal.SIGTERM)
    mock.heal()
    assert worker.wait() == 0
    assert (mock.statuses(first)[-1], mock.statuses(second)[-1]) == ("finished", "queued")


def assert_drain_finishes(mock: Platform, worker: WorkerProcess, first: str, second: str) -> None:
    """Of two jobs in hand the first one meets a fault, and the command of the second one waits for `go`."""
    worker.signal(signal.SIGQUIT)
    worker.wait_for_log("The worker takes no new job")
    go(worker, second)
    mock.heal()
    assert worker.wait() == 0
    assert_finished_once(mock, first, second)


def test_drain_finishes_both(mock: Platform, start: START) -> None:
    worker = start()
    first, second = two_in_hand(mock, worker)
    assert_drain_finishes(mock, worker, first, second)


def test_job_that_comes_late_during_a_drain_is_requeued_while_the_other_one_finishes(
    mock: Platform, start: START
) -> None:
    """The worker held it in silence until the other one had finished."""
    worker = start(constants={"STOP_S": 2.1})  # 0.1 s more than a requeue may take
    mock.fault(UPLOADS, method="POST", hang=True)
    first = submit(mock)
    mock.wait_for_status(first, "postprocessing")
    asked = mock.fault("/jobs", method="GET", hang=True)
    second = submit(mock)
    mock.wait_until(lambda: asked.matched > 0, "the question for a job")
    worker.signal(signal.SIGQUIT)
    worker.wait_for_log("The worker takes no new job")
    before = heard(mock, first)
    mock.wait_until(lambda: heard(mock, first) > before + 3, "keep-alives")
    asked.cleared = True
    mock.wait_until(lambda: mock.statuses(second)[-1:] == ["queued"], "the requeue")
    mock.heal()
    assert worker.wait() == 0
    assert_finished_once(mock, first)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGUSR1])
def test_next_start_goes_on_with_both_and_keeps_alive_the_one_that_waits(
    mock: Platform, start: START, end: signal.Signals
) -> None:
    worker = start()
    first, second = two_in_hand(mock, worker)
    worker.signal(end)
    worker.wait()
    before = heard(mock, first), heard(mock, second)
    worker.start()
    mock.wait_until(lambda: heard(mock, first) > before[0] and heard(mock, second) > before[1], "both keep-alives")
    go(worker, second)
    mock.heal()
    assert_finished_once(mock, first, second)
    assert worker.is_running


@pytest.mark.parametrize("fatal", [True, False])
def test_error_of_the_job_behind_ends_the_worker_after_the_next_one(fatal: bool) -> None:
    overlap, release = Overlap(Shutdown(), enabled=True), Cancellation()

    def first(cancelled: JobCancellation) -> None:
        cancelled.container_gone.set_result(None)
        release.future.exception()
        if fatal:
            raise JobFailed("fatal")

    overlap.run(first, "first")
    overlap.run(lambda _: None, "second")
    overlap.check()
    release.set(StopRequested("go"))
    if fatal:
        with pytest.raises(JobFailed, match="fatal"):
            overlap.wait()
    else:
        overlap.wait()


def test_error_of_the_job_behind_cuts_no_other_off_that_finishes() -> None:
    overlap, ended = Overlap(Shutdown(), enabled=True), list[str]()
    gone, release = Cancellation(), Cancellation()

    def first(cancelled: JobCancellation) -> None:
        cancelled.container_gone.set_result(None)
        gone.future.exception()
        raise JobFailed("fatal")

    def second(cancelled: JobCancellation) -> None:
        cancelled.container_gone.set_result(None)
        gone.set(StopRequested("go"))
        release.future.exception()
        ended.append("second")

    overlap.run(first, "first")
    with pytest.raises(JobFailed, match="fatal"):
        overlap.run(second, "second")
    release.set(StopRequested("go"))
    overlap.wait()  # as `run_forever` does at its end
    assert ended == ["second"]


def test_room_that_the_job_behind_made_in_the_last_moment_is_room() -> None:
    overlap, release = Overlap(Shutdown(), enabled=True), Cancellation()

    def first(cancelled: JobCancellation) -> None:
        cancelled.container_gone.set_result(None)
        release.future.exception()

    assert not overlap.made_room(Cancellation())
    overlap.run(first, "first")
    release.set(StopRequested("go"))
    assert overlap._finishing is not None
    overlap._finishing.result()
    assert overlap.made_room(Cancellation())
    overlap.check()
    assert not overlap.made_room(Cancellation())


NO_ROOM = [NoRoom("it needs 2 GiB"), OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "quota")]


@pytest.mark.parametrize("makes_room", [True, False])
@pytest.mark.parametrize("error", NO_ROOM, ids=repr)
def test_input_that_does_not_fit_waits_for_the_job_behind_once(
    mock: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, makes_room: bool, error: Exception
) -> None:
    tries: list[object] = []

    def download(*arguments: object, **_: object) -> None:
        tries.append(arguments)
        if len(tries) == 1:
            raise error

    monkeypatch.setattr(steps, "download_inputs", download)
    folder = Workspace(tmp_path, "ada").create(Job(id="1", raw={}))
    anything: Any = None
    preparation = Preparation(mock.api(), anything, JobLimits(), anything, anything)
    with folder, nullcontext() if makes_room else pytest.raises(type(error)):
        preparation._download(folder, anything, lambda _: makes_room, Cancellation())
    assert len(tries) == 1 + makes_room
