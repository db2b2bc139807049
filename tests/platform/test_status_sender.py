"""Whether a job is gone: one 404, or one 500, is a doubt; what the API says next resolves it."""

from typing import Any

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import CredentialsError, JobGone, StopRequested, Unavailable
from job_fetcher.core.job import JobStatus
from job_fetcher.platform.api import WorkerApi
from job_fetcher.platform.status_sender import StatusSender
from tests.support.platform import Platform

NOT_FOUND: dict[str, Any] = {"status": 404, "detail": "Not Found"}
OTHER = "worker2-fixed-token"


class Sent:
    """A job, and the statuses and questions about it that have arrived."""

    def __init__(self, mock: Platform) -> None:
        self.mock, self.id, self.cancelled = mock, mock.pulled(), Cancellation()
        self.sender = StatusSender(mock.api(), self.id, self.cancelled)

    def put(self, status: JobStatus = JobStatus.RUNNING) -> None:
        self.sender.put(status)

    def give_to_another(self) -> None:
        """It was silent for too long, and another account has pulled it."""
        self.mock.pass_time(301)
        assert self.mock.api(OTHER).pull_job({"memory": 1000}) is not None

    def asked(self) -> list[tuple[str, int | None]]:
        return [(each.method, each.status) for each in self.mock.requests(path=f"/jobs/{self.id}/")]


@pytest.fixture
def sent(mock: Platform) -> Sent:
    return Sent(mock)


def test_a_deleted_job_is_gone_by_a_404_to_the_status_and_one_to_the_question(sent: Sent) -> None:
    sent.mock.cancel(sent.id)
    with pytest.raises(JobGone):
        sent.put()
    assert sent.asked() == [("PUT", 404), ("GET", 404), ("GET", 404)]


def test_a_job_of_another_account_is_gone_by_two_404s_to_a_status(sent: Sent) -> None:
    sent.give_to_another()
    with pytest.raises(JobGone):
        sent.put()
    assert sent.asked() == [("PUT", 404), ("GET", 200), ("PUT", 404)]


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_404_led_astray_ends_nothing(sent: Sent, times: int) -> None:
    """Another application has answered, in the same words, and now the right one is back."""
    for _ in range(times):
        sent.mock.fault(f"/jobs/{sent.id}/status", "PUT", times=1, **NOT_FOUND)
        sent.put()
    assert sent.mock.statuses(sent.id) == ["running"]
    assert [method for method, _ in sent.asked()] == ["PUT", "GET", "PUT"] * times


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 503},
        {"status": 500},
        {"status": 404, "body": "<html>"},
        {"status": 403, "body": "<html>"},
        {"cut": "before"},
    ],
)
def test_after_a_404_nothing_is_sent_before_the_api_has_said_that_the_job_is_there(
    sent: Sent, trouble: dict[str, Any]
) -> None:
    """An API on SQLite gives the id to the next job: what is sent for this one would land there."""
    sent.mock.cancel(sent.id)
    fault = sent.mock.fault(f"/jobs/{sent.id}/status", "GET", **trouble)
    for _ in range(3):
        with pytest.raises(Unavailable):
            sent.put()
    assert fault.matched == 3
    assert [method for method, _ in sent.asked()].count("PUT") == 1
    sent.mock.heal()
    with pytest.raises(JobGone):
        sent.put()
    assert [method for method, _ in sent.asked()].count("PUT") == 1


def test_a_404_of_another_api_is_not_believed_because_the_right_one_is_back_a_moment_later(sent: Sent) -> None:
    """The next question is answered by the right one, which knows the job."""
    sent.mock.fault(f"/jobs/{sent.id}/status", "PUT", times=1, **NOT_FOUND)
    sent.mock.fault(f"/jobs/{sent.id}/status", "GET", times=1, **NOT_FOUND)
    sent.put()
    assert sent.mock.statuses(sent.id) == ["running"]


@pytest.mark.parametrize("answer", [{"status": 200, "body": "[]"}, NOT_FOUND, {"status": 503}, {"cut": "before"}])
def test_a_404_that_comes_from_another_api_is_kept_in_mind_until_the_right_one_answers(
    sent: Sent, answer: dict[str, Any]
) -> None:
    sent.mock.cancel(sent.id)
    sent.mock.fault("/jobs", query="memory=x", **answer)
    for _ in range(3):
        with pytest.raises(Unavailable):
            sent.put()
    assert [method for method, _ in sent.asked()].count("PUT") == 1
    sent.mock.heal()
    with pytest.raises(JobGone):
        sent.put()


def test_everything_at_the_users_api_ends_nothing(sent: Sent) -> None:
    sent.mock.configure(api="users")
    for _ in range(3):
        with pytest.raises(Unavailable):
            sent.put()
    sent.mock.configure(api="workers")
    sent.put()
    assert sent.mock.statuses(sent.id) == ["running"]


def test_a_500_has_the_next_status_wait_for_a_question(sent: Sent) -> None:
    """After the one 404, which somebody else may have had, there are only 500s."""
    sent.mock.cancel(sent.id)
    sent.mock.fault(f"/jobs/{sent.id}/status", "PUT", cut="after", times=1)
    for _ in range(2):
        with pytest.raises(Unavailable):
            sent.put()
    with pytest.raises(JobGone):
        sent.put()


@pytest.mark.parametrize("trouble", [{"status": 500}, {"status": 503}, {"cut": "before"}])
def test_a_question_that_fails_after_a_500_delays_no_status(sent: Sent, trouble: dict[str, Any]) -> None:
    sent.mock.fault(f"/jobs/{sent.id}/status", "PUT", status=500, times=1)
    with pytest.raises(Unavailable):
        sent.put()
    sent.mock.fault(f"/jobs/{sent.id}/status", "GET", **trouble)
    sent.put()
    assert sent.mock.statuses(sent.id) == ["running"]


def test_a_doubt_of_somebody_else_is_resolved_first(sent: Sent) -> None:
    sent.mock.cancel(sent.id)
    sent.sender.doubt()
    with pytest.raises(JobGone):
        sent.put()
    assert sent.asked() == [("GET", 404), ("GET", 404)]


def test_nothing_is_sent_once_the_job_is_left(sent: Sent) -> None:
    sent.mock.fault(f"/jobs/{sent.id}/status", "PUT", times=1, **NOT_FOUND)

    class Left(WorkerApi):
        def get_status(self, *arguments: Any, **options: Any) -> JobStatus | None:
            status = super().get_status(*arguments, **options)
            sent.cancelled.set(StopRequested("the worker was stopped meanwhile"))
            return status

    sender = StatusSender(Left(sent.mock.url, sent.mock.api()._token), sent.id, sent.cancelled)
    with pytest.raises(StopRequested):
        sender.put(JobStatus.RUNNING)
    assert sent.asked() == [("PUT", 404), ("GET", 200)]


def test_refused_credentials_forget_no_404(sent: Sent) -> None:
    sent.mock.cancel(sent.id)
    sent.mock.fault("*", "GET", status=401, detail="no")
    with pytest.raises(Unavailable):
        sent.put()
    with pytest.raises(CredentialsError):
        sent.put()
    sent.mock.heal()
    with pytest.raises(JobGone):
        sent.put()
    assert [method for method, _ in sent.asked()].count("PUT") == 1
