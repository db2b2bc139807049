"""The worker's secrets: where they come from, and that they go nowhere but to the API."""

import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from socket import SHUT_RDWR, create_server
from typing import Any

import docker
import pytest
from pydantic import SecretStr

from job_fetcher.core.errors import JobFetcherError
from job_fetcher.core.job import Job
from job_fetcher.platform.auth import FixedToken
from job_fetcher.workspace.workspace import Workspace
from tests.support.platform import PASSWORD, Platform
from tests.support.worker import WorkerProcess, run_job

pytestmark = pytest.mark.usefixtures("needs_time")

StartWorker = Callable[..., WorkerProcess]


def refusal(folder: Path, **settings: str) -> str:
    """What a worker with these settings says before it ends with exit code 2."""
    ran = subprocess.run(
        [sys.executable, "-m", "job_fetcher"],
        env={"PATH": os.environ["PATH"], "API_URL": "https://x", "USERNAME": "ada"} | settings,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 2
    assert "Traceback" not in ran.stderr
    assert "hush" not in ran.stderr
    return ran.stderr


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_worker_with_its_password_in_a_file_works(
    mock: Platform, start_worker: StartWorker, job_image: str, tmp_path: Path, ending: str
) -> None:
    (tmp_path / "password").write_text(PASSWORD + ending)
    start_worker(PASSWORD=None, PASSWORD_FILE=str(tmp_path / "password"))
    assert mock.job(run_job(mock, "true", image=job_image)).status == "finished"


def test_secret_file_that_is_none_is_told_without_its_content(tmp_path: Path) -> None:
    contents = {"empty": b"", "blank": b"\n", "binary": b"hush\xff"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "fifo")  # nobody will ever write to it
    names = (*contents, "missing", "/", "/dev/null", "fifo")
    told = {name: refusal(tmp_path, PASSWORD_FILE=str(tmp_path / name)) for name in names}
    assert "the file is empty" in told["empty"]
    assert "the file is empty" in told["blank"]
    assert "write UTF-8 text into the file" in told["binary"]
    assert "No such file or directory" in told["missing"]
    assert "it is no regular file" in told["/"]
    assert "it is no regular file" in told["/dev/null"]
    assert "it is no regular file" in told["fifo"]


@pytest.mark.parametrize("token", ["hush\nX: y", "hush hush", "hush\thush", "hush\u20ac"])
def test_token_that_no_header_can_hold_is_told_without_it(tmp_path: Path, token: str) -> None:
    """requests would show it in its error."""
    assert "write the token in one line" in refusal(tmp_path, ACCESS_TOKEN=token)


@pytest.mark.parametrize("url", ["http://evil.example.org\\.local", "http:\\\\evil.org", "http://x\\@evil.org"])
def test_address_that_is_read_in_two_ways_is_refused(tmp_path: Path, url: str) -> None:
    """By its end it is near; requests takes the backslash for the end of the host, which is far away."""
    assert "write a URL, such as https://api.example.org" in refusal(tmp_path, API_URL=url, PASSWORD="x")


@pytest.mark.parametrize("url", ["https://ada:hush@host", "https://hush@host/x"])
def test_secret_in_an_address_is_refused(tmp_path: Path, url: str) -> None:
    """It would be in every line of the log that names the address."""
    told = refusal(tmp_path, API_URL=url.replace("hush", "x"), ACCESS_TOKEN="x")
    assert "write a URL, such as https://api.example.org" in told


@pytest.mark.parametrize(
    "host", ["134744072", "0x08080808", "010.8.8.8", "8.8.2056", "[2001:4860:4860::8888]", "x.org"]
)
def test_host_far_away_is_known_however_it_is_written(tmp_path: Path, host: str) -> None:
    assert "the worker would send credentials to" in refusal(tmp_path, API_URL=f"http://{host}", PASSWORD="x")


@contextmanager
def tls_server(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """A server on https with a certificate of its own for `name`; its address and the certificate."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subject = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={name}", "-days", "2"]
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        str(key),
        "-out",
        str(certificate),
    ]
    subprocess.run([*command, *subject], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with closing(create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                    received = secured.recv(65536)
                    assert PASSWORD.encode() not in received
                    secured.sendall(b"HTTP/1.1 418 seen\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}", certificate
        listener.shutdown(SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize(
    ("name", "trusted", "told"),
    [
        ("IP:127.0.0.1", False, "certificate verify failed: self-signed certificate"),
        ("DNS:somebody.else", True, "certificate verify failed: IP address mismatch"),
    ],
)
def test_server_that_cannot_prove_who_it_is_gets_nothing(
    start_worker: StartWorker, tmp_path: Path, name: str, trusted: bool, told: str
) -> None:
    with tls_server(tmp_path, name) as (url, certificate):
        worker = start_worker(API_URL=url, **({"REQUESTS_CA_BUNDLE": str(certificate)} if trusted else {}))
        worker.wait_for_log(told)
        assert worker.stop() == 0
    assert f"The worker cannot ask for a job: GET {url}/access_info: " in worker.log
    assert "Traceback" not in worker.log


def test_server_with_a_certificate_of_the_labs_own_authority_is_believed(
    start_worker: StartWorker, tmp_path: Path
) -> None:
    with tls_server(tmp_path, "IP:127.0.0.1") as (url, certificate):
        worker = start_worker(API_URL=url, REQUESTS_CA_BUNDLE=str(certificate))
        worker.wait_for_log("/access_info answered 418")
        assert worker.stop() == 0


def test_neither_childs_environment_nor_engine_nor_disk_holds_a_secret(
    mock: Platform, start_worker: StartWorker, job_image: str, docker_client: docker.DockerClient
) -> None:
    worker = start_worker(LAB_SECRET="hush")
    job = mock.submit("until [ -e /files/go ]; do sleep 0.05; done", image=job_image)
    described = str(docker_client.api.inspect_container(str(worker.container().id)))
    on_disk = b"".join(path.read_bytes() for path in worker.base.rglob("*") if path.is_file())
    for secret in (PASSWORD, "hush", "eyJ"):  # with that each token of the mock begins
        assert secret not in described
        assert secret.encode() not in on_disk
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    worker.signal(signal.SIGTERM)


def test_commands_that_the_worker_runs_have_no_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments = []
    run = subprocess.run

    def noted(*arguments: Any, **options: Any) -> Any:
        environments.append(options.get("env"))
        return run(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", noted)
    space = Workspace(tmp_path, "ada")
    with space.create(Job(id="1", raw=None)) as folder:
        folder.remove()
    assert environments
    assert all(each == {} for each in environments)


def test_repr_of_what_holds_a_secret_does_not_show_it() -> None:
    token = FixedToken(SecretStr("hush"))
    assert "hush" not in f"{token!r} {token.__dict__} {vars(token)}"
    with pytest.raises(JobFetcherError) as raised:
        token.renew("hush")
    assert "hush" not in repr(raised.value)
