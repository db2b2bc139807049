"""The connection to the Docker engine, the translation of its errors, and what it knows of the host. It knows no jobs.

`translate_errors` translates the errors of docker-py and of its transport. None of them leaves this room: docker's
`APIError` is a `requests.HTTPError`, and a broad `except` once took a missing image for a deleted job.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import requests
import urllib3
from docker.auth import load_config
from docker.errors import (
    APIError,
    DockerException,
    InvalidRepository,
    NotFound,
    TLSParameterError,
    create_api_error_from_http_exception,
)
from docker.utils import kwargs_from_env

from job_fetcher.core.errors import EngineError, EngineUnavailable, JobFailed, SettingsError
from job_fetcher.engine import log_driver, logins
from job_fetcher.engine.hardware import Machine
from job_fetcher.engine.product import Product
from job_fetcher.platform import http

CALL_TIMEOUT_S = 60
SCHEMES = ("unix://", "tcp://", "http://", "https://")
MAX_PORT = 65535
ADDRESSES = "unix:///var/run/docker.sock or tcp://HOST:PORT"
PREDEFINED = ("bridge", "host", "none", "default")
"""Networks that an engine has from the start, or not at all: their names are reserved."""
MIN_API, MIN_DOCKER = (1, 41), "20.10"
"""The API of the oldest engine, and that engine: the first that knows `host-gateway`."""
LOGIN_S = 30.0
"""A registry has so long to accept or refuse a login."""
STALL_S = 300.0
"""A stream of the engine that is silent for so long has stalled; it may need minutes to verify one large layer."""

log = logging.getLogger(__name__)


class Missing(Exception):
    """The engine knows no such container, image or network."""


class Client(log_driver.Client):
    """docker-py's client, with a time limit (`STALL_S`) where docker-py waits for ever (`pull`).

    It negotiates the API's version anew when the engine was upgraded, or replaced by an older one, under the worker.
    """

    def request(self, method: str | bytes, url: str | bytes, *args: Any, **kwargs: Any) -> requests.Response:
        if kwargs.get("timeout") is None:
            kwargs["timeout"] = STALL_S
        response = super().request(method, url, *args, **kwargs)
        self.server = _server(response)
        if response.status_code == 400 and b"client version" in response.content:
            old, new = self.api_version, self.version(api_version=False)["ApiVersion"]
            self._version = new
            who = self.product.at_start
            log.warning("%s was replaced: the worker speaks API %s with it now, not %s", who, new, old)
            anew = re.sub(r"/v[\d.]+/", f"/v{new}/", str(url), count=1)
            response = super().request(method, anew, *args, **kwargs)
        return response

    server: str = ""
    """The header `Server` of the last answer: the engine's product and version."""
    name_by_server: Mapping[str, str] = MappingProxyType({})
    """What an engine with that header calls itself (`engine_info.name`)."""
    init_works: bool | None = None
    """Whether containers start with the engine's init; `None` until that was tried (`launch.has_init`)."""

    known_programs: frozenset[object] = frozenset()
    """What has been looked for in images and found there (`launch.require_program`)."""
    root_dir: Path | None = None
    """A folder on the disk of the images; `None` until somebody asked for it (`image_cleanup.disk`)."""

    @property
    def product(self) -> Product:
        """What has answered the last request."""
        return Product.of(self.server)

    def stat(self, container: str, path: str) -> str | None:
        """What the engine knows of a file in a container, in its own encoding; `None` if there is no such file.

        docker-py has the whole file for that only. Raises `APIError` for another answer than 200 and 404.
        """
        response = self.head(
            f"{self.base_url}/v{self.api_version}/containers/{container}/archive", params={"path": path}
        )
        if response.status_code == 404:
            return None
        self.require_success(response)
        return response.headers.get("X-Docker-Container-Path-Stat")

    def try_login(self, auth: Mapping[str, str]) -> None:
        """Let the engine try a login (its `AuthConfig`) at its registry. Raises `APIError` if the registry refuses."""
        url = f"{self.base_url}/v{self.api_version}/auth"
        self.require_success(self.post(url, json=dict(auth), timeout=LOGIN_S))

    @staticmethod
    def require_success(response: requests.Response) -> None:
        """Raise the `APIError` of an answer that is none of success."""
        try:
            response.raise_for_status()
        except requests.HTTPError as error:
            raise create_api_error_from_http_exception(error) from error


@contextmanager
def translate_errors(doing: str) -> Iterator[None]:
    """Translate what docker-py and its transport raise; `doing` completes "Podman cannot …".

    Raises `Missing` for 404, `JobFailed` for another refusal (4xx), `EngineUnavailable` for the rest.
    """
    try:
        yield
    except NotFound as error:
        raise Missing(f"{_who(error)} cannot {doing}: {said(error)}") from error
    except APIError as error:
        text = f"{_who(error)} cannot {doing}: {said(error)}"
        if error.status_code is None or error.status_code >= 500:
            raise EngineUnavailable(text, status=error.status_code) from error
        raise JobFailed(text) from error
    except InvalidRepository as error:  # docker-py's own judgement of a name: nobody was asked
        raise JobFailed(f"The Docker engine cannot {doing}: invalid reference format ({error})") from error
    except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise EngineUnavailable(f"The Docker engine does not answer (to {doing}): {http.reason(error)}") from error


def connect(patience_s: int = CALL_TIMEOUT_S) -> Client:
    """The client of the engine at `DOCKER_HOST`, or at the usual socket. Raises `EngineError` with what to do.

    The engine has `patience_s` seconds for its first answer.
    """
    _check_address(os.environ.get("DOCKER_HOST", ""))
    try:
        load_config()
    except (DockerException, ValueError) as error:  # docker-py reads the logins at once, and raises what it likes
        raise EngineError(
            f"The worker cannot read {logins.config_file()} ({error}): correct the file, or log in again"
        ) from error
    try:
        client = Client(**kwargs_from_env(), timeout=patience_s)
        if client.base_url.startswith("http+docker:"):  # a socket has no proxy and no password; to look costs a third
            client.trust_env = False
        client.ping()
    except (DockerException, requests.RequestException, OSError) as error:
        raise EngineError(f"The Docker engine cannot be used: {_what_to_do(error)}") from error
    client.timeout = CALL_TIMEOUT_S
    if tuple(map(int, client.api_version.split("."))) < MIN_API:
        raise EngineError(
            f"The Docker engine is too old (API {client.api_version}): install Docker {MIN_DOCKER} or newer"
        )
    return client


def _check_address(where: str) -> None:
    """Raise `EngineError` if no engine that this worker can use has that DOCKER_HOST."""
    if where.startswith("ssh://"):
        raise EngineError(
            f"The worker cannot use a Docker engine over SSH ({where}): the folders of jobs must be on the engine's own"
            " machine. Run the worker there, and unset DOCKER_HOST"
        )
    port = re.search(r":(\d+)/?$", where)
    if ("://" in where and not where.startswith(SCHEMES)) or (port and int(port[1]) > MAX_PORT):
        raise EngineError(f"DOCKER_HOST ({where}) is no address of a Docker engine: unset it, or write {ADDRESSES}")


def is_up(client: Client) -> bool:
    """Whether the engine answers now."""
    try:
        with translate_errors("answer"):
            return client.ping()
    except (EngineUnavailable, JobFailed, Missing):
        return False


def machine(client: Client, reserve_mib: int = 0) -> Machine:
    """What jobs may have of the host: its CPUs and memory by the engine's `info` (`MemTotal` in bytes), less a reserve.

    Raises `SettingsError` if the reserve leaves nothing.
    """
    with translate_errors("describe the host"):
        info = client.info()
    memory_mib = info["MemTotal"] // 2**20 - reserve_mib
    if memory_mib <= 0:
        raise SettingsError(
            f"MEMORY_RESERVE_MIB ({reserve_mib}) is more than the host has ({memory_mib + reserve_mib})"
        )
    return Machine(cpu_cores=info["NCPU"], memory_mib=memory_mib)


def require_network(client: Client, name: str) -> None:
    """Raise `SettingsError` if the engine has no network `name`, or it is the host's own, which jobs do not get.

    A node of a swarm is believed: it hears of some networks only when it uses them.
    """
    try:
        with translate_errors(f"inspect the network '{name}'"):
            if client.inspect_network(name)["Driver"] == "host":
                raise SettingsError(f"JOB_NETWORK ({name}) is the host's own network, which jobs do not get")
    except Missing:
        with translate_errors("describe the host"):
            in_swarm = client.info()["Swarm"]["LocalNodeState"] == "active"
        command = client.product.value.lower()
        if not in_swarm and name in PREDEFINED:
            raise SettingsError(
                f"{client.product.at_start} has no network {name}, and nobody can make one of that name (see"
                f" --bridge=none). Make another ({command} network create jobs), and set JOB_NETWORK=jobs"
            ) from None
        if not in_swarm:
            raise SettingsError(
                f"JOB_NETWORK ({name}) is no network of {client.product}: write one that `{command} network ls` shows,"
                f" or make it ({command} network create {name})"
            ) from None


def local_time(client: Client) -> datetime:
    """The time of the engine's host in its own zone (`SystemTime` of `info`): a container's own is usually UTC."""
    with translate_errors("give the time"):
        return datetime.fromisoformat(client.info()["SystemTime"])


def started_at(client: Client) -> float | None:
    """When the engine was started, in seconds since the epoch; `None` if nobody knows.

    The engine has no field for that. It makes its default network `bridge` anew at each start, unless containers lived
    on (moby: `daemon.initNetworkController`). And it cannot be older than the host's boot (`btime` in proc_stat(5)).
    """
    booted = re.search(r"^btime (\d+)$", Path("/proc/stat").read_text(), re.MULTILINE)
    times = [float(booted[1])] if booted else []
    with suppress(Missing), translate_errors("inspect the network 'bridge'"):
        times.append(seconds(client.inspect_network("bridge")["Created"]))
    return max(times, default=None)


def seconds(time: str) -> float:
    """A time of the engine's (RFC 3339, with nanoseconds) in seconds since the epoch."""
    return datetime.fromisoformat(time).timestamp()


def _server(response: requests.Response | None) -> str:
    return "" if response is None else response.headers.get("Server", "")


def _who(error: APIError) -> str:
    return Product.of(_server(error.response)).at_start


def said(error: APIError) -> str:
    """What the engine says of an error, 500 characters of it."""
    return str(error.explanation or error)[:500].strip()


def _what_to_do(error: Exception) -> str:
    text = http.reason(error.__cause__ or error)
    where = os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"
    if isinstance(error, TLSParameterError):
        return (
            "DOCKER_TLS_VERIFY is set, and DOCKER_CERT_PATH has no certificates: unset both for an engine of this host"
        )
    if "No such file" in text:
        return (
            f"there is no socket {where}: in a container, add -v /var/run/docker.sock:/var/run/docker.sock;"
            " outside of one, install and start Docker"
        )
    if "Permission denied" in text:
        return (
            f"this user may not use its socket {where}: add the user to the group 'docker', or run as root. In a"
            " container leave out --user. Where Docker maps users or SELinux is on, add --userns=host or"
            " --security-opt label=disable"
        )
    if "refused" in text and Path(where.removeprefix("unix://")).is_dir():
        return (
            f"{where} is a folder, which Docker makes where the host has no such socket: remove it, and mount the"
            " socket that `docker context inspect` names"
        )
    if "refused" in text:
        start = "run `systemctl start podman.socket`" if "podman" in where else "start Docker"
        return f"nothing listens at {where}: {start}, or set DOCKER_HOST to where it listens"
    if "no answer" in text:
        return f"it does not answer at {where}: restart Docker"
    return f"{text} (at {where}): correct DOCKER_HOST, or restart Docker"
