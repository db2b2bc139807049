"""The connection to the engine: addresses that are none, an engine that is replaced under a running worker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job_fetcher.core.errors import EngineError, EngineUnavailable, JobFailed, SettingsError
from job_fetcher.engine import client as engine
from job_fetcher.engine import registry_check
from job_fetcher.engine.client import Client, Missing
from job_fetcher.engine.registry_check import RegistryTrouble
from tests.support.raw_server import answer, raw_server

NO_ADDRESSES = {
    "ssh://user@gpu-machine": "Run the worker there, and unset DOCKER_HOST",
    "ssh://gpu-machine:22": "Run the worker there, and unset DOCKER_HOST",
    "npipe:////./pipe/docker_engine": "is no address of a Docker engine",
    "fd://": "is no address of a Docker engine",
    "foo://x": "is no address of a Docker engine",
    "tcp://127.0.0.1:99999": "is no address of a Docker engine",
    "tcp://127.0.0.1": "correct DOCKER_HOST",
    "tcp://no-such-host.invalid:2375": "correct DOCKER_HOST",
}


@pytest.mark.parametrize(("host", "cure"), NO_ADDRESSES.items())
def test_address_that_is_none_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch, host: str, cure: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(EngineError) as refused:
        engine.connect()
    assert cure in str(refused.value)
    assert host in str(refused.value)
    assert "is not defined" not in str(refused.value)


@pytest.mark.parametrize("auths", [{"r": 1}, {"r": {"auth": "?"}}, {"r": {"auth": "w7zDvA=="}}], ids=str)
def test_file_of_logins_that_docker_cannot_read_is_named(docker_config: Path, auths: dict[str, Any]) -> None:
    docker_config.write_text(json.dumps({"auths": auths}))
    with pytest.raises(EngineError, match=f"The worker cannot read {docker_config} .*: correct the file, or log in"):
        engine.connect()


def _version(api: str) -> bytes:
    return answer(json.dumps({"ApiVersion": api, "Version": "x"}).encode(), content_type="application/json")


TOO_OLD = "client version 1.41 is too old. Minimum supported API version is 1.44, please upgrade your client"
TOO_NEW = "client version 1.51 is too new. Maximum supported API version is 1.43"
CALLS: dict[str, tuple[Callable[[Client], Any], str]] = {
    "GET": (lambda client: client.info(), "GET /v{}/info"),
    "POST": (lambda client: client.stop("x", timeout=1), "POST /v{}/containers/x/stop?t=1"),
    "DELETE": (lambda client: client.remove_container("x"), "DELETE /v{}/containers/x?"),
}


@pytest.mark.parametrize(("old", "new", "words"), [("1.41", "1.51", TOO_OLD), ("1.51", "1.43", TOO_NEW)])
@pytest.mark.parametrize(("call", "line"), CALLS.values(), ids=CALLS)
def test_version_is_negotiated_anew_when_the_engine_was_replaced(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[Client], Any], line: str, old: str, new: str, words: str
) -> None:
    refusal = answer(json.dumps({"message": words}).encode(), "400 Bad Request", content_type="application/json")
    with raw_server(
        _version(old), answer(b"OK"), refusal, _version(new), answer(b"{}", content_type="application/json")
    ) as server:
        monkeypatch.setenv("DOCKER_HOST", server.url.replace("http://", "tcp://"))
        client = engine.connect()
        call(client)
        client.close()
    asked = [each.split(b" HTTP/1.1")[0].decode() for each in server.received]
    assert asked[0] == "GET /version"
    assert asked[2].startswith(line.format(old))
    assert asked[-2:][0] == "GET /version"
    assert asked[-1].startswith(line.format(new))
    assert client.api_version == new


def test_other_refusals_are_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = answer(b'{"message": "bad parameter"}', "400 Bad Request", content_type="application/json")
    with raw_server(_version("1.41"), answer(b"OK"), refusal, _version("1.51")) as server:
        monkeypatch.setenv("DOCKER_HOST", server.url.replace("http://", "tcp://"))
        client = engine.connect()
        with pytest.raises(Exception, match="bad parameter"):
            client.info()
        client.close()
    assert len(server.received) == 3


@pytest.mark.parametrize(
    ("network", "cure"),
    [
        ("bridge", "Make another (docker network create jobs), and set JOB_NETWORK=jobs"),
        ("none", "Make another (docker network create jobs), and set JOB_NETWORK=jobs"),
        ("host", "Make another (docker network create jobs), and set JOB_NETWORK=jobs"),
        ("lab", "or make it (docker network create lab)"),
    ],
)
def test_advice_for_a_network_that_is_not_there_is_possible(
    monkeypatch: pytest.MonkeyPatch, network: str, cure: str
) -> None:
    """`--bridge=none` leaves the engine without its default network, whose name nobody can give to another."""
    missing = answer(b'{"message": "network not found"}', "404 Not Found", content_type="application/json")
    info = answer(b'{"Swarm": {"LocalNodeState": "inactive"}}', content_type="application/json")
    with raw_server(_version("1.41"), answer(b"OK"), missing, info) as server:
        monkeypatch.setenv("DOCKER_HOST", server.url.replace("http://", "tcp://"))
        client = engine.connect()
        with pytest.raises(SettingsError) as refused:
            engine.require_network(client, network)
        client.close()
    assert str(refused.value).endswith(cure)


def _inspect(client: Client) -> None:
    with engine.translate_errors("inspect it"):
        client.inspect_container("x")


REFUSED: dict[str, tuple[str, Callable[[Client], Any], str]] = {
    "no network": ("404 Not Found", lambda client: engine.require_network(client, "lab"), "is no network of {}: write"),
    "no container": ("404 Not Found", _inspect, "{} cannot inspect it: no"),
    "conflict": ("409 Conflict", _inspect, "{} cannot inspect it: no"),
    "failure": ("500 Internal Server Error", _inspect, "{} cannot inspect it: no"),
    "registry": (
        "500 Internal Server Error",
        lambda client: registry_check.check(client, ["r.example/*"]),
        "{} cannot use the registry r.example (no).",
    ),
}


@pytest.mark.parametrize(
    ("server", "name"),
    [("Docker/28.2.2 (linux)", "the Docker engine"), ("Libpod/5.4.2 (linux)", "Podman"), ("", "the Docker engine")],
)
@pytest.mark.parametrize(("status", "call", "sentence"), REFUSED.values(), ids=REFUSED)
def test_a_sentence_names_the_engine_that_has_answered(
    monkeypatch: pytest.MonkeyPatch, server: str, name: str, status: str, call: Callable[[Client], Any], sentence: str
) -> None:
    headers = {"Server": server} if server else {}
    no = answer(b'{"message": "no"}', status, content_type="application/json", **headers)
    info = answer(b'{"Swarm": {"LocalNodeState": "inactive"}}', content_type="application/json", **headers)
    with raw_server(_version("1.41"), answer(b"OK"), no, info) as at:
        monkeypatch.setenv("DOCKER_HOST", at.url.replace("http://", "tcp://"))
        client = engine.connect()
        with pytest.raises((SettingsError, JobFailed, EngineUnavailable, Missing, RegistryTrouble)) as refused:
            call(client)
        client.close()
    said = str(refused.value)
    assert sentence.format(name) in said or sentence.format(name[0].upper() + name[1:]) in said
