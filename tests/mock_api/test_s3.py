"""What is S3's own: its refusals in XML, and its answers compared with those of moto, which others wrote."""

import hashlib
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import requests
from moto.server import ThreadedMotoServer

from tests.mock_api.conftest import TIMEOUT_S, Client, make

pytestmark = pytest.mark.usefixtures("needs_time")

CONTENT = b"0123456789" * 50
# Enough for moto, which does not check the signature.
MOTO_HEADERS = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/20200101/us-east-1/s3/aws4_request"}


@pytest.fixture
def form(worker: Client) -> dict[str, Any]:
    worker.helper("POST", "/_config", {"storage": "s3"})
    worker.submit()
    [job_id] = worker.pull()
    return worker.upload_request(job_id)


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    bucket = f"http://{host}:{port}/bucket"
    requests.put(bucket, headers=MOTO_HEADERS, timeout=TIMEOUT_S).raise_for_status()
    yield bucket
    server.stop()


def code(answer: requests.Response) -> tuple[int, str | None]:
    return answer.status_code, ET.fromstring(answer.text).findtext("Code")


def post(
    form: dict[str, Any], changes: dict[str, str] | None = None, *, headers: dict[str, str] | None = None
) -> requests.Response:
    data = {name: value for name, value in (form["data"] | (changes or {})).items() if value}
    return make(form | {"data": data}, headers=headers, files={"file": ("a.bin", CONTENT)})


def test_a_form_post_is_stored_as_moto_stores_it(worker: Client, form: dict[str, Any], moto: str) -> None:
    theirs = {"url": moto, "data": {"key": "jobs/1/output/out/${filename}"}}
    answers = [post(form | changes) for changes in ({}, theirs)]
    assert [answer.status_code for answer in answers] == [204, 204]
    stored = requests.get(f"{moto}/jobs/1/output/out/a.bin", headers=MOTO_HEADERS, timeout=TIMEOUT_S)
    assert stored.headers["etag"] == answers[0].headers["etag"]
    assert [output["path"] for output in worker.helper("GET", "/_jobs/1")["outputs"]] == ["out/a.bin"]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        *({"Range": f"bytes={part}"} for part in ("0-9", "490-", "-7", "10-9999", "500-", "-9999")),
        {"If-Match": '"another"'},
    ],
)
def test_a_get_answers_as_moto_does(worker: Client, moto: str, headers: dict[str, str]) -> None:
    worker.helper("POST", "/_config", {"storage": "s3"})
    requests.put(f"{worker.url}/_files/a.bin", data=CONTENT, timeout=TIMEOUT_S).raise_for_status()
    requests.put(f"{moto}/a.bin", data=CONTENT, headers=MOTO_HEADERS, timeout=TIMEOUT_S).raise_for_status()
    ours = requests.get(worker.request("GET", "/files/a.bin/url").json()["url"], headers=headers, timeout=TIMEOUT_S)
    theirs = requests.get(f"{moto}/a.bin", headers=headers | MOTO_HEADERS, timeout=TIMEOUT_S)
    assert seen(ours) == seen(theirs)


def seen(answer: requests.Response) -> tuple[Any, ...]:
    """What a client goes by."""
    if not answer.ok:
        return code(answer)
    names = ("content-range", "content-length", "etag", "accept-ranges")
    return answer.status_code, answer.content, *(answer.headers.get(name) for name in names)


def test_an_authorization_header_is_refused(worker: Client, form: dict[str, Any]) -> None:
    assert code(post(form, headers=worker.headers)) == (400, "InvalidArgument")
    requests.put(f"{worker.url}/_files/x", data=b"x", timeout=TIMEOUT_S)
    to_make = worker.request("GET", "/files/x/url").json()
    assert code(make(to_make, headers=worker.headers)) == (400, "InvalidArgument")


def test_a_head_is_refused_because_the_url_is_signed_for_get(worker: Client, form: dict[str, Any]) -> None:
    assert form["method"] == "post"
    requests.put(f"{worker.url}/_files/x", data=b"x", timeout=TIMEOUT_S)
    url = worker.request("GET", "/files/x/url").json()["url"]
    assert requests.head(url, timeout=TIMEOUT_S).status_code == 403


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"x-amz-signature": "0" * 64}, (403, "SignatureDoesNotMatch")),
        ({"policy": "e30="}, (403, "SignatureDoesNotMatch")),
        ({"policy": ""}, (403, "AccessDenied")),
        ({"key": ""}, (400, "InvalidArgument")),
        ({"key": "elsewhere/${filename}"}, (403, "AccessDenied")),
        ({"x-amz-date": ""}, (403, "AccessDenied")),
        ({"unknown": "field"}, (403, "AccessDenied")),
    ],
)
def test_a_form_is_taken_as_signed_or_not_at_all(
    worker: Client, form: dict[str, Any], changes: dict[str, str], refusal: tuple[int, str]
) -> None:
    assert code(post(form, changes)) == refusal
    assert worker.helper("GET", "/_jobs/1")["outputs"] == []


def test_a_file_over_the_limit_is_refused(worker: Client, form: dict[str, Any]) -> None:
    worker.helper("POST", "/_config", {"s3_max_bytes": len(CONTENT)})
    assert post(form).status_code == 204
    worker.helper("POST", "/_config", {"s3_max_bytes": len(CONTENT) - 1})
    assert code(post(form)) == (400, "EntityTooLarge")


def test_with_kms_the_etag_is_not_the_md5(worker: Client, form: dict[str, Any]) -> None:
    worker.helper("POST", "/_config", {"s3_kms": True})
    answer = post(form)
    assert answer.headers["x-amz-server-side-encryption"] == "aws:kms"
    assert answer.headers["etag"].strip('"') != hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


def test_a_body_without_a_length_is_refused(form: dict[str, Any]) -> None:
    request = requests.Request("POST", form["url"], data=form["data"], files={"file": ("a", b"1")}).prepare()
    assert isinstance(request.body, bytes)
    headers = {"Content-Type": request.headers["Content-Type"]}
    answer = requests.post(form["url"], data=iter([request.body]), headers=headers, timeout=TIMEOUT_S)
    assert code(answer) == (411, "MissingContentLength")


@pytest.mark.parametrize("name", ["a\\b.tif", "x/y\\b.tif", "x\\y/b.tif"])
def test_a_filename_is_cut_at_its_last_slash_or_backslash(worker: Client, form: dict[str, Any], name: str) -> None:
    assert make(form, files={"file": (name, CONTENT)}).status_code == 204
    assert [output["path"] for output in worker.helper("GET", "/_jobs/1")["outputs"]] == ["out/b.tif"]


@pytest.mark.parametrize("name", ["a\\b.tif", "deep/er\\b.tif", "ü" * 490, "a" * (1024 - len("jobs/1/output/out/"))])
def test_a_whole_key_is_taken_as_it_is_up_to_1024_bytes(worker: Client, form: dict[str, Any], name: str) -> None:
    key = form["data"]["key"].replace("${filename}", name)
    assert post(form, {"key": key}).status_code == 204
    assert [output["path"] for output in worker.helper("GET", "/_jobs/1")["outputs"]] == [f"out/{name}"]
    assert code(post(form, {"key": key + "x" * 1024})) == (400, "KeyTooLongError")


def test_a_bucket_of_another_region_sends_uploads_to_another_address(worker: Client, form: dict[str, Any]) -> None:
    elsewhere = worker.url.replace("127.0.0.1", "localhost")
    worker.helper("POST", "/_config", {"s3_redirect": elsewhere})
    data, files = form["data"], {"file": ("a.bin", CONTENT)}
    sent = requests.post(form["url"], data=data, files=files, allow_redirects=False, timeout=TIMEOUT_S)
    assert code(sent) == (307, "TemporaryRedirect")
    assert sent.headers["location"] == form["url"].replace(worker.url, elsewhere)
    assert worker.helper("GET", "/_jobs/1")["outputs"] == []
    assert post(form | {"url": sent.headers["location"]}).status_code == 204
    assert [output["path"] for output in worker.helper("GET", "/_jobs/1")["outputs"]] == ["out/a.bin"]


def test_s3_knows_nothing_of_jobs_that_are_gone(worker: Client, form: dict[str, Any]) -> None:
    worker.helper("DELETE", "/_jobs/1")
    assert post(form).status_code == 204
