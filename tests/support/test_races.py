"""What the tests stand on holds at unlucky moments, too: on a loaded machine each of them comes."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.errors import APIError
from docker.models.containers import Container
from starlette.applications import Starlette

from app.config import Account
from job_fetcher.core.background import in_background
from tests.support import fake_engine, preloaded
from tests.support.engine import FOLDER_LABEL, JOB_LABEL, remove, remove_litter
from tests.support.fake_engine import FakeEngine
from tests.support.gate import running_gate
from tests.support.images import JobImages
from tests.support.page import answers
from tests.support.platform import TOKEN, Platform
from tests.support.ports import free_port, reserved
from tests.support.servers import serve
from tests.support.waiting import wait_until

IN_PROGRESS = "removal of container x is already in progress"


@pytest.fixture
def container(fake: FakeEngine) -> Iterator[Container]:
    """One of the stand-in for the engine."""
    client = docker.DockerClient(fake.url, version="1.41")
    yield client.containers.create("image", ["sleep", "1000"])
    client.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", ""])
def test_port_that_a_test_has_is_given_to_nobody_else_before_its_server_listens(address: str) -> None:
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
        other.bind((address, port))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    for _ in range(2):
        with socket.create_server((address, port)), socket.create_connection(("127.0.0.1", port)):
            pass


def test_port_of_a_gate_is_kept_while_it_is_closed(mock: Platform) -> None:
    with running_gate(int(mock.url.rpartition(":")[2])) as gate:
        gate.close_port()
        with socket.socket() as other, pytest.raises(OSError, match="Address already in use"):
            other.bind(("127.0.0.1", gate.port))
        assert not answers(gate.port)
        gate.open()
        socket.create_connection(("127.0.0.1", gate.port)).close()
    reserved(gate.port).close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGABRT, signal.SIGKILL])
def test_signal_to_a_process_that_ends_at_this_moment_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    with Path(os.devnull).open("w") as nowhere:
        ended = preloaded.start(["--help"], {}, tmp_path, nowhere.fileno(), nowhere.fileno())
    ended.wait(60)
    monkeypatch.setattr(ended, "poll", lambda: None)  # as it was a moment ago
    ended.send_signal(number)


def test_container_that_a_killed_worker_was_removing_is_waited_for(fake: FakeEngine, container: Container) -> None:
    call = f"DELETE /containers/{container.id}"
    fake.refusals[call] = (409, IN_PROGRESS)

    def remove_at_last() -> None:
        wait_until(lambda: call in fake.calls, "the refusal")
        fake.containers.clear()

    removal = in_background(remove_at_last, "removal")
    remove(container)
    removal.result(60)
    assert fake.containers == {}


def test_container_that_is_gone_is_removed(fake: FakeEngine, container: Container) -> None:
    fake.containers.clear()
    remove(container)


def test_container_that_the_engine_keeps_is_an_error(fake: FakeEngine, container: Container) -> None:
    fake.refusals[f"DELETE /containers/{container.id}"] = (409, "it is paused")
    with pytest.raises(APIError, match="it is paused"):
        remove(container)


@pytest.mark.parametrize("clients", [2, 3, 5])
def test_stand_in_for_the_engine_removes_a_container_that_several_ask_it_to_remove(
    fake: FakeEngine, container: Container, monkeypatch: pytest.MonkeyPatch, clients: int
) -> None:
    monkeypatch.setattr(fake_engine, "LOOK_S", 0.2)
    container.start()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(lambda _: remove(container), range(clients)))
    assert fake.containers == {}


@pytest.mark.parametrize("folder", ["1", "17", ".aside-1"])
def test_container_that_the_engine_makes_after_its_worker_was_killed_is_removed_and_not_told(
    docker_client: docker.DockerClient, job_images: JobImages, tmp_path: Path, folder: str
) -> None:
    def make() -> None:
        labels = {JOB_LABEL: "1", FOLDER_LABEL: str(tmp_path / folder)}
        docker_client.containers.create(job_images.no_shell, labels=labels)

    make()
    assert remove_litter(docker_client, job_images.no_shell, {tmp_path}) == []
    make()
    assert len(remove_litter(docker_client, job_images.no_shell, {tmp_path / "other"})) == 1


@pytest.mark.parametrize("status", ["preprocessing", "running", "postprocessing"])
def test_what_a_killed_worker_has_sent_last_is_done_when_a_test_goes_on(
    mock: Platform, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    job = mock.pulled()
    authenticate = mock.state.accounts.authenticate

    def slowly(token: str) -> Account:
        time.sleep(0.1)  # the server's thread does not get on
        return authenticate(token)

    monkeypatch.setattr(mock.state.accounts, "authenticate", slowly)
    host, _, port = mock.url.partition("//")[2].partition(":")
    head = f"PUT /jobs/{job}/status?status={status} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with socket.create_connection((host, int(port))) as killed:
        killed.sendall(head.encode())
    mock.settle()
    assert mock.statuses(job) == [status]


@pytest.mark.parametrize("idle_s", [10.0, 60.0, 600.0])
def test_connection_that_nobody_has_used_for_a_while_takes_the_next_request(
    monkeypatch: pytest.MonkeyPatch, idle_s: float
) -> None:
    """A client that is slow on a loaded machine found it closed, or was reset."""
    timers: list[float] = []
    really = asyncio.BaseEventLoop.call_later

    def note(loop: asyncio.BaseEventLoop, delay: float, *arguments: Any, **more: Any) -> asyncio.TimerHandle:
        if "timeout_keep_alive" in getattr(arguments[0], "__name__", ""):
            timers.append(delay)
        return really(loop, delay, *arguments, **more)

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_later", note)
    with serve(Starlette()) as url, requests.Session() as session:
        session.get(url, timeout=60)
    assert [delay for delay in timers if delay < idle_s] == []
    assert timers, "uvicorn has such a timer"
