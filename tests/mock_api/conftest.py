"""A mock on a free port, with a clock that the test sets, and a few words to talk to it."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests
from fastapi import FastAPI

from app.app import create_app
from app.config import MockConfig
from tests.support.servers import serve

TIMEOUT_S = 20


@pytest.fixture(autouse=True)
def _takes_a_while(needs_time: None) -> None:
    """The mock itself changes rarely: `--quick` leaves its tests out."""


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """One account's view of a mock. Answers are returned whatever their status."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def request(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        return requests.request(method, self.url + path, headers=self.headers, timeout=TIMEOUT_S, **kwargs)

    def helper(self, method: str, path: str, json: Any = None) -> Any:
        answer = requests.request(method, self.url + path, json=json, timeout=TIMEOUT_S)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def submit(self, **job: Any) -> str:
        return str(self.helper("POST", "/_jobs", job)["id"])

    def pull(self, memory: int = 1024, **offer: Any) -> Any:
        return self.request("GET", "/jobs", params={"memory": memory, **offer}).json()

    def put(self, job_id: str, status: str, **query: str) -> int:
        return self.request("PUT", f"/jobs/{job_id}/status", params={"status": status, **query}).status_code

    def upload_request(self, job_id: str, base_path: str = "out", output_type: str = "output") -> dict[str, Any]:
        answer = self.request("POST", f"/jobs/{job_id}/files/url", params={"type": output_type, "base_path": base_path})
        assert answer.status_code == 201
        return dict(answer.json())


def make(to_make: dict[str, Any], *, headers: dict[str, str] | None = None, **kwargs: Any) -> requests.Response:
    """Make a "request to make", with headers besides its own."""
    sent = to_make["headers"] | (headers or {})
    return requests.request(
        to_make["method"], to_make["url"], headers=sent, data=to_make["data"], timeout=TIMEOUT_S, **kwargs
    )


def encoded(to_make: dict[str, Any]) -> dict[str, Any]:
    """The request with its file id percent-encoded, which the API's own store leaves to the client."""
    url = re.sub("(?s)(?<=/files/).*(?=/download$)", lambda file_id: quote(file_id[0]), to_make["url"])
    return to_make | {"url": url}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def app(clock: Clock) -> FastAPI:
    return create_app(MockConfig(clock=clock))


@pytest.fixture
def url(app: FastAPI) -> Iterator[str]:
    with serve(app) as address:
        yield address


@pytest.fixture
def worker(url: str) -> Client:
    return Client(url, "worker-fixed-token")


@pytest.fixture
def other(url: str) -> Client:
    return Client(url, "worker2-fixed-token")
