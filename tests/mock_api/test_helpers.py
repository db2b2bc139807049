"""The endpoints for people: submitting, the page, what is recorded, and what the README shows."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.mock_api.conftest import TIMEOUT_S, Client, make

README = Path(__file__).parents[2] / "mock_api" / "README.md"


def commands() -> list[list[str]]:
    return [shlex.split(line) for line in README.read_text().splitlines() if line.startswith("curl ")]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_of_the_readme_works(url: str, command: list[str]) -> None:
    target = command[-1].replace("localhost:8000", url)
    if "--json" in command:
        answer = requests.post(target, json=json.loads(command[command.index("--json") + 1]), timeout=TIMEOUT_S)
    else:
        answer = requests.request("DELETE" if "DELETE" in command else "GET", target, timeout=TIMEOUT_S)
    assert answer.ok, answer.text


def test_a_job_brings_small_inputs_along_as_text_or_base64(worker: Client) -> None:
    worker.submit(files={"a.txt": "ü", "b.bin": {"base64": "AP8="}})
    contents = [make(worker.request("GET", f"/files/{name}/url").json()).content for name in ("a.txt", "b.bin")]
    assert contents == ["ü".encode(), b"\x00\xff"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/_jobs", {"hardwear": {}}),
        ("/_jobs", {"hardware": {"memory": "lots"}}),
        ("/_jobs", {"files": {"x": {"base64": "?"}}}),
        ("/_faults", {"staus": 500}),
        ("/_config", {"latency": 1}),
        ("/_config", {"latency_s": -1}),
        ("/_config", {"store_dir": "/x"}),
        ("/_config", {"accounts": [{"username": "x"}]}),
    ],
)
def test_a_slip_of_the_pen_is_told(url: str, path: str, body: Any) -> None:
    assert requests.post(url + path, json=body, timeout=TIMEOUT_S).status_code == 422


def test_a_job_can_be_cancelled_once(worker: Client) -> None:
    job_id = worker.submit()
    answers = [requests.delete(f"{worker.url}/_jobs/{name}", timeout=TIMEOUT_S) for name in (job_id, job_id, "77")]
    assert [answer.status_code for answer in answers] == [204, 404, 404]
    assert worker.pull() == {}
    assert worker.helper("GET", f"/_jobs/{job_id}")["deleted"] is True


def test_requests_are_recorded_without_secrets(worker: Client) -> None:
    worker.submit(files={"x": "content"})
    worker.pull(memory=7)
    to_make = worker.request("GET", "/files/x/url").json()
    make(to_make, headers={"Range": "bytes=1-"})
    worker.helper("POST", "/_config", {"storage": "s3"})
    make(worker.request("GET", "/files/x/url").json())
    pulled, _, read, _, signed = worker.helper("GET", "/_requests")
    assert (pulled["account"], pulled["query"], pulled["status"]) == ("worker", {"memory": ["7"]}, 200)
    assert "authorization" in pulled["headers"]
    assert (read["account"], read["range"], read["status"], read["sent"]) == (None, "bytes=1-", 206, 6)
    assert set(map(tuple, signed["query"].values())) == {("***",)}
    worker.helper("DELETE", "/_requests")
    assert worker.helper("GET", "/_requests") == []


def test_the_page_needs_nothing_from_elsewhere(url: str) -> None:
    page = requests.get(url, timeout=TIMEOUT_S).text
    assert "<title>Jobs" in page
    assert "://" not in page.replace("s3://", "")
