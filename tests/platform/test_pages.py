"""What something in front of the API answers says nothing about the account, the job or a file: only the API's JSON."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from app.config import Account
from job_fetcher.core.errors import CredentialsError, JobFailed, JobGone, NotThePlatform, SettingsError, Unavailable
from job_fetcher.core.job import JobStatus, OutputType
from job_fetcher.platform.api import WorkerApi
from job_fetcher.platform.auth import FixedToken
from tests.support.platform import PASSWORD, Platform
from tests.support.raw_server import answer, raw_server

Call = Callable[[WorkerApi], object]
CALLS: dict[str, Call] = {
    "pull": lambda api: api.pull_job({"memory": 1}),
    "status": lambda api: api.put_status("1", JobStatus.RUNNING),
    "last status": lambda api: api.put_status("1", JobStatus.FINISHED, "done"),
    "question": lambda api: api.get_status("1"),
    "input": lambda api: api.input_request("a.txt"),
    "output": lambda api: api.output_request("1", OutputType.LOG, "log"),
    "who are you": lambda api: api.require_workers_api(),
}
PAGES = {
    "a page": "<html><body>404 Not Found</body></html>",
    "nothing": "",
    "other JSON": '{"message": "Forbidden"}',
    "a detail that is none of the API's": '{"detail": {"code": 7}}',
    "a JSON string": '"Not Found"',
    "JSON that is cut": '{"detail": "Not Fou',
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("status", [401, 403, 404, 405, 422])
@pytest.mark.parametrize("body", PAGES.values(), ids=PAGES)
def test_a_refusal_without_the_apis_json_is_not_the_platforms(
    mock: Platform, call: Call, status: int, body: str
) -> None:
    mock.fault("*", status=status, body=body)
    with pytest.raises(NotThePlatform, match=f"answered {status}") as raised:
        call(mock.api())
    assert raised.value.status is None, "the platform has not answered"


@pytest.mark.parametrize("detail", ["Not Found", [{"msg": "no"}], "", []])
def test_a_refusal_with_the_apis_json_is_the_platforms(mock: Platform, detail: Any) -> None:
    mock.pulled()
    mock.fault("/jobs/1/status", status=403, detail=detail)
    with pytest.raises(CredentialsError):
        CALLS["status"](mock.api())
    mock.heal()
    mock.fault("/jobs/1/status", status=404, detail=detail)
    with pytest.raises(JobGone):
        CALLS["status"](mock.api())


def test_two_pages_of_401_cost_no_login(mock: Platform) -> None:
    token = mock.cognito_token()
    token.bearer()
    mock.fault("/jobs", status=401, body="<html>")
    for _ in range(2):
        with pytest.raises(NotThePlatform):
            WorkerApi(mock.url, token).pull_job({"memory": 1})
    assert len(mock.requests("POST", "/cognito")) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204, 205])
@pytest.mark.parametrize("body", ["", "null", '"running"', "{}"])
def test_a_status_is_heard_with_any_success_that_is_empty_or_json(mock: Platform, status: int, body: str) -> None:
    mock.fault("/jobs/1/status", status=status, body="" if status in (204, 205) else body)
    CALLS["status"](mock.api())


@pytest.mark.parametrize("body", ["<html>log in</html>", "OK", '{"status": ', "\x00"])
def test_a_status_is_not_heard_by_a_page(mock: Platform, body: str) -> None:
    mock.fault("/jobs/1/status", status=200, body=body)
    with pytest.raises(NotThePlatform):
        CALLS["status"](mock.api())


@pytest.mark.parametrize("status", [200, 204, 404, 503])
@pytest.mark.parametrize("name", ["status", "question", "input", "output"])
def test_a_404_is_believed_only_if_the_workers_api_answers_at_this_address(
    mock: Platform, name: str, status: int
) -> None:
    """Any other application of that kind answers 404 in the same words."""
    mock.fault("/jobs/*" if name != "input" else "/files/*", status=404, detail="Not Found")
    mock.fault("/jobs", query="memory=x", status=status, body="<html>")
    with pytest.raises(Unavailable) as raised:
        CALLS[name](mock.api())
    assert raised.value.status == 404, "who asked knows that a 404 was heard"


@pytest.mark.parametrize("name", ["status", "question", "input", "output"])
def test_no_404_of_the_users_api_is_believed(mock: Platform, name: str) -> None:
    mock.configure(api="users")
    with pytest.raises(Unavailable, match="is the address of the users' API"):
        CALLS[name](mock.api())


def test_the_workers_api_is_known_by_its_422_and_gives_no_job(mock: Platform) -> None:
    job_id = mock.submit()
    mock.api().require_workers_api()
    assert mock.job(job_id).status == "queued"


def test_the_users_api_is_named(mock: Platform) -> None:
    mock.configure(api="users")
    with pytest.raises(SettingsError, match="is the address of the users' API, and not of the workers' API"):
        mock.api().require_workers_api()


@pytest.mark.parametrize("body", [b'{"detail": "Not Found"}', b'{"detail": "Method Not Allowed"}'])
@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed", "400 Bad Request"])
def test_another_application_is_named(body: bytes, status: str) -> None:
    with raw_server(answer(body, status)) as other, pytest.raises(SettingsError, match="another API"):
        WorkerApi(other.url, FixedToken(SecretStr("t"))).require_workers_api()


@pytest.mark.parametrize("account", [{"approved": False}, {"access_token": "another"}])
def test_who_asks_for_the_workers_api_hears_that_the_account_is_refused(
    mock: Platform, account: dict[str, Any]
) -> None:
    mock.state.accounts.put(Account(**{"username": "ada", "password": PASSWORD, "access_token": "adas"} | account))
    with pytest.raises(CredentialsError):
        mock.api("adas").require_workers_api()


@pytest.mark.parametrize("name", ["input", "output"])
@pytest.mark.parametrize("path", ["/files/*", "*"])
def test_a_page_is_for_a_file_alone_if_the_api_answers_meanwhile(mock: Platform, name: str, path: str) -> None:
    mock.fault("/*/url" if path != "*" else "*", status=403, body="<html>blocked")
    with pytest.raises(NotThePlatform) as raised:
        CALLS[name](mock.api())
    assert raised.value.alone == (path != "*")


def test_a_405_is_never_the_apis(mock: Platform) -> None:
    mock.fault("/jobs/*", status=405, detail="Method Not Allowed")
    with pytest.raises(NotThePlatform):
        CALLS["last status"](mock.api())


@pytest.mark.parametrize("status", [400, 413, 414, 431])
def test_details_that_are_too_long_for_anything_on_the_way_are_refused(mock: Platform, status: int) -> None:
    mock.fault("/jobs/*", status=status, body="<html>")
    with pytest.raises(JobFailed):
        CALLS["last status"](mock.api())
    with pytest.raises(NotThePlatform):
        CALLS["status"](mock.api())
