"""Stored objects to the wire: whole or in part, in blocks."""

import asyncio
import re
from email.utils import formatdate

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from .connection import CONNECTION, Connection
from .store import StoredObject

BLOCK = 512 * 1024


class Unsatisfiable(Exception):
    """The range begins behind the end of the object (416)."""


def requested_part(request: Request, stored: StoredObject) -> tuple[int, int] | None:
    """Return the requested part as [first byte, byte after the last), or `None` for all of it.

    Like S3, serve one range and ignore a header that is malformed or has several. Raises `Unsatisfiable`.
    """
    header = re.fullmatch(r"\s*bytes=(\d*)-(\d*)\s*", request.headers.get("range", ""))
    if header is None or header.groups() == ("", ""):
        return None
    if request.headers.get("if-range", etag(stored)) not in (etag(stored), http_date(stored)):
        return None  # the object has changed since the client got its first part
    first, last = header.groups()
    if first == "":
        begin, end = max(stored.size - int(last), 0), stored.size
    else:
        begin, end = int(first), min(int(last) + 1, stored.size) if last else stored.size
        if last and int(last) < begin:
            return None
    if begin >= stored.size:
        raise Unsatisfiable
    return begin, end


def etag(stored: StoredObject) -> str:
    return f'"{stored.md5}"'


def http_date(stored: StoredObject) -> str:
    return formatdate(stored.modified, usegmt=True)


class ObjectResponse(Response):
    """Sends a stored object, or [begin, end) of it: 200, or 206 with `Content-Range`."""

    def __init__(
        self, stored: StoredObject, part: tuple[int, int] | None = None, *, headers: dict[str, str] | None = None
    ) -> None:
        self._path = stored.path
        self._begin, end = part or (0, stored.size)
        self._length = end - self._begin
        self.background = None
        self.status_code = 206 if part else 200
        fields = {
            "content-type": "application/octet-stream",
            "content-length": str(self._length),
            "etag": etag(stored),
            "last-modified": http_date(stored),
        }
        if part:
            fields["content-range"] = f"bytes {self._begin}-{end - 1}/{stored.size}"
        self.init_headers(fields | (headers or {}))

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        connection: Connection = scope[CONNECTION]
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        left = 0 if scope["method"] == "HEAD" else self._length
        with self._path.open("rb") as file:
            file.seek(self._begin)
            while left > 0 and not connection.lost:
                block = await asyncio.to_thread(file.read, min(BLOCK, left))
                left -= len(block)
                await send({"type": "http.response.body", "body": block, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
