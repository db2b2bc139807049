"""A registry that wants a login and hands its tokens out elsewhere, as ECR Public does: the real docker-registry,
with a small server for its tokens."""

import base64
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from tests.support.engine import running_registry

USERNAME, PASSWORD = "publisher", "registry-password"
SERVICE = "test-registry"
ISSUER = "test-tokens"


class TokenServer(ThreadingHTTPServer):
    """Gives everybody tokens to pull, and those who log in tokens to push; a wrong password gets none."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
        now = datetime.now(UTC)
        self._certificate = (
            x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/token"

    @property
    def certificate(self) -> bytes:
        """In PEM: the registry trusts tokens that are signed with it."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def token(self, scopes: list[str], *, may_push: bool) -> str:
        """A signed JSON web token for scopes such as `repository:job-fetcher:pull,push`."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            granted = [action for action in actions.split(",") if may_push or action == "pull"]
            access.append({"type": kind, "name": name, "actions": granted})
        now = int(time.time())
        claims = {"iss": ISSUER, "sub": USERNAME, "aud": SERVICE, "nbf": now - 60, "exp": now + 600, "access": access}
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        signed = f"{_encoded(header)}.{_encoded(claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class _Handler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_GET(self) -> None:
        known = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        login = self.headers.get("Authorization")
        if login not in (None, f"Basic {known}"):
            self.send_error(401)
            return
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        body = json.dumps({"token": self.server.token(scopes, may_push=login is not None)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


@contextmanager
def running_token_registry(folder: Path) -> Iterator[str]:
    """The address of such a registry, which keeps its images in `folder`."""
    with TokenServer() as server, pytest.MonkeyPatch.context() as patch:
        (folder / "certificate.pem").write_bytes(server.certificate)
        patch.setenv("REGISTRY_AUTH", "token")
        patch.setenv("REGISTRY_AUTH_TOKEN_REALM", server.url)
        patch.setenv("REGISTRY_AUTH_TOKEN_SERVICE", SERVICE)
        patch.setenv("REGISTRY_AUTH_TOKEN_ISSUER", ISSUER)
        patch.setenv("REGISTRY_AUTH_TOKEN_ROOTCERTBUNDLE", str(folder / "certificate.pem"))
        serving = Thread(target=server.serve_forever)
        serving.start()
        try:
            with running_registry(folder) as address:
                yield address
        finally:
            server.shutdown()
            serving.join()


def _encoded(part: dict[str, Any]) -> str:
    return _base64url(json.dumps(part).encode())


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
