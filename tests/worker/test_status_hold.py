"""STATUS_HOLD: each status stays at the platform for so long, in order, in nobody's way."""

import signal
from collections.abc import Callable
from itertools import pairwise

import pytest

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import JobFetcherError, JobGone, StopRequested
from job_fetcher.core.job import JobStatus
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.shutdown import Shutdown
from tests.support.fake_engine_workers import StartWorker
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

pytestmark = pytest.mark.usefixtures("needs_time")

HOLD_S, LONG_S = 0.3, 3600.0
PATIENCE_S = 60
ORDER = [JobStatus.PREPROCESSING, JobStatus.RUNNING, JobStatus.POSTPROCESSING]


def first_times(mock: Platform, job: str) -> list[tuple[str, float]]:
    """When each status arrived first, by the platform's clock."""
    times: dict[str, float] = {}
    for update in mock.job(job).history[1:]:
        times.setdefault(update.status.value, update.time)
    return list(times.items())


def test_each_status_stays_for_so_long_before_the_next_one_follows(mock: Platform) -> None:
    job = mock.pulled()
    with KeepAlive(mock.api(), job, ORDER[0], Cancellation(), 0.05, hold_s=HOLD_S) as keep_alive:
        for status in ORDER[1:]:
            keep_alive.set(status)
    mock.api().put_status(job, JobStatus.FINISHED)
    (_, _), *sent = first_times(mock, job)
    assert [status for status, _ in sent] == [*ORDER, "finished"]
    times = [time for _, time in sent]
    assert all(after - before >= HOLD_S for before, after in pairwise(times))


def test_keep_alives_go_on_while_a_status_is_held(mock: Platform) -> None:
    job = mock.pulled()
    with KeepAlive(mock.api(), job, ORDER[0], Cancellation(), 0.02, hold_s=LONG_S) as keep_alive:
        keep_alive.tried.result(PATIENCE_S)
        keep_alive.set(ORDER[1])
        before = len(mock.requests("PUT"))
        mock.wait_until(lambda: len(mock.requests("PUT")) > before + 3, "keep-alives")
        assert mock.statuses(job) == ["preprocessing"]
        keep_alive.lift_hold()


def test_a_hold_that_is_lifted_lets_all_statuses_follow_in_order(mock: Platform) -> None:
    job = mock.pulled()
    with KeepAlive(mock.api(), job, ORDER[0], Cancellation(), LONG_S, hold_s=LONG_S) as keep_alive:
        keep_alive.tried.result(PATIENCE_S)
        for status in ORDER[1:]:
            keep_alive.set(status)
        assert mock.statuses(job) == ["preprocessing"]
        keep_alive.lift_hold()
    assert mock.statuses(job) == ORDER


@pytest.mark.parametrize("reason", [JobGone(), StopRequested("SIGTERM"), JobFetcherError("whatever")], ids=repr)
def test_a_hold_is_not_in_the_way_of_a_cancellation(mock: Platform, reason: JobFetcherError) -> None:
    job, cancelled = mock.pulled(), Cancellation()

    def leave() -> None:
        with KeepAlive(mock.api(), job, ORDER[0], cancelled, LONG_S, hold_s=LONG_S) as keep_alive:
            keep_alive.tried.result(PATIENCE_S)
            keep_alive.set(ORDER[1])

    leaving = in_background(leave, "leave")
    mock.wait_until(lambda: mock.statuses(job) == ["preprocessing"], "the first status")
    cancelled.set(reason)
    assert leaving.exception(PATIENCE_S) in (None, reason), "it depends on who is first"


@pytest.mark.parametrize("end", [lambda each: each.stop("SIGTERM"), Shutdown.detach], ids=["stop", "detach"])
@pytest.mark.parametrize("early", [True, False], ids=["before", "meanwhile"])
def test_a_hold_ends_when_the_worker_is_told_to_end(end: Callable[[Shutdown], None], early: bool) -> None:
    """Also for a job whose outputs go up for some seconds more."""
    shutdown, calls = Shutdown(), []
    with shutdown.job() as cancelled:
        cancelled.finish()
        if early:
            end(shutdown)
        cancelled.call_when_stopped(lambda: calls.append("lifted"))
        if not early:
            assert calls == []
            end(shutdown)
    assert calls == ["lifted"]


@pytest.fixture
def start(start: StartWorker) -> Callable[[float], WorkerProcess]:
    """Starts a worker that holds each status for so many seconds."""
    return lambda hold_s: start(STATUS_HOLD=str(hold_s), TIMEOUT_STATUS="1")


@pytest.mark.parametrize(("line", "end"), [("true", "finished"), ("false", "error"), ("echo x; exit 3", "error")])
def test_an_observer_that_polls_sees_every_status_of_a_short_job(
    mock: Platform, start: Callable[[float], WorkerProcess], line: str, end: str
) -> None:
    start(HOLD_S)
    job = run_job(mock, line, files={"a": b"a"}, up={"output": "output"})
    _, *sent = first_times(mock, job)
    assert [status for status, _ in sent if status != "pulled"] == [*ORDER, end]
    times = [time for status, time in sent if status != "pulled"]
    assert all(after - before >= HOLD_S for before, after in pairwise(times))


def test_a_hold_delays_neither_the_container_nor_the_uploads_nor_a_stop(
    mock: Platform, start: Callable[[float], WorkerProcess]
) -> None:
    worker = start(100)
    job = mock.submit("echo x > /files/output/y; echo log", up={"output": "output"})
    mock.wait_until(lambda: len(mock.outputs(job)) == 2, "the output and the log")
    assert mock.statuses(job) == ["preprocessing"]
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert mock.statuses(job) == [*ORDER, "finished"]
    wait_until(lambda: not worker.folders(), "the folder to be removed")
