"""Inputs and outputs, through the API's own store and the stand-in for S3."""

import hashlib
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.mock_api.conftest import TIMEOUT_S, Client, Clock, encoded, make

FILE_ID = "s3://bucket/user/data/a b#1 ü?%20.tif"
FILE_PATH = "s3%3A//bucket/user/data/a%20b%231%20%C3%BC%3F%2520.tif"
CONTENT = bytes(range(256)) * 10


@pytest.fixture(params=["own", "s3"])
def store(request: pytest.FixtureRequest, worker: Client) -> str:
    worker.helper("POST", "/_config", {"storage": request.param})
    return str(request.param)


@pytest.fixture
def job_id(worker: Client) -> str:
    job_id = worker.submit()
    worker.pull()
    return job_id


def download_request(worker: Client) -> dict[str, Any]:
    requests.put(f"{worker.url}/_files/{FILE_PATH}", data=CONTENT, timeout=TIMEOUT_S).raise_for_status()
    return encoded(worker.request("GET", f"/files/{FILE_PATH}/url").json())


@pytest.mark.usefixtures("store")
def test_an_input_comes_down_as_it_was_stored(worker: Client) -> None:
    to_make = download_request(worker)
    assert to_make["method"] == "get"
    assert make(to_make).content == CONTENT


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("header", "content_range"),
    [
        ("bytes=0-0", "bytes 0-0/2560"),
        ("bytes=100-199", "bytes 100-199/2560"),
        ("bytes=2500-", "bytes 2500-2559/2560"),
        ("bytes=2500-9999", "bytes 2500-2559/2560"),
        ("bytes=-10", "bytes 2550-2559/2560"),
    ],
)
def test_a_range_is_answered_with_206_and_just_that(worker: Client, header: str, content_range: str) -> None:
    answer = make(download_request(worker), headers={"Range": header})
    first, last = (int(n) for n in content_range.removeprefix("bytes ").partition("/")[0].split("-"))
    assert (answer.status_code, answer.headers["content-range"]) == (206, content_range)
    assert answer.content == CONTENT[first : last + 1]


@pytest.mark.usefixtures("store")
def test_a_range_behind_the_end_is_416_and_a_malformed_one_ignored(worker: Client) -> None:
    to_make = download_request(worker)
    assert make(to_make, headers={"Range": "bytes=2560-"}).status_code == 416
    assert make(to_make, headers={"Range": "bytes=9-1"}).status_code == 200
    assert make(to_make, headers={"Range": "bytes=5-", "If-Range": '"another"'}).content == CONTENT


def test_the_own_store_can_be_one_that_ignores_ranges(worker: Client) -> None:
    worker.helper("POST", "/_config", {"own_ranges": False})
    answer = make(download_request(worker), headers={"Range": "bytes=5-"})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.usefixtures("store")
def test_a_download_url_expires_and_cannot_be_altered(worker: Client, clock: Clock) -> None:
    to_make = download_request(worker)
    requests.put(f"{worker.url}/_files/other", data=CONTENT, timeout=TIMEOUT_S).raise_for_status()
    assert make(to_make | {"url": to_make["url"].replace(FILE_PATH, "other")}).status_code == 403
    clock.now += 599
    assert make(to_make).status_code == 200
    clock.now += 1
    assert make(to_make).status_code == 403


@pytest.mark.parametrize("name", ["a#1.tif", "b?2.tif", "c%20d.tif", "100%25.tif", "e#f?g.tif"])
def test_the_own_store_hands_out_urls_that_work_only_with_the_file_id_encoded(worker: Client, name: str) -> None:
    file_id = f"s3://bucket/user/{name}"
    requests.put(f"{worker.url}/_files/{quote(file_id)}", data=CONTENT, timeout=TIMEOUT_S).raise_for_status()
    to_make = worker.request("GET", f"/files/{quote(file_id)}/url").json()
    assert to_make["url"] == f"{worker.url}/files/{file_id}/download"
    answer = make(to_make)
    assert (answer.status_code, answer.json().keys()) == (404, {"detail"})
    assert make(encoded(to_make)).content == CONTENT


def test_a_single_file_in_place_of_a_folder_has_a_key_that_ends_in_a_dot(worker: Client) -> None:
    down = {"config/.": "s3://bucket/user/config/a.yaml", "data/.": "s3://bucket/user/data/b 1.tif"}
    job_id = worker.submit(
        handler={"image_url": "x", "files_down": down}, files=dict.fromkeys(down.values(), "content")
    )
    assert worker.pull()[job_id]["handler"]["files_down"] == down
    for file_id in down.values():
        assert make(encoded(worker.request("GET", f"/files/{quote(file_id)}/url").json())).text == "content"


def test_a_missing_input_is_404_and_one_that_is_not_allowed_403(worker: Client) -> None:
    assert worker.request("GET", "/files/none/url").status_code == 404
    requests.put(f"{worker.url}/_files/secret", params={"allowed": "false"}, data=b"x", timeout=TIMEOUT_S)
    assert worker.request("GET", "/files/secret/url").status_code == 403


@pytest.mark.parametrize(
    "name",
    ["plain.txt", "sp ace", "ü 漢 🔬", "%20 50%", "#?&;=", 'quo"te', "new\nline", "'", "a=b; c", "x" * 250, ".hidden"],
)
def test_any_file_name_survives_an_upload(worker: Client, store: str, job_id: str, name: str) -> None:
    answer = make(worker.upload_request(job_id, "a b/ü"), files={"file": (name, b"data")})
    assert answer.status_code == (204 if store == "s3" else 201)
    if store == "own":  # which leaves as they are what stands for a quote and a line break in a form
        name = name.replace('"', "%22").replace("\n", "%0A")
    [output] = worker.helper("GET", f"/_jobs/{job_id}")["outputs"]
    md5 = hashlib.md5(b"data", usedforsecurity=False).hexdigest()
    assert output == {"type": "output", "path": f"a b/ü/{name}", "size": 4, "md5": md5}


@pytest.mark.usefixtures("store")
def test_a_form_serves_every_file_of_its_folder_and_the_last_of_a_name_stays(worker: Client, job_id: str) -> None:
    to_make = worker.upload_request(job_id, base_path="", output_type="log")
    for name, content in (("a", b"1"), ("b", b""), ("a", b"two")):
        assert make(to_make, files={"file": (name, content)}).ok
    outputs = worker.helper("GET", f"/_jobs/{job_id}")["outputs"]
    assert [(o["type"], o["path"], o["size"]) for o in outputs] == [("log", "a", 3), ("log", "b", 0)]
    shown = requests.get(f"{worker.url}/_jobs/{job_id}/outputs/log/a", timeout=TIMEOUT_S)
    assert shown.content == b"two"


@pytest.mark.usefixtures("store")
def test_large_files_and_their_boundaries_arrive_byte_by_byte(worker: Client, job_id: str) -> None:
    content = (b"\r\n--" + b"-" * 60 + b"\r") * 100_000
    make(worker.upload_request(job_id), files={"file": ("big", content)}).raise_for_status()
    [output] = worker.helper("GET", f"/_jobs/{job_id}")["outputs"]
    assert output["md5"] == hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("query", [{"type": "output"}, {"type": "other", "base_path": "x"}, {"base_path": "x"}])
def test_the_type_and_the_base_path_of_an_upload_are_required(
    worker: Client, job_id: str, query: dict[str, str]
) -> None:
    assert worker.request("POST", f"/jobs/{job_id}/files/url", params=query).status_code == 422


def test_another_account_gets_no_upload_url(other: Client, job_id: str) -> None:
    query = {"type": "output", "base_path": ""}
    assert other.request("POST", f"/jobs/{job_id}/files/url", params=query).status_code == 500


@pytest.mark.usefixtures("store")
def test_an_upload_form_expires(worker: Client, job_id: str, clock: Clock) -> None:
    to_make = worker.upload_request(job_id)
    clock.now += 600
    assert make(to_make, files={"file": ("a", b"1")}).status_code == 403
    assert worker.helper("GET", f"/_jobs/{job_id}")["outputs"] == []


def test_the_own_store_knows_that_a_job_is_gone(worker: Client, job_id: str) -> None:
    to_make = worker.upload_request(job_id)
    worker.helper("DELETE", f"/_jobs/{job_id}")
    assert worker.put(job_id, "postprocessing") == 404
    assert make(to_make, files={"file": ("a", b"1")}).status_code == 500


def test_the_own_store_wants_the_headers_of_the_request_to_make(worker: Client) -> None:
    assert make(download_request(worker) | {"headers": {}}).status_code == 403


def test_urls_are_for_the_host_that_the_client_has_asked(worker: Client) -> None:
    requests.put(f"{worker.url}/_files/x", data=b"x", timeout=TIMEOUT_S)
    headers = worker.headers | {"Host": "host.docker.internal:8000"}
    to_make = requests.get(f"{worker.url}/files/x/url", headers=headers, timeout=TIMEOUT_S).json()
    assert to_make["url"].startswith("http://host.docker.internal:8000/")
