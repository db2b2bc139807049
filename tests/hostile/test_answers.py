"""An API or a storage that attacks, or whose answers somebody has changed: requests handed out, redirects, bodies."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.hostile.conftest import Fate, Victim
from tests.support.raw_server import RawServer, answer, raw_server

SIGNED = {"X-File-Store": "own", "X-Signature": "hush", "Authorization": "storage's own"}


def get(url: str, **more: Any) -> dict[str, Any]:
    return {"method": "get", "url": url, "headers": {}, "data": {}} | more


def post(url: str, **more: Any) -> dict[str, Any]:
    return get(url, **more) | {"method": "post"}


@pytest.fixture
def evil() -> Iterator[RawServer]:
    """Somebody else's host, which would take what it is sent."""
    with raw_server(answer(b"evil")) as server:
        yield server


def download(victim: Victim, request: object) -> Fate:
    """The fate of a job whose one input comes by `request`."""
    victim.platform.fault("/files/*/url", status=200, body=json.dumps(request), times=1)
    return victim.attack("cat /files/in", files={"in": b"good"})


def upload(victim: Victim, request: object) -> Fate:
    """The fate of a job that has one output, which is to be sent by `request`."""
    query = "*base_path=output*"
    victim.platform.fault("/jobs/*/files/url", "POST", query=query, status=201, body=json.dumps(request), times=1)
    return victim.attack("echo x > /files/output/x", up={"output": "output"})


NOT_MADE = {
    "a file of the worker": get("file:///proc/self/environ"),
    "a file by another name": get("file://localhost/etc/shadow"),
    "another protocol": get("ftp://127.0.0.1/x"),
    "the docker socket": get("http+unix://%2Fvar%2Frun%2Fdocker.sock/info"),
    "data": get("data:text/plain,evil"),
    "no address": get(""),
    "a relative address": get("/etc/passwd"),
    "an address without a host": get("http:///etc/passwd"),
    "an address that is none": get("http://[::1"),
    "a port that is none": get("http://127.0.0.1:99999/"),
    "another method": get("https://127.0.0.1/", method="delete"),
    "a method that is none": get("https://127.0.0.1/", method="get\r\nX: y"),
    "a method of the other way": post("https://127.0.0.1/"),
    "a line break in a header": get("http://127.0.0.1:1/", headers={"X": "y\r\nAuthorization: evil"}),
    "a line break in a header's name": get("http://127.0.0.1:1/", headers={"X\r\nY": "z"}),
    "a header that is no text": get("http://127.0.0.1:1/", headers={"X": "\u20ac"}),
}


def test_request_that_is_not_of_the_contract_is_not_made_for_an_input(victim: Victim) -> None:
    jobs = {}
    for number, (what, request) in enumerate(NOT_MADE.items()):
        victim.platform.fault(f"/files/*/{number}/url", status=200, body=json.dumps(request))
        jobs[what] = {"files": {"in": f"s3://bucket/{number}"}}
    for what, fate in victim.attack_all(jobs, "true").items():
        assert fate.status == "error", what
        assert fate.told.startswith("The input 'in' cannot be fetched: the API "), what


def test_request_that_is_not_of_the_contract_is_not_made_for_an_output(victim: Victim) -> None:
    """The other outputs arrive."""
    to_send = {what: request | {"method": "post"} for what, request in NOT_MADE.items() if request["method"] == "get"}
    for number, request in enumerate(to_send.values()):
        query = f"*base_path=output/{number}"
        victim.platform.fault("/jobs/*/files/url", "POST", query=query, status=201, body=json.dumps(request))
    line = f"cd /files/output; for i in $(seq 0 {len(to_send) - 1}); do mkdir $i; echo x > $i/x; done; echo > kept"
    fate = victim.attack(line, up={"output": "output"})
    assert (fate.status, set(fate.outputs)) == ("error", {"log/log/left-out.txt", "output/output/kept"})
    assert "The output 'output/0/x' cannot be uploaded: the API " in fate.told
    left_out = fate.outputs["log/log/left-out.txt"].decode()
    assert [number for number in range(len(to_send)) if f"output/{number}/x: " not in left_out] == []


def test_token_of_the_worker_stays_with_the_api(victim: Victim, evil: RawServer) -> None:
    assert download(victim, get(evil.url, headers={"X": "y"})).log == "evil"
    assert upload(victim, post(evil.url)).status == "finished"
    received = b"".join(evil.received).lower()
    assert b"x: y" in received
    assert b"authorization" not in received
    assert b"bearer" not in received
    assert b"cookie" not in received


@pytest.mark.parametrize("status", [302, 307])
def test_redirect_to_another_host_takes_no_headers_along(victim: Victim, evil: RawServer, status: int) -> None:
    redirect = answer(status=f"{status} Found", location=f"{evil.url}/x", set_cookie="session=hush; Domain=127.0.0.1")
    with raw_server(redirect) as storage:
        assert download(victim, get(storage.url, headers=SIGNED)).log == "evil"
        assert b"X-Signature: hush" in storage.received[0]
    received = b"".join(evil.received).lower()
    for secret in (b"x-signature", b"hush", b"authorization", b"own", b"cookie"):
        assert secret not in received


REDIRECTS = {
    "file:///etc/passwd": "the API handed out an address that cannot be used",
    "ftp://127.0.0.1/x": "the API handed out an address that cannot be used",
    "http://[::1": "the API handed out an address that cannot be used",
    "//[": "the API handed out an address that cannot be used",
    "?": "the API handed out an address that cannot be used",  # to itself, for ever
}


@pytest.mark.parametrize("location", REDIRECTS)
def test_redirect_of_a_download_leads_to_http_or_nowhere(victim: Victim, location: str) -> None:
    with raw_server(answer(status="302 Found", location=location)) as storage:
        fate = download(victim, get(storage.url))
    assert fate.status == "error"
    assert REDIRECTS[location] in fate.told


def test_redirect_of_an_upload_takes_no_header_along(victim: Victim, evil: RawServer) -> None:
    """S3 answers 307 for new buckets in other regions: the form goes there, and nothing besides."""
    with raw_server(answer(status="307 Temporary Redirect", location=evil.url)) as storage:
        fate = upload(victim, post(storage.url, headers=SIGNED))
        assert b"X-Signature: hush" in storage.received[0]
    assert fate.status == "finished"
    assert evil.received
    assert b"hush" not in b"".join(evil.received)


GONE_WRONG = {
    "a body in no known letters": answer(b"\xff\xfe", "418 x", content_type="text/plain; charset=idna"),
    "a body in letters of no name": answer(b"x", "418 x", content_type="text/plain; charset=\0"),
    "a body that steers terminals": answer(b"\x1b[2J\0\nforged\r\n", "418 x"),
    "a body of ten megabytes": answer(b"x" * 10 * 2**20, "418 x"),
    "a body that is cut": answer(b"x", "418 x", content_length=100),
    "a body in broken chunks": b"HTTP/1.1 418 x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a body that is not packed as it says": answer(b"xx", "418 x", content_encoding="gzip"),
    "a length of thousands of digits": answer(b"x", "206 x", content_range=f"bytes 0-0/{'9' * 5000}"),
    "a length of a petabyte": answer(b"x", "206 x", content_range=f"bytes 0-0/{'9' * 15}"),
    "a length of nothing": answer(b"x", "206 x", content_range="bytes */*"),
    "a length below nothing": answer(b"x", content_length=-1),
    "no HTTP": b"\0" * 1000,
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000,
}
"""Answers of a storage: each is tried again, or is told to the job's user. Which of the two may differ."""


@pytest.mark.parametrize("way", ["down", "up"])
def test_storage_whose_answers_are_broken_costs_a_job_at_most(victim: Victim, way: str) -> None:
    jobs: dict[str, dict[str, Any]] = {}
    with ExitStack() as stack:
        for number, (what, broken) in enumerate(GONE_WRONG.items()):
            good = answer(b"good") if way == "down" else answer(status="204 No Content")
            storage = stack.enter_context(raw_server(broken, good))
            request = json.dumps(get(storage.url) if way == "down" else post(storage.url))
            if way == "down":
                victim.platform.fault(f"/files/*/{number}/url", status=200, body=request)
                jobs[what] = {"files": {"in": f"s3://bucket/{number}"}}
            else:
                query = f"*base_path=output/{number}"
                victim.platform.fault("/jobs/*/files/url", "POST", query=query, status=201, body=request)
                jobs[what] = {"up": {"output": f"output/{number}"}}
        make = 'for each in /files/output/*; do test -d "$each" && echo x > "$each/x"; done'
        fates = victim.attack_all(jobs, f"cat /files/in; {make}; true")
    for what, fate in fates.items():
        assert fate.status == "error" or way == "up" or fate.log == "good", what
        assert len(fate.told) < 600, what
        assert all(each.isprintable() or each in "\n\ufffd" for each in fate.told), what
