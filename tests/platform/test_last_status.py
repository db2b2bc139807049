"""The last status of a job: its user sees it, once, whatever the API answers on the way."""

from types import SimpleNamespace
from typing import Any, Literal

import pytest

from job_fetcher import steps
from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import CredentialsError, JobGone
from job_fetcher.core.job import Final, JobStatus
from job_fetcher.platform import last_status
from tests.support.platform import Platform

End = Literal[JobStatus.FINISHED, JobStatus.ERROR]
ENDS: list[End] = [JobStatus.FINISHED, JobStatus.ERROR]
UNTOLD: dict[str, Any] = {"method": "PUT", "users_side_down": True}
pytestmark = pytest.mark.usefixtures("waits")


class Last:
    """A job that has ended, and its last status."""

    def __init__(self, mock: Platform, status: End = JobStatus.FINISHED) -> None:
        self.mock, self.id = mock, mock.pulled()
        self.final = Final(status=status, details="done")

    def report(self, *, again: bool = False, **more: Any) -> None:
        steps.report(self.mock.api(), self.id, self.final, again=again, **more)

    def fault(self, **what: Any) -> None:
        self.mock.fault(f"/jobs/{self.id}/status", **what)

    def updates(self) -> list[tuple[str, str | None, bool]]:
        """The statuses that the queue has kept since the pull, and whether the job's user was told."""
        return [(each.status.value, each.runtime_details, each.reported) for each in self.mock.job(self.id).history[2:]]

    def puts(self) -> int:
        return len(self.mock.requests("PUT", f"/jobs/{self.id}/status"))


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize("times", [1, 3, 12])
def test_a_status_that_the_queue_keeps_and_the_user_does_not_see_is_sent_again(
    mock: Platform, status: End, times: int
) -> None:
    last = Last(mock, status)
    last.fault(**UNTOLD, times=times)
    last.report()
    assert last.updates() == [*[(status, "done", False)] * times, (status, "done", True)]


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize("more_500s", [0, 1, 5])
def test_a_status_that_the_user_has_not_seen_is_sent_by_the_call_after_a_kill(
    mock: Platform, status: End, more_500s: int
) -> None:
    """The first call hears a 500, and its process is killed. The API says that all is well."""
    last, told = Last(mock, status), []
    last.fault(**UNTOLD, times=1)
    killed = Cancellation()

    def kill() -> None:
        told.append("untold")
        killed.set(JobGone("killed"))

    with pytest.raises(JobGone, match="killed"):
        last.report(cancelled=killed, when_untold=kill)
    assert told == ["untold"]
    assert last.updates() == [(status, "done", False)]
    last.fault(**UNTOLD, times=more_500s) if more_500s else None
    last.report(again=True, untold=True)
    assert last.updates() == [*[(status, "done", False)] * (1 + more_500s), (status, "done", True)]


@pytest.mark.parametrize("fault", [{"cut": "before"}, {"cut": "after"}, {"status": 503}])
def test_only_a_500_says_that_the_user_may_not_have_seen_a_status(mock: Platform, fault: dict[str, Any]) -> None:
    last, told = Last(mock), []
    last.fault(method="PUT", times=1, **fault)
    last.report(when_untold=lambda: told.append("untold"))
    assert told == []


@pytest.mark.parametrize("between", [{"cut": "before"}, {"cut": "after"}, {"status": 503}, {"status": 404, "body": ""}])
def test_after_a_500_the_apis_word_does_not_count_whatever_follows(mock: Platform, between: dict[str, Any]) -> None:
    last = Last(mock)
    last.fault(**UNTOLD, times=1)
    last.fault(method="PUT", times=1, **between)
    last.report()
    assert last.updates()[-1] == ("finished", "done", True)


@pytest.mark.parametrize("status", ENDS)
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_status_whose_answer_is_lost_is_not_sent_again(mock: Platform, status: End, times: int) -> None:
    last = Last(mock, status)
    last.fault(method="PUT", cut="after", times=1)
    last.fault(method="GET", status=503, times=times)
    last.report()
    assert last.updates() == [(status, "done", True)]
    assert last.puts() == 1


def test_after_half_an_hour_of_500s_the_apis_word_counts(
    mock: Platform, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert last_status.RESENT_FOR_S == 1800
    monkeypatch.setattr(last_status, "RESENT_FOR_S", 200)
    monkeypatch.setattr(last_status, "time", SimpleNamespace(monotonic=lambda: sum(waits)))
    last = Last(mock)
    last.fault(**UNTOLD)
    last.report()
    assert {told for _, _, told in last.updates()} == {False}
    assert 200 < sum(waits) < 200 + 2 * 60


@pytest.mark.parametrize("answer", [{"status": 500}, {"status": 500, "body": "<html>"}, {"status": 503}])
def test_an_api_that_keeps_nothing_is_waited_for_as_long_as_it_takes(
    mock: Platform, waits: list[float], monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    monkeypatch.setattr(last_status, "RESENT_FOR_S", 20)
    monkeypatch.setattr(last_status, "time", SimpleNamespace(monotonic=lambda: sum(waits)))
    last = Last(mock)
    last.fault(method="PUT", times=20, **answer)
    last.report()
    assert last.updates() == [("finished", "done", True)]
    assert sum(waits) > 20


@pytest.mark.parametrize("ended", ENDS)
def test_a_job_that_has_ended_otherwise_meanwhile_stays_ended(mock: Platform, ended: End) -> None:
    """The platform has given it up while its answers were 500; what is sent now would revive it."""
    last = Last(mock, JobStatus.FINISHED if ended is JobStatus.ERROR else JobStatus.ERROR)
    mock.api().put_status(last.id, ended)
    last.fault(method="PUT", status=500, times=1)
    last.report()
    assert last.updates() == [(ended, None, True)]


@pytest.mark.parametrize("first", [{"status": 500}, {"cut": "before"}, {"status": 200, "body": "<html>"}])
def test_a_job_that_is_deleted_meanwhile_is_gone(mock: Platform, first: dict[str, Any]) -> None:
    last = Last(mock)
    last.fault(method="PUT", times=1, **first)
    mock.cancel(last.id)
    with pytest.raises(JobGone):
        last.report()
    assert last.updates() == []


@pytest.mark.parametrize("next_answer", [{"status": 200, "body": "[]"}, {"status": 503}, {"status": 422}, {}])
def test_a_404_led_astray_loses_no_last_status(mock: Platform, next_answer: dict[str, Any]) -> None:
    last = Last(mock)
    last.fault(method="PUT", status=404, detail="Not Found", times=1)
    mock.fault("/jobs", query="memory=x", times=1, **next_answer)
    last.report()
    assert last.updates() == [("finished", "done", True)]


@pytest.mark.parametrize("page", [{"status": 403, "body": "<html>blocked"}, {"status": 200, "body": "<html>"}])
def test_details_that_a_firewall_does_not_let_pass_are_left_out(mock: Platform, page: dict[str, Any]) -> None:
    last = Last(mock)
    last.fault(method="PUT", query="*runtime_details*", **page)
    last.report()
    assert last.updates() == [("finished", None, True)]


@pytest.mark.parametrize("page", [{"status": 403, "body": "<html>"}, {"status": 401}, {"status": 302}])
def test_a_page_for_everything_costs_no_details(mock: Platform, page: dict[str, Any]) -> None:
    last = Last(mock)
    mock.fault("*", times=20, **page)
    last.report()
    assert last.updates() == [("finished", "done", True)]


@pytest.mark.parametrize("status", [401, 403])
def test_refused_credentials_are_believed_after_three_minutes(mock: Platform, waits: list[float], status: int) -> None:
    last = Last(mock)
    last.fault(method="PUT", status=status, detail="no", times=2)
    last.report()
    assert last.updates() == [("finished", "done", True)]
    waits.clear()
    other = Last(mock)
    other.fault(method="PUT", status=status, detail="no")
    with pytest.raises(CredentialsError):
        other.report()
    assert 180 <= sum(waits) < 180 + 60


def test_the_report_is_left_when_it_is_cancelled(mock: Platform) -> None:
    last, cancelled = Last(mock), Cancellation()
    cancelled.set(JobGone())
    with pytest.raises(JobGone):
        steps.report(mock.api(), last.id, last.final, cancelled=cancelled)
    assert mock.requests() == []
