"""What stands between the worker and the API: a proxy's password, and odd words about when to come again."""

import json
import random
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import docker
import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import StopRequested, Unavailable
from job_fetcher.engine import cleanup, probe
from job_fetcher.engine import client as engine
from job_fetcher.platform import http
from tests.support.images import JobImages, add_image, shell_files
from tests.support.platform import Platform
from tests.support.raw_server import answer, raw_server
from tests.support.worker import WorkerProcess, run_job

StartWorker = Callable[..., WorkerProcess]

LETTERS = '0123456789 ,:+-JanMonGMT()"\\;/.٣²'
TIMES = [
    *("²", "٣", "9" * 4000, "-1", "1e9", "nan", "inf", "Mon, 01 Jan 0001 00:00:00 +2359"),
    *("Fri, 31 Dec 9999 23:59:59 -2359", f"Mon, 01 Jan 2026 00:00:00 +{'9' * 4000}", f"1 Jan {'9' * 4000} 00:00:00"),
]


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("http://ada:hush@127.0.0.1:1", "/access_info: through the proxy: "),
        ("http://ada:hush@127.0.0.1:1:1", "_PROXY: write the address of an HTTP proxy"),
    ],
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_password_of_a_proxy_is_in_no_log(start_worker: StartWorker, address: str, scheme: str, told: str) -> None:
    variables = {f"{scheme}_proxy": address, f"{scheme.upper()}_PROXY": address}
    worker = start_worker(API_URL=f"{scheme}://api.local", **variables)
    worker.wait_for_log(told)
    worker.stop()
    assert "hush" not in worker.log


def test_odd_time_to_come_again_is_one_to_wait_for_or_none() -> None:
    chance = random.Random(4)
    odd = ["".join(chance.choices(LETTERS, k=chance.randrange(30))) for _ in range(300)]
    cancelled = Cancellation()
    cancelled.set(StopRequested("the test"))
    for value in [*TIMES, *odd]:
        reply = answer(b"", "503 x", retry_after=value.encode().decode("latin-1"))
        with raw_server(reply) as server, pytest.raises(Unavailable) as raised:
            http.send("GET", server.url)
        assert 0 <= (raised.value.retry_after_s or 0) <= http.MAX_RETRY_AFTER_S, value


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of an owner whose Docker client gives containers a proxy with a password."""
    address = "http://ada:hush@proxy.example.org:3128"
    proxies = {"default": {f"{kind}Proxy": address for kind in ("http", "https", "ftp", "all")}}
    (folder := tmp_path / "home" / ".docker").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"proxies": proxies}))
    return tmp_path / "home"


def test_proxy_of_the_owner_is_not_in_the_environment_of_a_job(
    mock: Platform, start_worker: StartWorker, job_image: str, home: Path
) -> None:
    worker = start_worker(HOME=str(home))
    job = run_job(mock, "env; cat /proc/1/environ", image=job_image)
    log = mock.outputs(job)["log/log/container.log"].decode()
    assert "NVIDIA_VISIBLE_DEVICES=void" in log
    assert "hush" not in log
    assert "proxy" not in log.lower()
    assert "hush" not in worker.log


def test_proxy_of_the_owner_is_not_in_the_environment_of_other_containers(
    docker_client: docker.DockerClient, job_images: JobImages, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that look at the machine, and the one that gives files to a worker that is not root."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    chown = b"#!/bin/sh\nenv > /files/seen\n"
    others = {path: content for path, content in shell_files().items() if path != "bin/chown"}
    image = add_image(docker_client, f"{job_images.registry}/tells:latest", {**others, "bin/chown": chown})
    client = engine.connect()
    assert client._general_configs["proxies"], "the client has read it"  # type: ignore[attr-defined]
    assert "proxy" not in probe.run(client, image, "env").lower()
    monkeypatch.setattr(probe, "image", lambda _: image)
    (home / "files").mkdir()
    cleanup.give_files_to_worker(client, "", PurePosixPath(home))
    seen = (home / "files" / "seen").read_text()
    assert "PATH=" in seen
    assert "proxy" not in seen.lower()
    client.close()
