"""What answers in the platform's place, or refuses the account for a moment, ends no job and no worker."""

import signal
from typing import Any

import pytest

from app.config import Account
from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import StartWorker
from tests.support.platform import PASSWORD, TOKEN, USERNAME, Platform
from tests.support.worker import WorkerProcess, run_job, wait_until

WAIT = "echo ran > /files/output/ran; until [ -e /files/go ]; do sleep 0.02; done"
SOON_BELIEVED = {"REFUSED_FOR_S": 1.0}
"""Three minutes of refusals are a second for this worker."""
PAGES: dict[str, dict[str, Any]] = {
    "a load balancer's 404": {"status": 404, "body": "<html>not found</html>"},
    "a firewall's 403": {"status": 403, "body": "<html>blocked</html>"},
    "a proxy's 401": {"status": 401, "body": "<html>log in</html>"},
    "a log-in page": {"status": 200, "body": "<html>log in</html>"},
    "other JSON": {"status": 403, "body": '{"message": "Forbidden"}'},
}
FIXED: dict[str, Any] = {"ACCESS_TOKEN": TOKEN, "USERNAME": None, "PASSWORD": None}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def begun(mock: Platform, worker: WorkerProcess) -> str:
    """Submit a job that waits for `go`; its id, as soon as its command runs."""
    job = mock.submit(WAIT, files={"a": b"a"}, up={"output": "output"})
    wait_until((worker.base / job / "files" / "output" / "ran").exists, "the command to begin")
    mock.wait_for_status(job, "running")
    return job


def assert_finishes(mock: Platform, worker: WorkerProcess, job: str) -> None:
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished", mock.details(job)
    assert mock.outputs(job)["output/output/ran"] == b"ran\n"
    assert worker.is_running


@every_page
@pytest.mark.parametrize("times", [1, 3])
def test_pages_while_a_command_runs_end_nothing(
    mock: Platform, start: StartWorker, page: dict[str, Any], times: int
) -> None:
    worker = start()
    job = begun(mock, worker)
    wrong = mock.fault("/jobs*", times=times, **page)
    mock.wait_until(lambda: wrong.matched >= times, "the pages")
    assert_finishes(mock, worker, job)


@every_page
def test_pages_on_the_way_in_and_out_lose_no_file(mock: Platform, start: StartWorker, page: dict[str, Any]) -> None:
    worker = start()
    for path in ("/files/*/url", "/jobs/*/files/url"):
        mock.fault(path, times=2, **page)
    assert_finishes(mock, worker, begun(mock, worker))


@every_page
def test_pages_while_there_is_no_job_end_no_worker(mock: Platform, start: StartWorker, page: dict[str, Any]) -> None:
    wrong = mock.fault("/jobs", times=3, **page)
    worker = start()
    mock.wait_until(lambda: wrong.matched >= 3, "the pages")
    assert mock.job(run_job(mock, "true")).status == "finished"
    assert worker.is_running


def test_requests_that_are_led_to_the_users_api_for_a_while_end_no_job(mock: Platform, start: StartWorker) -> None:
    worker = start()
    job = begun(mock, worker)
    mock.configure(api="users")
    questions = len(mock.requests("GET", f"/jobs/{job}/status"))
    mock.wait_until(lambda: len(mock.requests("GET", f"/jobs/{job}/status")) > questions + 2, "doubts")
    mock.configure(api="workers")
    assert_finishes(mock, worker, job)


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_refused_for_a_moment_end_no_job(mock: Platform, start: StartWorker, status: int) -> None:
    worker = start()
    job = begun(mock, worker)
    refused = mock.fault("/jobs/*", status=status, detail="the keys cannot be fetched", times=5)
    mock.wait_until(lambda: refused.matched >= 5, "refusals")
    assert_finishes(mock, worker, job)


@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_stay_refused_end_the_job_and_the_worker(
    mock: Platform, engine: FakeEngine, start: StartWorker, status: int
) -> None:
    worker = start(constants=SOON_BELIEVED)
    begun(mock, worker)
    mock.fault("/jobs/*", status=status, detail="no")
    assert worker.wait() == 3
    assert engine.jobs() == []
    assert ("even a new one" if status == 401 else "Ask the platform to add it to the group 'workers'") in worker.log


def test_account_that_cognito_refuses_while_a_command_runs_is_not_locked_by_it(
    mock: Platform, start: StartWorker
) -> None:
    """Five wrong passwords lock it; each keep-alive would be one."""
    worker = start()
    job = begun(mock, worker)
    mock.state.accounts.put(Account(username=USERNAME, password="another"))
    for use in ("id", "refresh"):
        mock.state.accounts.revoke(use)
    refused = len(mock.requests("PUT", f"/jobs/{job}/status"))
    mock.wait_until(lambda: len(mock.requests("POST", "/cognito")) >= 3, "a refused login")
    worker.wait_for_log("refuses USERNAME and PASSWORD")
    logins = len(mock.requests("POST", "/cognito"))
    assert logins == 3, "the first login, the refresh, and one more"
    assert refused
    mock.state.accounts.put(Account(username=USERNAME, password=PASSWORD))
    assert worker.is_running


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("settings", [{}, FIXED], ids=["login", "ACCESS_TOKEN"])
def test_credentials_that_are_refused_for_a_moment_end_no_idle_worker(
    mock: Platform, start: StartWorker, status: int, settings: dict[str, Any]
) -> None:
    refused = mock.fault("/jobs", status=status, detail="the keys cannot be fetched", times=6)
    worker = start(**settings)
    mock.wait_until(lambda: refused.matched >= 6, "refusals")
    assert mock.job(run_job(mock, "true")).status == "finished"
    assert worker.is_running
    assert "it tries again for 180 s" in worker.log


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("settings", [{}, FIXED], ids=["login", "ACCESS_TOKEN"])
def test_credentials_that_stay_refused_end_an_idle_worker(
    mock: Platform, start: StartWorker, status: int, settings: dict[str, Any]
) -> None:
    refused = mock.fault("/jobs", status=status, detail="no")
    worker = start(constants=SOON_BELIEVED, **settings)
    assert worker.wait() == 3
    assert refused.matched >= 3


def test_outage_between_refusals_confirms_none(mock: Platform, start: StartWorker) -> None:
    worker = start(constants=SOON_BELIEVED)
    for status in (503, 500, 404, 503):
        refused = mock.fault("/jobs", status=401, detail="no", times=2)
        mock.wait_until(lambda refused=refused: refused.matched >= 2, "refusals")  # type: ignore[misc]
        other = mock.fault("/jobs", status=status, times=1)
        mock.wait_until(lambda other=other: other.matched >= 1, "another answer")  # type: ignore[misc]
    assert mock.job(run_job(mock, "true")).status == "finished"
    assert worker.is_running


def test_idle_worker_whose_login_is_refused_ends_at_once(mock: Platform, start: StartWorker) -> None:
    worker = start(PASSWORD="another")
    assert worker.wait() == 3
    assert len(mock.requests("POST", "/cognito")) == 1


def test_worker_at_the_users_api_ends_and_says_so(mock: Platform, start: StartWorker) -> None:
    mock.configure(api="users")
    worker = start()
    assert worker.wait() == 2
    assert f"API_URL ({mock.url}) is the address of the users' API, and not of the workers' API" in worker.log
    assert "Traceback" not in worker.log


@pytest.mark.parametrize("times", [1, 2])
def test_start_that_is_led_to_the_users_api_once_or_twice_goes_on(
    mock: Platform, start: StartWorker, times: int
) -> None:
    wrong = mock.fault("/jobs", status=200, body="[]", times=2 * times)  # each poll, and the question after it
    worker = start()
    mock.wait_until(lambda: wrong.matched > 2 * times, "the next poll")
    assert mock.job(run_job(mock, "true")).status == "finished"
    assert worker.is_running


@pytest.mark.parametrize("status", [429, 503, 500])
def test_retry_after_of_a_poll_is_waited_out(mock: Platform, start: StartWorker, status: int) -> None:
    later = mock.fault("/jobs", status=status, headers={"Retry-After": "2"}, times=1)
    start()
    mock.wait_until(lambda: later.matched > 1, "the next poll")
    first, second = [each.time for each in mock.requests("GET", "/jobs")][:2]
    assert second - first >= 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1])
def test_worker_that_waits_an_hour_for_its_next_poll_is_stopped_at_once(
    mock: Platform, start: StartWorker, number: signal.Signals
) -> None:
    later = mock.fault("/jobs", status=429, headers={"Retry-After": "3600"})
    worker = start()
    mock.wait_until(lambda: later.matched > 0, "a poll")
    worker.wait_for_log("asks for a job again in 3600 s")
    worker.signal(number)
    assert worker.wait() == 0
    assert later.matched == 1


def test_groups_of_the_settings_come_first(mock: Platform, start: StartWorker) -> None:
    jobs = [mock.submit("true"), mock.submit("true", group="a"), mock.submit("true", group="b c")]
    start(JOB_GROUPS="a, b c")
    for job in jobs:
        mock.wait_for_status(job)
    begun_at = [mock.job(job).history[1].time for job in jobs]
    assert max(begun_at) == begun_at[0]
