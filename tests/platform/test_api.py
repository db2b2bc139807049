"""The API's client: what it sends, and what each answer means."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from job_fetcher.core.errors import (
    CredentialsError,
    InvalidAnswer,
    JobFailed,
    JobFetcherError,
    JobGone,
    NotThePlatform,
    SettingsError,
    Unavailable,
)
from job_fetcher.core.job import JobSpecs, JobStatus, OutputType
from job_fetcher.platform.api import WorkerApi, user_pool
from job_fetcher.platform.auth import FixedToken
from tests.support.platform import Platform
from tests.support.raw_server import raw_server

OFFER: dict[str, str | int] = {"memory": 1000, "cpu_cores": 2, "gpu_mem": 500, "gpu_model": "A b", "gpu_archi": "Ada"}
ODD_IDS = [
    "s3://bucket/user/data/a b#1.tif",
    "ü/ß/日本.tif",
    "100%25/100%.csv",
    "what?.txt",
    "a+b&c=d;e",
    "..hidden/...",
    "[x]{y}|z\\^`'\"<>",
    "tab\there",
]

Call = Callable[[WorkerApi], object]
CALLS: dict[str, Call] = {
    "pull": lambda api: api.pull_job(OFFER),
    "status": lambda api: api.put_status("1", JobStatus.RUNNING),
    "probe": lambda api: api.get_status("1"),
    "input": lambda api: api.input_request("a.txt"),
    "output": lambda api: api.output_request("1", OutputType.LOG, "log"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def test_a_pulled_job_is_known_by_its_key_not_its_meta(mock: Platform) -> None:
    job_id = mock.submit("echo", "1", hardware={"gpu_mem": 500, "gpu_model": "A b", "gpu_archi": "Ada"})
    job = mock.api().pull_job(OFFER)
    assert job is not None
    assert (job.id, job.raw["meta"]["job_id"]) == (job_id, 1001)
    assert mock.api().pull_job(OFFER) is None


def test_the_offer_is_sent_in_the_parameters_of_the_contract(mock: Platform) -> None:
    """P6: `gpu_memory` was sent instead of `gpu_mem`, which the API ignores silently."""
    mock.submit("echo", hardware={"gpu_mem": 501})
    assert mock.api().pull_job(OFFER) is None
    [request] = mock.requests("GET", "/jobs")
    assert request.query == {"limit": ["1"]} | {name: [str(value)] for name, value in OFFER.items()}


def test_one_job_is_asked_for_whatever_is_offered(mock: Platform) -> None:
    """Others that came with it would be ours, and nobody would know of them."""
    for _ in range(2):
        mock.submit("echo")
    assert mock.api().pull_job(OFFER | {"limit": 2}) is not None
    assert mock.api().pull_job(OFFER) is not None


@pytest.mark.parametrize("file_id", ODD_IDS)
def test_file_ids_are_percent_encoded_as_one_path(mock: Platform, file_id: str) -> None:
    """P18: `stack #1.tif` once hung the job."""
    mock.put_file(file_id, b"x")
    assert mock.api().input_request(file_id).method == "get"


@pytest.mark.parametrize("file_id", ["..", "../jobs/1/status", "a/../../b", "./a"])
def test_a_file_id_cannot_reach_another_endpoint(mock: Platform, file_id: str) -> None:
    """What is between slashes as `.` or `..` disappears from every URL, however it is quoted."""
    with pytest.raises(JobFailed, match="no URL can name"):
        mock.api().input_request(file_id)
    assert mock.requests() == []


@pytest.mark.parametrize("job_id", ["a/b", "a?b#c", "ü %20", "1"])
def test_job_ids_are_one_segment_of_the_path(mock: Platform, job_id: str) -> None:
    assert mock.api().get_status(job_id) is None
    assert {each.path for each in mock.requests(path="/jobs/")} == {f"/jobs/{job_id}/status"}


def test_a_status_arrives_with_its_details(mock: Platform) -> None:
    job_id = mock.pulled()
    mock.api().put_status(job_id, JobStatus.ERROR, "ü & #1?\n100 %")
    assert (mock.statuses(job_id), mock.details(job_id)) == (["error"], "ü & #1?\n100 %")
    assert mock.api().get_status(job_id) is JobStatus.ERROR


def test_a_job_is_gone_at_the_first_404_of_a_status_and_only_then(mock: Platform) -> None:
    job_id = mock.pulled()
    mock.cancel(job_id)
    with pytest.raises(JobGone):
        mock.api().put_status(job_id, JobStatus.RUNNING)
    with pytest.raises(Unavailable, match="500"):
        mock.api().put_status(job_id, JobStatus.RUNNING)
    with pytest.raises(Unavailable, match="500"):
        mock.api().output_request(job_id, OutputType.LOG, "log")
    assert mock.api().get_status(job_id) is None


def test_a_missing_input_is_not_a_job_that_is_gone(mock: Platform) -> None:
    """P2: the 404 of a file was read as "job deleted", and the job hung without an error."""
    with pytest.raises(JobFailed, match="there is no such file"):
        mock.api().input_request("missing")
    mock.put_file("secret", b"", allowed=False)
    with pytest.raises(JobFailed, match="may not read this file"):
        mock.api().input_request("secret")


@pytest.mark.parametrize("status", [403, 404])
def test_a_refused_output_fails_the_job_not_the_worker(mock: Platform, status: int) -> None:
    mock.fault("/jobs/1/files/url", status=status, detail="no")
    with pytest.raises(JobFailed, match=f"refuses to take it .{status}"):
        CALLS["output"](mock.api())


@pytest.mark.parametrize("name", ["input", "output", "probe"])
def test_a_403_of_an_account_that_is_refused_for_a_moment_is_not_the_files(mock: Platform, name: str) -> None:
    """The API looks the account's groups up for each request: outputs were lost when that failed once."""
    mock.fault("*", status=403, detail="no groups")
    with pytest.raises(CredentialsError, match="lets this account do nothing"):
        CALLS[name](mock.api())


@pytest.mark.parametrize("name", ["input", "output"])
@pytest.mark.parametrize(
    ("confirmation", "error"),
    [
        ({"status": 503}, Unavailable),
        ({"status": 401, "detail": "no"}, CredentialsError),
        ({"status": 200, "body": "[]"}, NotThePlatform),
    ],
)
def test_a_403_is_the_files_only_if_the_account_is_known_to_be_accepted(
    mock: Platform, name: str, confirmation: dict[str, Any], error: type[JobFetcherError]
) -> None:
    mock.fault("*/url", status=403, detail="no")
    mock.fault("/jobs", **confirmation)
    with pytest.raises(error) as raised:
        CALLS[name](mock.api())
    assert type(raised.value) is error


@pytest.mark.parametrize("name", ["input", "output"])
def test_a_403_that_has_passed_when_the_account_is_accepted_is_forgotten(mock: Platform, name: str) -> None:
    mock.put_file("a.txt", b"x")
    mock.pulled()
    mock.fault("*/url", status=403, detail="no", times=1)
    CALLS[name](mock.api())


@every_call
@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (401, CredentialsError, "401"),
        (400, JobFailed, "answered 400: the reason"),
        (413, JobFailed, "answered 413: the reason"),
        (422, JobFailed, "answered 422: the reason"),
        (429, Unavailable, "answered 429"),
        (500, Unavailable, "answered 500"),
        (503, Unavailable, "answered 503"),
        (307, NotThePlatform, "a redirect to https://elsewhere/x"),
    ],
)
def test_each_status_means_one_thing(
    mock: Platform, call: Call, status: int, error: type[JobFetcherError], told: str
) -> None:
    headers = {"Retry-After": "17", "Location": "https://elsewhere/x?token=hush"}
    mock.fault("*", status=status, detail="the reason", headers=headers)
    with pytest.raises(error) as raised:
        call(mock.api())
    assert type(raised.value) is error
    assert told in str(raised.value)
    assert "hush" not in str(raised.value)
    if type(raised.value) is Unavailable:
        assert raised.value.retry_after_s == 17


@pytest.mark.parametrize("name", ["pull", "status", "probe"])
def test_an_account_that_is_not_approved_yet_is_told_what_to_do(mock: Platform, name: str) -> None:
    with pytest.raises(CredentialsError, match="not approved as a worker yet"):
        CALLS[name](mock.api("newcomer-fixed-token"))


@every_call
def test_no_answer_at_all_is_unavailable(call: Call) -> None:
    with raw_server(b"") as dead, pytest.raises(Unavailable):
        call(WorkerApi(dead.url, FixedToken(SecretStr("t"))))


@pytest.mark.parametrize("name", ["pull", "probe", "input", "output"])
@pytest.mark.parametrize(
    "body",
    [
        "",
        "<html><body>Sign in to the hotel's network</body></html>",
        '{"1": ',
        "[]",
        '"a string"',
        "7",
        "[" * 100_000,
        '{"1":' * 100_000,
        "x" * 10 * 2**20,
        '{"\\ud800": 1}',
    ],
    ids=range(10),
)
def test_an_answer_that_is_not_understood_is_invalid(mock: Platform, name: str, body: str) -> None:
    mock.fault("*", status=200, body=body, headers={"Content-Type": "application/json"})
    with pytest.raises(InvalidAnswer):
        CALLS[name](mock.api())


@pytest.mark.parametrize("name", ["input", "output"])
@pytest.mark.parametrize(
    ("request_to_make", "error"),
    [
        ({"method": "delete", "url": "https://host/x"}, JobFailed),
        ({"method": "METHOD", "url": "file:///etc/passwd"}, JobFailed),
        ({"method": "METHOD", "url": "https:///x"}, JobFailed),
        ({"method": "METHOD", "url": "https://host/x", "headers": [1]}, InvalidAnswer),
    ],
)
def test_only_requests_of_the_contract_are_made(
    mock: Platform, name: str, request_to_make: object, error: type[Exception]
) -> None:
    method = {"input": "get", "output": "post"}[name]
    mock.fault("*", status=200, body=json.dumps(request_to_make).replace("METHOD", method))
    with pytest.raises(error):
        CALLS[name](mock.api())


@pytest.mark.parametrize(
    "specs",
    [
        "null",
        "[]",
        "1e999",
        "1" * 1000,
        '"\\ud800"',
        "[" * 300 + "]" * 300,
        '{"app": 7, "handler": {"image_url": [null]}}',
    ],
)
def test_a_job_that_is_not_understood_is_a_job_all_the_same(mock: Platform, specs: str) -> None:
    """P26: raising while a job is pulled made a poison job end worker after worker."""
    mock.fault("/jobs", status=200, body=f'{{"7": {specs}}}')
    job = mock.api().pull_job(OFFER)
    assert job is not None
    assert job.id == "7"


@pytest.mark.parametrize(
    "body",
    [
        '{"status": "maintenance"}',
        '{"message": "Service Unavailable", "code": 503}',
        '{"detail": null}',
        '{"errors": ["down"]}',
        '{"status": "\\ud800"}',
        '{"until": 1%s}' % ("0" * 1000),
        '{"error": {"code": 503, "message": "Service Unavailable"}}',
        '{"error": {"code": 503, "meta": {"request_id": "x"}}}',
        '{"components": {"app": {"status": "DOWN"}, "db": {"status": "UP"}}}',
        '{"fault": {"faultstring": "Spike arrest violation", "detail": {"errorcode": "policies.ratelimit"}}}',
        '{"job-7": {}}',
        '{"error": {"message": "\\ud800"}}',
        '{"message": "Forbidden", "data": {}}',
    ],
    ids=range(13),
)
def test_other_json_is_no_job(mock: Platform, body: str) -> None:
    """A gateway's answer was taken for a job, again and again, without a pause."""
    mock.fault("/jobs", status=200, body=body)
    with pytest.raises(InvalidAnswer):
        mock.api().pull_job(OFFER)


def test_a_job_is_found_beside_what_is_none(mock: Platform) -> None:
    mock.fault("/jobs", status=200, body='{"status": {"app": "up"}, "job-7": {"app": 7, "handler": {}}}')
    job = mock.api().pull_job(OFFER)
    assert job is not None
    assert job.id == "job-7"


@pytest.mark.parametrize("job_id", ["7", "job-7", "ü"])
@pytest.mark.parametrize(
    "specs",
    ['{"app": null, "handler": null}', '{"handler": [], "meta": {}}', '{"app": {"cmd": ["\\ud800"]}, "hardware": 1}'],
)
def test_a_broken_job_of_any_id_is_a_job(mock: Platform, job_id: str, specs: str) -> None:
    mock.fault("/jobs", status=200, body=f'{{"{job_id}": {specs}}}', headers={"Content-Type": "application/json"})
    job = mock.api().pull_job(OFFER)
    assert job is not None
    assert job.id == job_id
    with pytest.raises(JobFailed, match="The job's description is not valid"):
        JobSpecs.parse(job.raw)


@pytest.mark.parametrize("status", [200, 301, 403, 404])
def test_a_page_in_place_of_the_login_service_s_address_is_no_reason_to_end(mock: Platform, status: int) -> None:
    mock.fault("/access_info", status=status, body="<html>")
    with pytest.raises(NotThePlatform, match=f"answered {status}"):
        user_pool(mock.url)


@pytest.mark.parametrize("status", [403, 404, 405])
def test_an_address_of_another_api_is_told_as_a_setting(mock: Platform, status: int) -> None:
    mock.fault("/access_info", status=status, detail="Not Found")
    with pytest.raises(SettingsError, match=f"answered {status}"):
        user_pool(mock.url)


def test_the_token_is_sent_to_the_api_and_to_nobody_else(mock: Platform) -> None:
    CALLS["pull"](mock.api())
    CALLS["probe"](mock.api())
    user_pool(mock.url)
    assert [each.account for each in mock.requests()] == ["worker", "worker", "worker", "worker", None]
    assert "authorization" not in mock.requests("GET", "/access_info")[0].headers


@pytest.mark.parametrize("groups", [(), ("a",), ("a", "b c")])
def test_groups_are_asked_for_by_name(mock: Platform, groups: tuple[str, ...]) -> None:
    mock.submit("echo")
    first = mock.submit("echo", group=groups[-1]) if groups else "1"
    job = mock.api().pull_job(OFFER, groups)
    assert job is not None
    assert job.id == first
    [request] = mock.requests("GET", "/jobs")
    assert request.query.get("groups", []) == list(groups)
