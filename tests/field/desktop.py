"""An engine as Docker Desktop for Windows shows it: a proxy before a socket that translates the host's paths.

Docker Desktop runs its engine in a virtual machine, where `C:\\lab` is `/run/desktop/mnt/host/c/lab`. Requests name
folders of the host so. `info` names the product. All else passes unchanged.
"""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

HOST = "/run/desktop/mnt/host/c"
"""What the drive C: is called in Docker Desktop's virtual machine."""
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CONNECTION = re.compile(rb"(?i)\r\nconnection: *([^\r]*)")
_SYSTEM = re.compile(rb'"OperatingSystem":"[^"]*"')
_PRODUCT = b'"OperatingSystem":"Docker Desktop"'
BLOCK = 1 << 16


@contextmanager
def proxy(engine: Path, listening: Path, folder: Path) -> Iterator[None]:
    """Serve the engine at the socket `listening`: paths below `HOST` are those below `folder`."""
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(str(listening))
        server.listen(64)
        acceptor = threading.Thread(target=_accept, args=(server, engine, folder))
        acceptor.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            acceptor.join()


def _accept(server: socket.socket, engine: Path, folder: Path) -> None:
    with suppress(OSError):
        while True:
            client, _ = server.accept()
            threading.Thread(target=_pass_on, args=(client, engine, folder), daemon=True).start()


def _pass_on(client: socket.socket, engine: Path, folder: Path) -> None:
    """One request for a connection: the engine is told to close it, unless the connection becomes a stream."""
    with closing(client), closing(socket.socket(socket.AF_UNIX)) as upstream, suppress(OSError):
        upstream.connect(str(engine))
        request, body = _read_request(client)
        if b"/containers/create" in request.split(b"\r\n", 1)[0]:
            body = body.replace(HOST.encode(), bytes(folder))
            request = _LENGTH.sub(b"\r\nContent-Length: %d" % len(body), request)
        upgrade = _CONNECTION.search(request)
        if upgrade is None or upgrade[1].lower() != b"upgrade":
            request = _CONNECTION.sub(b"", request).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        upstream.sendall(request + body)
        threading.Thread(target=_copy, args=(client, upstream), daemon=True).start()
        while data := upstream.recv(BLOCK):
            client.sendall(_SYSTEM.sub(_as_desktop, data))


def _read_request(client: socket.socket) -> tuple[bytes, bytes]:
    """The head of a request with its empty line, and as much of the body as its length says."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := client.recv(BLOCK)):
            raise ConnectionError
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = _LENGTH.search(head)
    while length and len(body) < int(length[1]):
        body += client.recv(BLOCK)
    return head + b"\r\n\r\n", body


def _as_desktop(found: re.Match[bytes]) -> bytes:
    """JSON of the same length: the name of the product, then blanks."""
    return _PRODUCT.ljust(len(found[0])) if len(found[0]) >= len(_PRODUCT) else found[0]


def _copy(client: socket.socket, upstream: socket.socket) -> None:
    with suppress(OSError):
        while data := client.recv(BLOCK):
            upstream.sendall(data)
        upstream.shutdown(socket.SHUT_WR)
