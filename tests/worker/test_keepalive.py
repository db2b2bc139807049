"""The keep-alive: every status in order, none after the last, and the one place that hears that a job is gone."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import pytest

from job_fetcher.core import retry
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import CredentialsError, JobGone, NotThePlatform, Unavailable
from job_fetcher.core.job import JobStatus
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.keepalive import KeepAlive
from tests.support.platform import Platform
from tests.support.worker import wait_until

OFTEN_S, NEVER_S = 0.01, 3600.0
LONG_S = 60


class Kept:
    """A job that is kept alive; `ended` has what its `Cancellation` was set to."""

    def __init__(self, mock: Platform, interval_s: float, api: WorkerApi | None = None) -> None:
        self.mock, self.id, self.cancelled = mock, mock.pulled(), Cancellation()
        self.keep_alive = KeepAlive(
            api or mock.api(), self.id, JobStatus.PREPROCESSING, self.cancelled, interval_s=interval_s
        )

    def wait_for(self, status: JobStatus, times: int = 1) -> None:
        self.mock.wait_until(lambda: self.sent().count(status) >= times, f"{times} x {status}")

    def sent(self) -> list[str]:
        """Every status that has arrived, repetitions too."""
        return [each.status.value for each in self.mock.job(self.id).history[2:]]

    def ended(self) -> BaseException | None:
        return self.cancelled.future.exception(LONG_S)


@pytest.fixture
def kept(mock: Platform) -> Callable[[float], Kept]:
    return lambda interval_s: Kept(mock, interval_s)


def heal_when_left(job: Kept) -> None:
    """Let a request that hangs go on when the block is being left."""
    changed = job.keep_alive._changed
    with changed:
        assert changed.wait_for(lambda: job.keep_alive._closed, LONG_S)
    job.mock.heal()


def test_the_first_status_is_sent_at_once(kept: Callable[[float], Kept]) -> None:
    job = kept(NEVER_S)
    with job.keep_alive as keep_alive:
        keep_alive.tried.result(LONG_S)
        assert job.sent() == ["preprocessing"]


def test_the_current_status_is_sent_again_and_again(kept: Callable[[float], Kept]) -> None:
    job = kept(OFTEN_S)
    with job.keep_alive:
        job.wait_for(JobStatus.PREPROCESSING, 3)
        job.keep_alive.set(JobStatus.RUNNING)
        job.wait_for(JobStatus.RUNNING, 3)
    assert job.mock.statuses(job.id) == ["preprocessing", "running"]


def test_a_new_status_is_sent_at_once_not_at_the_next_keep_alive(kept: Callable[[float], Kept]) -> None:
    """P12: threads slept instead of waiting for an event; a job of 1 s took 60.1 s."""
    job = kept(NEVER_S)
    with job.keep_alive:
        for status in (JobStatus.RUNNING, JobStatus.POSTPROCESSING):
            job.keep_alive.set(status)
            job.wait_for(status)
    assert job.sent() == ["preprocessing", "running", "postprocessing"]


def test_a_status_that_is_set_during_a_keep_alive_is_not_lost(kept: Callable[[float], Kept]) -> None:
    job = kept(OFTEN_S)
    with job.keep_alive:
        job.wait_for(JobStatus.PREPROCESSING, 2)
        repeated = job.mock.fault("/jobs/*/status", query="*preprocessing*", hang=True)
        job.mock.wait_until(lambda: repeated.matched > 0)
        job.keep_alive.set(JobStatus.RUNNING)
        job.mock.heal()
        job.wait_for(JobStatus.RUNNING, 2)


def test_statuses_that_follow_each_other_fast_all_arrive_in_order(kept: Callable[[float], Kept]) -> None:
    """P12: leaving waits for the last of them, and for nothing else."""
    job = kept(NEVER_S)
    on_its_way = job.mock.fault("/jobs/*/status", method="PUT", hang=True)

    def work() -> None:
        with job.keep_alive:
            job.mock.wait_until(lambda: on_its_way.matched > 0)
            job.keep_alive.set(JobStatus.RUNNING)
            job.keep_alive.set(JobStatus.POSTPROCESSING)

    working = in_background(work, "work")
    heal_when_left(job)
    working.result(LONG_S)
    assert job.sent() == ["preprocessing", "running", "postprocessing"]


def test_nothing_is_sent_after_the_last_status(kept: Callable[[float], Kept]) -> None:
    """P14: `error`, then `postprocessing`, then `error` again: two mails, the first without a reason."""
    job = kept(OFTEN_S)
    on_its_way = job.mock.fault("/jobs/*/status", method="PUT", hang=True)
    with job.keep_alive:
        job.mock.wait_until(lambda: on_its_way.matched > 0)
        in_background(lambda: heal_when_left(job), "healing")
    job.mock.api().put_status(job.id, JobStatus.FINISHED)
    assert job.sent() == ["preprocessing", "finished"]
    name = f"keep-alive-{job.id}"
    wait_until(lambda: all(each.name != name for each in threading.enumerate()), "its thread to end")


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"status": 503}, {"cut": "before"}, {"status": 200, "cut": "after"}]
)
def test_trouble_with_the_api_is_survived(kept: Callable[[float], Kept], fault: dict[str, Any]) -> None:
    """P9: the API was away for 188 s, and the worker exited."""
    job = kept(OFTEN_S)
    trouble = job.mock.fault("/jobs/*", times=20, **fault)
    with job.keep_alive:
        job.mock.wait_until(lambda: trouble.matched >= 20)
        job.keep_alive.set(JobStatus.RUNNING)
        job.wait_for(JobStatus.RUNNING)
    assert not job.cancelled.is_set()


def test_an_error_that_nobody_foresaw_is_survived(mock: Platform, caplog: pytest.LogCaptureFixture) -> None:
    """P7: the thread died of its first error."""

    class Odd(WorkerApi):
        failures = 3

        def put_status(self, *arguments: Any, **options: Any) -> None:
            self.failures -= 1
            if self.failures >= 0:
                raise ZeroDivisionError("odd")
            super().put_status(*arguments, **options)

    job = Kept(mock, OFTEN_S, Odd(mock.url, mock.api()._token))
    with job.keep_alive:
        job.wait_for(JobStatus.PREPROCESSING)
    assert not job.cancelled.is_set()
    assert "ZeroDivisionError" in caplog.text, "with a traceback, for whoever has to find out"


def test_a_job_that_is_gone_ends_everything_at_the_first_404_that_is_confirmed(kept: Callable[[float], Kept]) -> None:
    """P7: the API says it once, and a cancellation was eaten."""
    job = kept(OFTEN_S)
    told: Future[str] = Future()
    job.cancelled.call_when_set(lambda: told.set_result("stop the container"))
    with suppress(JobGone), job.keep_alive:
        job.wait_for(JobStatus.PREPROCESSING)
        job.mock.cancel(job.id)
        assert told.result(LONG_S) == "stop the container"
    assert isinstance(job.ended(), JobGone)
    assert [each.status for each in job.mock.requests("PUT")].count(404) == 1
    assert job.mock.requests("PUT")[-1].status == 404, "nothing is sent after it"


def test_a_404_that_was_lost_on_the_way_is_found_out_by_asking(kept: Callable[[float], Kept]) -> None:
    """P7: after the one 404, which a broken connection may swallow, there are only 500s."""
    job = kept(OFTEN_S)
    job.mock.cancel(job.id)
    job.mock.fault("/jobs/*/status", method="PUT", cut="after", times=1)
    with suppress(JobGone), job.keep_alive:
        assert isinstance(job.ended(), JobGone)
    assert job.mock.requests("GET", "/jobs/")[-1].status == 404


def test_who_gets_a_500_has_the_keep_alive_find_out_at_once(kept: Callable[[float], Kept]) -> None:
    """P8: a cancellation during upload gave 500, which ended the worker."""
    job = kept(NEVER_S)
    with suppress(JobGone), job.keep_alive as keep_alive:
        job.wait_for(JobStatus.PREPROCESSING)
        job.mock.cancel(job.id)
        keep_alive.ask(Unavailable("an upload", status=500))
        assert isinstance(job.ended(), JobGone)


def test_a_500_of_a_job_that_is_still_there_changes_nothing(kept: Callable[[float], Kept]) -> None:
    job = kept(NEVER_S)
    with job.keep_alive as keep_alive:
        job.wait_for(JobStatus.PREPROCESSING)
        for status in (503, None, 500):
            keep_alive.ask(Unavailable("an upload", status=status))
        job.wait_for(JobStatus.PREPROCESSING, 2)
    assert not job.cancelled.is_set()
    assert len(job.mock.requests("GET", "/jobs/")) == 1


LED_ASTRAY: dict[str, dict[str, Any]] = {
    "a page of 404": {"status": 404, "body": "<html>"},
    "a page of 403": {"status": 403, "body": "<html>"},
    "a page of 401": {"status": 401, "body": "<html>"},
    "an empty 404": {"status": 404},
    "another application's 404": {"status": 404, "detail": "Not Found"},
    "a log-in page": {"status": 200, "body": "<html>"},
}


@pytest.mark.parametrize("answer", LED_ASTRAY.values(), ids=LED_ASTRAY)
@pytest.mark.parametrize("times", [1, 2, 10])
def test_wrong_answers_of_something_in_front_of_the_api_end_no_job(
    kept: Callable[[float], Kept], answer: dict[str, Any], times: int
) -> None:
    job = kept(OFTEN_S)
    wrong = job.mock.fault("/jobs*", times=times, **answer)
    with job.keep_alive as keep_alive:
        job.mock.wait_until(lambda: wrong.matched >= times, "the wrong answers")
        keep_alive.set(JobStatus.RUNNING)
        job.wait_for(JobStatus.RUNNING)
    assert not job.cancelled.is_set()


def test_everything_at_another_api_ends_no_job(kept: Callable[[float], Kept]) -> None:
    job = kept(OFTEN_S)
    with job.keep_alive:
        job.wait_for(JobStatus.PREPROCESSING)
        job.mock.configure(api="users")
        job.mock.wait_until(lambda: len(job.mock.requests("GET", f"/jobs/{job.id}/")) > 3, "doubts")
        job.mock.configure(api="workers")
        sent = len(job.sent())
        job.wait_for(JobStatus.PREPROCESSING, sent + 2)
    assert not job.cancelled.is_set()


@pytest.mark.parametrize("how", ["deleted", "given to another account"])
def test_a_job_that_is_gone_is_so_however_often_something_else_answers_first(
    kept: Callable[[float], Kept], how: str
) -> None:
    job = kept(OFTEN_S)
    if how == "deleted":
        job.mock.cancel(job.id)
    else:
        job.mock.pass_time(301)
        assert job.mock.api("worker2-fixed-token").pull_job({"memory": 1000}) is not None
    job.mock.fault("/jobs*", status=404, body="<html>", times=2)
    with suppress(JobGone), job.keep_alive:
        assert isinstance(job.ended(), JobGone)


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_refused_for_a_moment_end_no_job(kept: Callable[[float], Kept], status: int) -> None:
    job = kept(OFTEN_S)
    refused = job.mock.fault("/jobs/*", status=status, detail="no", times=20)
    with job.keep_alive:
        job.mock.wait_until(lambda: refused.matched >= 20, "refusals")
        job.wait_for(JobStatus.PREPROCESSING)
    assert not job.cancelled.is_set()


def test_credentials_that_stay_refused_end_the_job(
    kept: Callable[[float], Kept], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "REFUSED_FOR_S", 0.1)
    job = kept(OFTEN_S)
    job.mock.fault("/jobs/*", status=401, detail="no")
    with suppress(CredentialsError), job.keep_alive:
        assert isinstance(job.ended(), CredentialsError)


@pytest.mark.parametrize(
    "between",
    [
        Unavailable("away"),
        Unavailable("in trouble", status=500),
        NotThePlatform("a page"),
        ZeroDivisionError("odd"),
        None,
    ],
    ids=["no answer", "a 500", "a page", "an error that nobody foresaw", "a success"],
)
def test_refusals_end_a_job_only_in_a_row(
    mock: Platform, monkeypatch: pytest.MonkeyPatch, between: Exception | None
) -> None:
    """An outage between two of them says nothing about the account."""
    monkeypatch.setattr(retry, "REFUSED_FOR_S", 0)
    refused = [CredentialsError("no")] * (retry.MIN_REFUSALS - 1)
    outcomes = iter([*refused, between, *refused])

    class Refusing(WorkerApi):
        def put_status(self, *arguments: Any, **options: Any) -> None:
            outcome = next(outcomes, None)
            if outcome is not None:
                raise outcome
            super().put_status(*arguments, **options)

    job = Kept(mock, OFTEN_S, Refusing(mock.url, mock.api()._token))
    with job.keep_alive:
        job.wait_for(JobStatus.PREPROCESSING, 3)
    assert not job.cancelled.is_set()


@pytest.mark.parametrize(
    ("known", "first", "sent"),
    [
        ("postprocessing", JobStatus.RUNNING, ["postprocessing"]),
        ("running", JobStatus.PREPROCESSING, ["running", "postprocessing"]),
        ("postprocessing", JobStatus.PREPROCESSING, ["postprocessing"]),
        ("preprocessing", JobStatus.RUNNING, ["running", "postprocessing"]),
        ("queued", JobStatus.RUNNING, ["running", "postprocessing"]),
    ],
)
def test_a_resumed_job_goes_on_from_the_status_that_the_api_has(
    mock: Platform, known: str, first: JobStatus, sent: list[str]
) -> None:
    """A worker that is killed between the status and its record must not go back."""
    job = mock.pulled()
    mock.api().put_status(job, JobStatus(known))
    with KeepAlive(mock.api(), job, first, Cancellation(), NEVER_S, resumed=True) as keep_alive:
        keep_alive.tried.result(LONG_S)
        keep_alive.set(JobStatus.POSTPROCESSING)
    heard = [each.status.value for each in mock.job(job).history[3:]]
    assert heard == sent
