"""The worker's page, asked over HTTP."""

import http.client
import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What the page answers: its status, its headers with their names in lower case, its body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(port: int, path: str, *, host: str = "localhost", method: str = "GET", timeout_s: float = 60) -> Answer:
    """Ask for `path`; `host` is the header Host. Raises `OSError` if nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request(method, path, headers={"Host": host})
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def answers(port: int) -> bool:
    """Whether somebody answers there."""
    try:
        return ask(port, "/healthz").status == 200
    except OSError:
        return False
