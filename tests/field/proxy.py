"""A proxy before an engine's socket, for engines that this machine cannot have: it edits requests and answers."""

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CONNECTION = re.compile(rb"(?i)\r\nconnection: *([^\r]*)")
BLOCK = 1 << 16

Request = tuple[bytes, bytes]
"""The head of a request with its empty line, and its body."""
EditRequest = Callable[[Request], Request | bytes]
"""Gives the request for the engine, or an answer in place of the engine's."""
EditAnswer = Callable[[bytes], bytes]
"""Gives each piece of an answer, of the same length as the engine's."""


@contextmanager
def proxy(engine: Path, listening: Path, edit_request: EditRequest, edit_answer: EditAnswer) -> Iterator[None]:
    """Serve the engine at the socket `listening`."""
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(listening))
        server.listen(64)
        acceptor = threading.Thread(target=_accept, args=(server, engine, edit_request, edit_answer))
        acceptor.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            acceptor.join()


def _accept(server: socket.socket, *arguments: object) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            threading.Thread(target=_pass_on, args=(client, *arguments), daemon=True).start()


def _pass_on(client: socket.socket, engine: Path, edit_request: EditRequest, edit_answer: EditAnswer) -> None:
    """One request for a connection: the engine is told to close it, unless the connection becomes a stream."""
    with closing(client), closing(socket.socket(socket.AF_UNIX)) as upstream, suppress(OSError):
        edited = edit_request(_read_request(client))
        if isinstance(edited, bytes):
            client.sendall(edited)
            return
        upstream.connect(str(engine))
        head, body = edited
        upgrade = _CONNECTION.search(head)
        if upgrade is None or upgrade[1].lower() != b"upgrade":
            head = _CONNECTION.sub(b"", head).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        upstream.sendall(head + body)
        threading.Thread(target=_copy, args=(client, upstream), daemon=True).start()
        while data := upstream.recv(BLOCK):
            client.sendall(edit_answer(data))


def _read_request(client: socket.socket) -> Request:
    """As much of the body as its length says."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := client.recv(BLOCK)):
            raise ConnectionError
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = LENGTH.search(head)
    while length and len(body) < int(length[1]):
        body += client.recv(BLOCK)
    return head + b"\r\n\r\n", body


def _copy(client: socket.socket, upstream: socket.socket) -> None:
    with suppress(OSError):
        while data := client.recv(BLOCK):
            upstream.sendall(data)
        upstream.shutdown(socket.SHUT_WR)
