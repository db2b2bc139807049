"""Between the server and the app: records each request, and gives it the delays and faults that were asked for.

Pure ASGI, outermost: what it does to a connection, no other layer undoes. The helper endpoints and the page are spared.
"""

import asyncio
import time
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .accounts import BadToken, NotAWorker
from .connection import CONNECTION, Connection
from .faults import USERS_SIDE_DOWN, ArmedFault, Fault
from .state import Mock, RecordedRequest

MAX_REQUEST_LINE = 4096
OUR_OWN = (
    "/_",
    "/store/",
    "/s3/",
)  # not the API's: a storage host allows longer request lines, and its queries are secret
NOT_THE_API = ("/cognito", "/store/", "/s3/")
HANG_CHECK_S = 0.02
CATCH_UP_S = 0.05
"""Bytes may be so late and still count as in time: the event loop wakes later than it is asked to."""


class Wire:
    """The middleware. Costs a record and a few comparisons per request when nothing is asked for."""

    def __init__(self, app: ASGIApp, mock: Mock, users_api: ASGIApp) -> None:
        self._app, self._users_api = app, users_api
        self._mock = mock
        self._line: tuple[float, _Pace, _Pace] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        scope[CONNECTION] = Connection(receive)
        path, query = scope["path"], scope["query_string"].decode("latin-1")
        if path == "/" or (path.startswith("/_") and path != "/_probe"):
            return await self._app(scope, receive, send)

        record = _record(self._mock, scope)
        self._mock.requests.append(record)
        send = _recording(record, send)
        config = self._mock.config
        if config.latency_s:
            await asyncio.sleep(config.latency_s)
        if config.bandwidth:
            receive, send = _Pace(config.bandwidth).on_receive(receive), _Pace(config.bandwidth).on_send(send)
        if config.line:
            up, down = self._both_ways(config.line)
            receive, send = up.on_receive(receive), down.on_send(send)
        armed = self._mock.faults.find(scope["method"], path, unquote_plus(query))
        if armed is not None:
            return await self._misbehave(armed, scope, receive, send)
        return await self._serve(scope, receive, send)

    def _both_ways(self, bandwidth: float) -> tuple["_Pace", "_Pace"]:
        """The paces up and down of the line that all connections share."""
        if self._line is None or self._line[0] != bandwidth:
            self._line = bandwidth, _Pace(bandwidth), _Pace(bandwidth)
        return self._line[1:]

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        line = len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"]) + len(" ? HTTP/1.1")
        if line > MAX_REQUEST_LINE and not scope["path"].startswith(OUR_OWN):
            await _answer(receive, send, 414, {}, "Request-URI Too Long")
        elif self._mock.config.api == "users" and not scope["path"].startswith(NOT_THE_API):
            await self._users_api(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _misbehave(self, armed: ArmedFault, scope: Scope, receive: Receive, send: Send) -> None:
        fault, connection = armed.fault, scope[CONNECTION]
        if fault.delay_s:
            await asyncio.sleep(fault.delay_s)
        while fault.hang and armed.in_force and not connection.lost:
            await asyncio.sleep(HANG_CHECK_S)
        if connection.lost:
            return
        if fault.users_side_down:
            scope[USERS_SIDE_DOWN] = True
        if fault.cut == "before":
            await connection.cut()
        elif fault.cut == "after":
            await self._serve(scope, receive, _swallow)
            await connection.cut()
        elif fault.status is not None:
            send = _Spoiled(fault, connection, send)
            await _answer(receive, send, fault.status, fault.answer_headers, fault.answer_body or "")
        else:
            await self._serve(scope, receive, _Spoiled(fault, connection, send))


class _Spoiled:
    """A `send` that changes the answer on its way, as the fault says."""

    def __init__(self, fault: Fault, connection: Connection, send: Send) -> None:
        self._fault = fault
        self._connection = connection
        self._send = send
        self._body = fault.answer_body
        self._left = fault.short_body if fault.short_body is not None else fault.cut_body_after
        self._ended = False

    async def __call__(self, message: Message) -> None:
        if self._ended:
            return
        if message["type"] == "http.response.start":
            await self._send({**message, "headers": self._headers(message)})
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._body is not None:
            body, more = self._body.encode(), False
        if self._left is not None:
            body = body[: self._left]
            self._left -= len(body)
            more = more and self._left > 0
        self._ended = not more
        if self._ended and self._fault.cut_body_after is not None:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await self._connection.cut()
        else:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    def _headers(self, message: Message) -> list[tuple[bytes, bytes]]:
        headers = {name.lower(): value for name, value in message["headers"]}
        headers |= {name.encode(): value.encode() for name, value in self._fault.answer_headers.items()}
        if self._body is not None:
            headers[b"content-length"] = str(len(self._body.encode())).encode()
        if self._fault.short_body is not None and b"content-length" in headers:
            length = min(int(headers[b"content-length"]), self._fault.short_body)
            headers[b"content-length"] = str(length).encode()
        return list(headers.items())


class _Pace:
    """Lets bytes pass at so many per second, for one connection or for all that share it."""

    def __init__(self, bandwidth: float) -> None:
        self._bandwidth = bandwidth
        self._free_at: float | None = None

    async def _wait_for(self, size: int) -> None:
        now = time.monotonic()
        begin = now if self._free_at is None else max(self._free_at, now - CATCH_UP_S)
        self._free_at = begin + size / self._bandwidth
        await asyncio.sleep(max(self._free_at - now, 0))

    def on_receive(self, receive: Receive) -> Receive:
        async def paced() -> Message:
            message = await receive()
            await self._wait_for(len(message.get("body", b"")))
            return message

        return paced

    def on_send(self, send: Send) -> Send:
        async def paced(message: Message) -> None:
            await self._wait_for(len(message.get("body", b"")))
            await send(message)

        return paced


def _recording(record: RecordedRequest, send: Send) -> Send:
    async def recorded(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.status = message["status"]
        else:
            record.sent += len(message.get("body", b""))
        await send(message)

    return recorded


def _record(mock: Mock, scope: Scope) -> RecordedRequest:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if scope["path"].startswith(OUR_OWN):
        query = {name: ["***"] for name in query}
    return RecordedRequest(
        time=mock.now(),
        method=scope["method"],
        path=scope["path"],
        query=query,
        headers=sorted(headers),
        range=headers.get("range"),
        account=_account_of(mock, headers.get("authorization", "")),
    )


def _account_of(mock: Mock, authorization: str) -> str | None:
    if not authorization:
        return None
    try:
        return mock.accounts.authenticate(authorization.partition(" ")[2]).username
    except (BadToken, NotAWorker):
        return None


async def _answer(receive: Receive, send: Send, status: int, headers: dict[str, str], body: str) -> None:
    """Answer instead of the app, after the request's body, so that the client hears it instead of a reset."""
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
    fields: dict[str, Any] = {"content-type": "text/plain", "content-length": str(len(body.encode()))} | headers
    if status in (204, 304):
        del fields["content-length"]
    raw = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body.encode(), "more_body": False})


async def _swallow(message: Message) -> None:
    """Send nothing of the answer."""
