"""Who may see the page: this machine alone, by its own name."""

import io
from pathlib import Path
from typing import Any

import pytest

from job_fetcher.monitoring.access import Access, default_gateway
from job_fetcher.monitoring.history import History
from job_fetcher.monitoring.recorder import Recorder
from job_fetcher.monitoring.server import app

PATHS = ("/", "/status.json", "/jobs.json", "/log.txt", "/metrics", "/healthz", "/nothing")
IN_A_CONTAINER = Access("0.0.0.0", gateway="172.17.0.1")


def ask(access: Access, path: str, peer: str, host: str) -> str:
    """The status of the answer that `peer` gets."""
    statuses: list[str] = []
    environment: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "REMOTE_ADDR": peer,
        "HTTP_HOST": host,
        "HTTP_X_FORWARDED_FOR": "127.0.0.1",
        "HTTP_X_FORWARDED_HOST": "localhost",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.url_scheme": "http",
    }
    served = app(Recorder(), History(None), access, str)
    list(served(environment, lambda status, *_: statuses.append(status)))
    return statuses[0][:3]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("127.0.0.1", "evil.example"),
        ("127.0.0.1", "localhost.evil.example"),
        ("127.0.0.1", "127.0.0.1.evil.example"),
        ("127.0.0.1", "localhost@evil.example"),
        ("127.0.0.1", ""),
        ("127.0.0.1", "localhost\n"),
        ("172.17.0.3", "localhost"),
        ("172.17.0.10", "127.0.0.1:17417"),
        ("10.0.0.7", "localhost"),
        ("", "localhost"),
    ],
)
def test_neighbours_and_websites_whose_name_leads_here_are_refused(path: str, peer: str, host: str) -> None:
    assert ask(IN_A_CONTAINER, path, peer, host) == "403"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:17417", "127.0.0.1:80", "[::1]:1"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "172.17.0.1", "::1"])
def test_this_machine_is_answered_by_its_own_names(peer: str, host: str) -> None:
    assert ask(IN_A_CONTAINER, "/", peer, host) == "200"


def test_gateway_is_a_stranger_outside_of_a_container() -> None:
    assert ask(Access(), "/", "172.17.0.1", "localhost") == "403"


@pytest.mark.parametrize(
    ("routes", "gateway"),
    [
        ("Iface Destination Gateway\neth0 00000000 010011AC 0003\neth0 000011AC 00000000 0001\n", "172.17.0.1"),
        ("Iface Destination Gateway\neth0 000011AC 00000000 0001\n", None),
        ("Iface Destination Gateway\n", None),
        ("", None),
    ],
)
def test_gateway_is_that_of_the_default_route(routes: str, gateway: str | None) -> None:
    assert default_gateway(routes) == gateway


def test_own_routes_can_be_read() -> None:
    default_gateway(Path("/proc/net/route").read_text())
