"""A server that sends exactly the bytes that it is told to: broken answers, which no web framework would send."""

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress


class RawServer:
    """Answers each connection's one request with the next of `answers`, the last of them ever after."""

    def __init__(self, listener: socket.socket, answers: tuple[bytes, ...], tls: ssl.SSLContext | None) -> None:
        name = listener.getsockname()
        self.url = f"unix://{name}" if isinstance(name, str) else f"http{'s' if tls else ''}://127.0.0.1:{name[1]}"
        self.received: list[bytes] = []
        """The requests, head and body."""
        self._listener, self._answers, self._tls = listener, answers, tls

    def serve(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                accepted, _ = self._listener.accept()
                with accepted, suppress(OSError), self._spoken_on(accepted) as connection:
                    self.received.append(_request(connection))
                    connection.sendall(self._answers[min(len(self.received), len(self._answers)) - 1])

    def _spoken_on(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def answer(body: bytes = b"", status: str = "200 OK", **headers: object) -> bytes:
    """An answer of one connection. Its `Content-Length` is right, unless `content_length` is given."""
    fields = {"content_length": len(body), "connection": "close"} | headers
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1") + body


@contextmanager
def raw_server(
    *answers: bytes, tls: ssl.SSLContext | None = None, listener: socket.socket | None = None
) -> Iterator[RawServer]:
    """Without answers, it takes connections and never says a word. `listener`: where, if not by TCP on a free port."""
    with closing(listener or socket.create_server(("127.0.0.1", 0))) as listener:
        server = RawServer(listener, answers, tls)
        thread = threading.Thread(target=server.serve, name="raw-server", daemon=True)
        if answers:
            thread.start()
        yield server
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`
    if answers:
        thread.join()
