"""The worker as its own image, started as the README says, against the platform's mock on the host."""

import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest
from docker.models.containers import Container
from scripts.docker import SOCKET, host_socket

from tests.support.engine import containers_of
from tests.support.images import JobImages
from tests.support.leaks import Evidence
from tests.support.page import answers, ask
from tests.support.platform import PASSWORD, USERNAME, Platform
from tests.support.worker import wait_until

ENV_FILE = """\
# As the person who lends the machine writes it.
API_URL=http://host.docker.internal:{port}
USERNAME={username}
PASSWORD={password}
AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER=http://host.docker.internal:{port}/cognito/
TIMEOUT_JOB=0.2
TIMEOUT_STATUS=1
STATUS_PORT=17417
"""

NEIGHBOUR = """
import http.client
connection = http.client.HTTPConnection(*{address}, timeout=10)
try:
    connection.request("GET", "/status.json", headers={{"Host": "{host}", "X-Forwarded-For": "127.0.0.1"}})
    print(connection.getresponse().status)
except OSError:
    print("refused")
"""
"""Asks the page from a container beside the worker's, as a job could."""


@pytest.fixture
def container(
    platform: Platform, docker_client: docker.DockerClient, worker_image: str, evidence: Evidence, tmp_path: Path
) -> Iterator[Container]:
    """The worker's container, with `tmp_path/data` as its `/data`; PATH_HOST_BASE is for it to find out."""
    env_file = tmp_path / "worker.env"
    env_file.write_text(
        ENV_FILE.format(port=urlsplit(platform.url).port, username=USERNAME, password=PASSWORD), encoding="utf-8"
    )
    command = [
        *("docker", "run", "--detach", "--env-file", str(env_file), "--volume", f"{host_socket()}:{SOCKET}"),
        *("--volume", f"{tmp_path / 'data'}:/data", "--add-host", "host.docker.internal:host-gateway"),
        *("--publish", "127.0.0.1::17417", worker_image),
    ]
    container_id = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    container = docker_client.containers.get(container_id)
    yield container
    log = container.logs()
    evidence.file("image").write_bytes(log)
    print(log.decode(errors="replace"))  # noqa: T201 - pytest shows it if the test has failed
    container.remove(force=True, v=True)


def _jobs_containers(client: docker.DockerClient, images: JobImages) -> list[Container]:
    return [each for each in containers_of(client, images.registry) if "job-fetcher.job" in each.labels]


def test_image_runs_jobs_in_a_row_whatever_becomes_of_each(
    platform: Platform,
    container: Container,
    docker_client: docker.DockerClient,
    job_images: JobImages,
    tmp_path: Path,
) -> None:
    """Done-when 2 of the issue: a job that finishes, one that fails with exit code 7, one whose image is missing."""
    chance = random.Random(2)
    contents = {"a b.tif": chance.randbytes(3_000_000), "deep/ü #1?.csv": chance.randbytes(70_000), "empty": b""}
    files = {f"data/{name}": content for name, content in contents.items()}
    finishes, fails, is_missing = [
        platform.submit(
            "cp -r /files/data/. /files/output/", image=job_images.job, files=files, up={"output": "output"}
        ),
        platform.submit("echo first > /files/output/x; echo oh; exit 7", image=job_images.job, up={"output": "output"}),
        platform.submit("true", image=job_images.missing),
    ]
    for job in (finishes, fails, is_missing):
        platform.wait_for_status(job)
    log = "log/log/container.log"
    assert platform.statuses(finishes) == ["preprocessing", "running", "postprocessing", "finished"]
    assert platform.details(finishes).startswith("The command ended with exit code 0. The worker uploaded ")
    assert platform.outputs(finishes) == {f"output/output/{name}": each for name, each in contents.items()}
    assert platform.statuses(fails) == ["preprocessing", "running", "postprocessing", "error"]
    assert platform.details(fails) == (
        "The command ended with exit code 7. The worker uploaded 1 output file (6 bytes) and 1 log file (3 bytes)."
        "\n\nThe end of the log:\noh"
    )
    assert platform.outputs(fails) == {"output/output/x": b"first\n", log: b"oh\n"}
    assert platform.statuses(is_missing) == ["preprocessing", "error"]
    assert job_images.missing in platform.details(is_missing)
    assert "not found" in platform.details(is_missing)
    _stop(container)
    assert _jobs_containers(docker_client, job_images) == []
    assert [path for path in (tmp_path / "data").iterdir() if path.is_dir()] == []


def test_image_that_is_stopped_requeues_its_job_and_ends_by_itself(
    platform: Platform, container: Container, docker_client: docker.DockerClient, job_images: JobImages, tmp_path: Path
) -> None:
    """P20: as PID 1, within the 10 s of `docker stop`."""
    job = platform.submit("sleep 600", image=job_images.job)
    platform.wait_for_status(job, "running")
    _stop(container)
    assert platform.statuses(job) == ["preprocessing", "running", "queued"]
    assert platform.details(job) == "The worker was stopped (SIGTERM)."
    assert _jobs_containers(docker_client, job_images) == []
    assert [path for path in (tmp_path / "data").iterdir() if path.is_dir()] == []


def test_image_works_in_the_platforms_own_stack_with_the_settings_that_this_has(
    platform: Platform,
    docker_client: docker.DockerClient,
    worker_image: str,
    job_images: JobImages,
    evidence: Evidence,
    tmp_path: Path,
) -> None:
    """docs/platform.md: an empty ACCESS_TOKEN, a folder that only Compose knows, the host's network."""
    settings = {
        "API_URL": platform.url.replace("0.0.0.0", "127.0.0.1"),
        "ACCESS_TOKEN": "",
        "USERNAME": USERNAME,
        "PASSWORD": PASSWORD,
        "PATH_BASE": "/data",
        "PATH_HOST_BASE": "./job_fetcher_data",
        "TIMEOUT_JOB": "0.2",
        "TIMEOUT_STATUS": "30",
        "STATUS_HOLD": "0.3",
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": platform.cognito_url.replace("0.0.0.0", "127.0.0.1"),
    }
    volumes = [f"{host_socket()}:{SOCKET}", f"{tmp_path / 'data'}:/data"]
    container = docker_client.containers.run(
        worker_image, environment=settings, volumes=volumes, network_mode="host", detach=True
    )
    try:
        job = platform.submit(
            "cp /files/config/a /files/output/", image=job_images.job, files={"config/a": b"a"}, up={"output": "output"}
        )
        platform.wait_for_status(job)
        assert platform.statuses(job) == ["preprocessing", "running", "postprocessing", "finished"]
        assert platform.outputs(job)["output/output/a"] == b"a"
        _stop(container)
    finally:
        evidence.file("stack").write_bytes(container.logs())
        container.remove(force=True, v=True)


def test_image_tells_whether_its_worker_is_well(platform: Platform, container: Container) -> None:
    """Its HEALTHCHECK, asked by hand; and asked again when the worker has hung for longer than it said."""
    kind, *check = container.attrs["Config"]["Healthcheck"]["Test"]
    assert kind == "CMD"
    platform.wait_until(lambda: len(platform.requests("GET", "/jobs")) > 1, "two looks for a job")
    assert container.exec_run(check).exit_code == 0
    container.kill("SIGSTOP")
    late = "import os; from job_fetcher.core.health import file; os.utime(file(), (1, 1))"
    assert container.exec_run(["python", "-c", late]).exit_code == 0
    assert container.exec_run(check).exit_code == 1
    container.kill("SIGCONT")
    looks = len(platform.requests("GET", "/jobs"))
    platform.wait_until(lambda: len(platform.requests("GET", "/jobs")) > looks + 1, "two more looks for a job")
    assert container.exec_run(check).exit_code == 0


def test_page_of_the_image_answers_this_machine_and_no_job(
    platform: Platform, docker_client: docker.DockerClient, worker_image: str, container: Container
) -> None:
    """Jobs share the bridge with the worker; neither the name of this machine nor its gateway helps them."""
    container.reload()
    port = int(container.attrs["NetworkSettings"]["Ports"]["17417/tcp"][0]["HostPort"])
    wait_until(lambda: answers(port), "the page at the published port")
    assert ask(port, "/", host="evil.example").status == 403
    network = container.attrs["NetworkSettings"]["Networks"]["bridge"]
    here, gateway = (network["IPAddress"], 17417), (network["Gateway"], port)
    for host, address in (("x", here), ("localhost", here), ("127.0.0.1", here), ("localhost", gateway)):
        code = NEIGHBOUR.format(address=address, host=host)
        ran = docker_client.containers.run(worker_image, ["-c", code], entrypoint="python", remove=True)
        assert ran.decode().strip() == ("refused" if address == gateway else "403")
    told = container.exec_run(["job-fetcher", "status"])
    assert (told.exit_code, b"waits for a job" in told.output) == (0, True), told.output
    _stop(container)


def _stop(container: Container) -> None:
    """`docker stop`: kills after 10 s, which would be exit code 137."""
    container.stop()
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0
