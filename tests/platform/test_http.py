"""HTTP: every request ends, every error is one of ours, and what fails is tried again with patience."""

import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from job_fetcher.core.errors import InvalidAnswer, Unavailable
from job_fetcher.core.job import JobStatus, OutputType
from job_fetcher.platform import http
from job_fetcher.platform.api import user_pool
from tests.support.platform import Platform
from tests.support.raw_server import answer, raw_server

SIGNED = "?X-Amz-Signature=5ecre7"


def subclasses(error: type[Exception]) -> Iterator[type[Exception]]:
    yield error
    for each in error.__subclasses__():
        yield from subclasses(each)


@pytest.mark.parametrize(
    "error", sorted({*subclasses(requests.RequestException), *subclasses(urllib3.exceptions.HTTPError)}, key=str)
)
def test_no_error_of_a_library_gets_through_untranslated(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """P3: docker's `APIError` *is* a `requests.HTTPError`, and was once taken for an answer of the API."""

    def fail(*arguments: object, **options: object) -> None:
        raised = error.__new__(error, f"http://host/file{SIGNED}")
        vars(raised).update(response=None, explanation=None, partial=1, expected=2, length=b"3")  # what some texts use
        raise raised

    monkeypatch.setattr(requests.Session, "request", fail)
    with pytest.raises((Unavailable, http.UnusableRequest)) as raised:
        http.send("get", f"http://host/file{SIGNED}")
    assert "5ecre7" not in str(raised.value)
    assert raised.value.__suppress_context__, "the library's text would stand in the traceback, with the signature"


def test_a_server_that_never_answers_is_given_up(mock: Platform) -> None:
    """P21."""
    with raw_server() as silent, pytest.raises(Unavailable, match=r"GET http://127.*/x: no answer in time"):
        http.send("GET", f"{silent.url}/x{SIGNED}", timeout_s=0.05)
    mock.fault("/access_info", cut_body_after=3, hang=False)
    with pytest.raises(Unavailable):
        http.send("GET", f"{mock.url}/access_info")


def test_every_request_has_a_connect_and_a_read_timeout(mock: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """P21: half-open connections once hung the worker silently."""
    timeouts = []
    send = requests.Session.send

    def spy(self: requests.Session, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        if str(request.url).startswith(mock.url):  # else it is of a thread that an earlier test has left
            timeouts.append(options["timeout"])
        return send(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", spy)
    token = mock.cognito_token()
    token.renew(token.bearer())
    api, job_id = mock.api(), mock.pulled()
    api.pull_job({"memory": 1})
    api.put_status(job_id, JobStatus.RUNNING)
    api.get_status(job_id)
    http.send("GET", api.input_request(mock.put_file("a", b"")).url)
    form = api.output_request(job_id, OutputType.LOG, "log")
    http.send(form.method, form.url, body=b"")
    user_pool(mock.url)
    assert len(timeouts) == len(mock.requests()) == 11
    for connect_s, read_s in timeouts:
        assert 0 < connect_s <= 30
        assert 0 < read_s <= 120


@pytest.mark.parametrize("url", ["http://[::1", "nonsense", "ftp://host/a", "http://é..x/", "http://host:99999/", ""])
def test_an_address_that_cannot_be_used_is_no_reason_for_patience(url: str) -> None:
    with pytest.raises(http.UnusableRequest, match=f"^GET {re.escape(url)}: "):
        http.send("GET", url)


@given(url=st.from_regex(r"https?://.*", fullmatch=True) | st.text(), header=st.text())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_address_and_no_header_brings_out_an_error_of_another_kind(
    monkeypatch: pytest.MonkeyPatch, url: str, header: str
) -> None:
    def nobody(*arguments: object, **options: object) -> None:
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises((Unavailable, http.UnusableRequest)):
        http.send("GET", url, headers={"X-Header": header})


@pytest.mark.parametrize("status", [407, 408, 429, 500, 502, 503, 504, 599])
def test_an_answer_that_means_later_is_unavailable(mock: Platform, status: int) -> None:
    mock.fault("/access_info", status=status)
    with pytest.raises(Unavailable, match=rf"GET http://[\d.:]+/access_info answered {status}$") as raised:
        http.send("GET", f"{mock.url}/access_info{SIGNED}")
    assert (raised.value.status, raised.value.retry_after_s) == (status, None)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        ("3600", 3600),
        ("99999999999999999999", 86_400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400),
        ("-3", None),
        ("soon", None),
        ("1.5", None),
        ("Mon, 01 Jan 0001 00:00:00 -0000", 0),
        ("Mon, 32 Jan 2000 00:00:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after_is_understood_and_bounded(mock: Platform, value: str, seconds: float | None) -> None:
    mock.fault("/access_info", status=503, headers={"Retry-After": value})
    with pytest.raises(Unavailable) as raised:
        http.send("GET", f"{mock.url}/access_info")
    assert raised.value.retry_after_s == seconds


class Shape(BaseModel):
    number: int


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "{}", '{"number": "x"}', '{"number": 1', "<html>", "[" * 100_000, '{"number": 1e999}', "\x00"],
)
def test_an_answer_of_another_shape_is_invalid(mock: Platform, body: str) -> None:
    mock.fault("/access_info", status=200, body=body)
    response = http.send("GET", f"{mock.url}/access_info{SIGNED}")
    with pytest.raises(InvalidAnswer, match=r"^GET http://[\d.:]+/access_info answered 200 with something that is"):
        http.answer(response, Shape)


def test_netrc_is_never_used(mock: Platform, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password t\n")
    monkeypatch.setenv("NETRC", str(netrc))
    http.send("GET", f"{mock.url}/access_info")
    assert "authorization" not in mock.requests()[-1].headers


@pytest.mark.parametrize("other", [True, False])
def test_a_redirect_to_another_host_takes_nothing_along_that_is_secret(other: bool) -> None:
    with raw_server(answer(b"there")) as target:
        location = target.url if not other else target.url.replace("127.0.0.1", "localhost")
        first = answer(status="307 Temporary Redirect", location=f"{location}/b", set_cookie="session=hush; Path=/")
        with raw_server(first) as here:
            headers = {"Authorization": "Bearer hush", "X-File-Store": "hush", "Range": "bytes=5-", "If-Range": '"v1"'}
            response = http.send("GET", f"{here.url}/a", headers=headers, redirects=True)
    assert response.content == b"there"
    [arrived] = target.received
    assert b"hush" not in arrived
    assert b"Range: bytes=5-" in arrived
    assert b'If-Range: "v1"' in arrived


def test_threads_have_sessions_of_their_own() -> None:
    from job_fetcher.core.background import in_background

    assert http.session() is http.session()
    assert in_background(http.session, "another").result(timeout=10) is not http.session()
