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
        self._answered: list[tuple[socket.socket, threading.Thread]] = []

    def serve(self) -> None:
        with suppress(OSError):  # the listener is closed
            while True:
                accepted, _ = self._listener.accept()
                try:
                    connection = self._spoken_on(accepted)
                    self._answer(connection)
                except OSError:  # the client has left
                    accepted.close()
                else:
                    draining = threading.Thread(target=_drain, args=[connection], name="raw-server-drain", daemon=True)
                    draining.start()
                    self._answered.append((connection, draining))

    def close(self) -> None:
        """End the connections that clients have not ended."""
        for connection, draining in self._answered:
            with suppress(OSError):  # it was ended
                connection.shutdown(socket.SHUT_RDWR)  # wakes `recv`
            draining.join()

    def _answer(self, connection: socket.socket) -> None:
        try:
            self.received.append(_request(connection))
            connection.sendall(self._answers[min(len(self.received), len(self._answers)) - 1])
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            raise

    def _spoken_on(self, connection: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(connection, server_side=True) if self._tls else connection


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += _received(connection)
    return head + b"\r\n\r\n" + body


def _received(connection: socket.socket) -> bytes:
    """What comes next; raises `ConnectionError` if that is the end."""
    data = connection.recv(65536)
    if not data:
        raise ConnectionError("the client has left in the middle of its request")
    return data


def _drain(connection: socket.socket) -> None:
    """Read on until the client ends the connection: if something unread is in the way, its kernel drops the answer."""
    with connection, suppress(OSError):
        while connection.recv(65536):
            pass


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
        server.close()
