"""Who may see the page: this machine alone.

Outside of a container, and on the host's own network, the server listens on 127.0.0.1. In a container on a bridge it
has to listen on all addresses, or Docker could not publish its port. Jobs share that bridge. So only the container's
own loopback and its gateway, from where Docker brings what came to the published port, are answered.

`Host` has to name this machine: a website whose name leads to 127.0.0.1 (DNS rebinding) gets nothing.
"""

import ipaddress
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from job_fetcher.core.errors import JobFailed, Unavailable, WorkerError
from job_fetcher.engine import client as engine
from job_fetcher.engine.own_container import own_container

LOOPBACK = "127.0.0.1"
ALL = "0.0.0.0"  # noqa: S104 - the callers are told apart below
_ROUTES = Path("/proc/net/route")
_HOST = re.compile(r"(?i)(localhost|127\.0\.0\.1|\[::1\])(:\d{1,5})?")


@dataclass(frozen=True)
class Access:
    """`listen_on` is the address to bind. `gateway` may ask besides the loopback, where there is one."""

    listen_on: str = LOOPBACK
    gateway: str | None = None

    @classmethod
    def here(cls) -> "Access":
        """The access for the place where this process runs."""
        if not _is_on_a_bridge():
            return cls()
        return cls(ALL, default_gateway(_ROUTES.read_text(encoding="ascii")))

    def refusal(self, peer: str, host: str) -> str | None:
        """Why a request of `peer` with the header `Host` is not answered; `None` if it is."""
        if not (peer == self.gateway or _is_loopback(peer)):
            return "Only this machine is answered."
        if not _HOST.fullmatch(host):
            return "The header Host has to name localhost, 127.0.0.1 or [::1]."
        return None


def default_gateway(routes: str) -> str | None:
    """The IPv4 gateway of the default route, by /proc/net/route (proc(5)); `None` without one."""
    for line in routes.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 2 and fields[1] == "00000000" and fields[2] != "00000000":
            return socket.inet_ntoa(struct.pack("<L", int(fields[2], 16)))
    return None


def _is_on_a_bridge() -> bool:
    """Whether this is a container with a network of its own. Where the engine does not tell, it is none."""
    own_id = own_container()
    if own_id is None:
        return False
    try:
        client = engine.connect()
        with engine.translate_errors("inspect the worker's own container"):
            mode = str(client.inspect_container(own_id)["HostConfig"]["NetworkMode"])
    except (WorkerError, Unavailable, JobFailed, engine.Missing):
        return False
    return mode not in ("host", "none") and not mode.startswith("container:")


def _is_loopback(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return False
