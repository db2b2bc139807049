"""An engine that is upgraded, and put back, in the middle of jobs: a proxy before a socket that speaks another API.

After each start of a container, another engine answers: by turns the real one, and one that speaks `NEW` alone, as
Docker 29 takes no API before 1.44. Both refuse the other's version with 400, in moby's words
(`api/server/middleware/version.go`).
"""

import json
import re
from contextlib import AbstractContextManager
from pathlib import Path

from tests.field.proxy import Request, proxy

NEW = "1.44"
_VERSION = re.compile(rb"^(\w+) /v([\d.]+)/")
_START = re.compile(rb"^POST /v[\d.]+/containers/\w+/start ")
_ANSWER = "HTTP/1.1 {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n"


def replaced(engine: Path, listening: Path, version: str) -> AbstractContextManager[None]:
    """Serve the engine, which speaks the API up to `version`, at the socket `listening`."""
    return proxy(engine, listening, _Turns(version).edit, lambda data: data)


class _Turns:
    def __init__(self, version: str) -> None:
        self._version = version
        self._is_new = False

    def edit(self, request: Request) -> Request | bytes:
        head, body = request
        if head.startswith(b"GET /version "):
            return _answer("200 OK", ApiVersion=NEW if self._is_new else self._version, Version="replaced")
        asked = _VERSION.match(head)
        if asked is None:
            return request
        if self._is_new and asked[2] != NEW.encode():
            minimum = f"Minimum supported API version is {NEW}, please upgrade your client to a newer version"
            return _answer("400 Bad Request", message=f"client version {asked[2].decode()} is too old. {minimum}")
        if not self._is_new and asked[2] == NEW.encode():
            maximum = f"Maximum supported API version is {self._version}"
            return _answer("400 Bad Request", message=f"client version {NEW} is too new. {maximum}")
        self._is_new ^= _START.match(head) is not None
        return _VERSION.sub(rb"\1 /v%s/" % self._version.encode(), head), body


def _answer(status: str, **fields: str) -> bytes:
    body = json.dumps(fields)
    return (_ANSWER.format(status, len(body)) + body).encode()
