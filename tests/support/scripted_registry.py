"""A registry of the tests' own that has one image and answers what it is told to: pages, limits, odd manifests, logins.

The protocol: the OCI distribution specification, as far as engines use it for a pull.
"""

import base64
import gzip
import hashlib
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from tests.support.images import archive_of

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
PAGE = b"<html><head><title>Blocked</title></head><body>denied: x509: no such host</body></html>"


@dataclass(frozen=True)
class Answer:
    """What a fault answers."""

    status: int
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


def error(status: int, code: str, message: str = "", **headers: str) -> Answer:
    """A registry's own error, in the form of the specification."""
    return Answer(status, json.dumps({"errors": [{"code": code, "message": message}]}).encode(), headers=headers)


def page(status: int) -> Answer:
    """A page of something in front of the registry."""
    return Answer(status, PAGE, "text/html")


class ScriptedRegistry(ThreadingHTTPServer):
    """`faults`: by a part of the path, the answer instead of the right one, and how often (`None`: always).

    `login`: what everybody has to log in with, as `user:password`. `hands_out_tokens`: to everybody who has no login,
    or the right one, as public registries do.
    """

    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        super().__init__((host, 0), _Handler)
        self.use(archive_of({"etc/passwd": b"root:x:0:0:root:/:/bin/sh\n"}))
        self.faults: dict[str, tuple[Answer, int | None]] = {}
        self.login: str | None = None
        self.hands_out_tokens = False
        self.paths: list[str] = []
        self.logins: list[str] = []
        """What came as `user:password`."""

    def use(self, layer: bytes, architecture: str = "amd64") -> None:
        """Have an image of this layer (a tar archive) alone, with that architecture in its configuration."""
        zipped = gzip.compress(layer)
        rootfs = {"type": "layers", "diff_ids": [digest(layer)]}
        config = json.dumps({"architecture": architecture, "os": "linux", "config": {}, "rootfs": rootfs}).encode()
        self.layer, self.config = digest(zipped), digest(config)
        self._blobs = {self.layer: zipped, self.config: config}
        self.right = _json(MANIFEST, config=_described(CONFIG, config), layers=[_described(LAYER, zipped)]).encode()
        self.manifest, self.kind = self.right, MANIFEST

    @property
    def address(self) -> str:
        return f"{self.server_address[0]!s}:{self.server_port}"

    def fail(self, path: str, answer: Answer, times: int | None = None) -> None:
        """Answer requests whose path has `path` in it so, as often as that."""
        self.faults[path] = (answer, times)

    def give(self, kind: str, **manifest: Any) -> None:
        """Give another manifest."""
        self.manifest, self.kind = _json(kind, **manifest).encode(), kind

    def platform_list(self, architecture: str) -> dict[str, Any]:
        """The content of a manifest list with the image for this architecture alone."""
        platform = {"architecture": architecture, "os": "linux"}
        return {"manifests": [{**_described(MANIFEST, self.right), "platform": platform}]}

    def answer(self, path: str, authorization: str | None) -> Answer:
        self.paths.append(path)
        for part, (answer, left) in self.faults.items():
            if part in path and left != 0:
                self.faults[part] = (answer, None if left is None else left - 1)
                return answer
        return self._refusal(path, authorization or "") or self._content(path)

    def _refusal(self, path: str, authorization: str) -> Answer | None:
        scheme, _, value = authorization.partition(" ")
        if scheme == "Basic":
            self.logins.append(base64.b64decode(value).decode())
        refused = error(401, "UNAUTHORIZED", "authentication required")
        if path.startswith("/token"):
            return refused if scheme == "Basic" and self.logins[-1] != self.login else Answer(200, b'{"token": "t"}')
        challenge = (
            f'Bearer realm="http://{self.address}/token",service="x"' if self.hands_out_tokens else 'Basic realm="x"'
        )
        if scheme == "" and (self.hands_out_tokens or self.login is not None):
            return replace(refused, headers={"WWW-Authenticate": challenge})
        return refused if scheme == "Basic" and self.logins[-1] != self.login else None

    def _content(self, path: str) -> Answer:
        if "/manifests/" in path:
            return Answer(200, self.manifest, self.kind, {"Docker-Content-Digest": digest(self.manifest)})
        blob = self._blobs.get(path.rsplit("/", 1)[1])
        return Answer(200, blob, "application/octet-stream") if blob else Answer(200, b"{}")


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedRegistry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answer = self.server.answer(self.path, self.headers.get("Authorization"))
        self.send_response(answer.status)
        for name, value in {"Content-Type": answer.kind, "Content-Length": len(answer.body), **answer.headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def scripted_registry(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[ScriptedRegistry]:
    """Engines ask no TLS of 127.0.0.1, and insist on it at every other address."""
    with ScriptedRegistry(host) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, name="registry")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _described(kind: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": kind, "size": len(content), "digest": digest(content)}


def _json(kind: str, **fields: Any) -> str:
    return json.dumps({"schemaVersion": 2, "mediaType": kind, **fields})
