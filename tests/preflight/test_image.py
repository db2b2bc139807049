"""`check`, `pause` and `resume` in the worker's image, as the README has them."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest
from docker.models.containers import Container
from scripts.docker import SOCKET, host_socket

from tests.preflight.conftest import Report
from tests.support.leaks import Evidence
from tests.support.platform import PASSWORD, USERNAME, Platform

ENV_FILE = """\
API_URL=http://host.docker.internal:{port}
USERNAME={username}
PASSWORD={password}
AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER=http://host.docker.internal:{port}/cognito/
TIMEOUT_JOB=0.2
MIN_FREE_GIB=0
"""
HOST = ("--add-host", "host.docker.internal:host-gateway")
ENGINE = ("--volume", f"{host_socket()}:{SOCKET}")


@pytest.fixture
def env_file(platform: Platform, tmp_path: Path) -> Path:
    path = tmp_path / "worker.env"
    path.write_text(ENV_FILE.format(port=urlsplit(platform.url).port, username=USERNAME, password=PASSWORD))
    return path


@pytest.fixture
def data(tmp_path: Path) -> tuple[str, str]:
    """What mounts the jobs' folder."""
    return ("--volume", f"{tmp_path}/data:/data")


CheckInImage = Callable[..., Report]


@pytest.fixture
def check_in_image(env_file: Path, worker_image: str, evidence: Evidence) -> CheckInImage:
    """Runs `docker run … IMAGE check` with these arguments."""

    def check(*arguments: str) -> Report:
        command = ["docker", "run", "--rm", "--env-file", str(env_file), *HOST, *arguments, worker_image]
        done = subprocess.run([*command, "check", "--json"], check=False, capture_output=True, text=True)
        evidence.file("check").write_text(done.stdout + done.stderr)
        return Report.of(done)

    return check


def test_all_is_well_by_the_command_of_the_readme(
    check_in_image: CheckInImage, data: tuple[str, str], tmp_path: Path
) -> None:
    report = check_in_image(*ENGINE, *data)
    assert (report.code, report.crosses) == (0, [])
    assert len(report.ticks) == 16
    found = f"/data is {tmp_path}/data of the host, and containers write to it"
    assert report.ticks["folder on the host"] == found


def test_socket_that_is_mounted_read_only_works_all_the_same(
    check_in_image: CheckInImage, data: tuple[str, str]
) -> None:
    """Who may connect to a socket is told by its own mode: the mount's `ro` does not matter."""
    assert check_in_image("--volume", f"{host_socket()}:{SOCKET}:ro", *data).code == 0


def test_no_socket_is_mounted(check_in_image: CheckInImage, data: tuple[str, str]) -> None:
    sentence = check_in_image(*data).sentence("engine")
    assert "there is no socket" in sentence
    assert "in a container, add -v /var/run/docker.sock:/var/run/docker.sock" in sentence


def test_nothing_is_mounted_at_path_base(check_in_image: CheckInImage) -> None:
    assert check_in_image(*ENGINE).sentence("folder on the host") == (
        "Nothing of the host is mounted at PATH_BASE (/data): start the container with -v HOST:/data"
    )


@pytest.mark.parametrize("mounted", [True, False])
def test_another_folder_is_mounted_at_path_base(
    check_in_image: CheckInImage,
    env_file: Path,
    worker_image: str,
    data: tuple[str, str],
    tmp_path: Path,
    mounted: bool,
) -> None:
    """Neither the check nor a start takes it for the folder of the jobs."""
    (tmp_path / "meant").mkdir()
    meant = f"{tmp_path}/meant"
    arguments = (*ENGINE, *(data if mounted else ()), "--env", f"PATH_HOST_BASE={meant}")
    sentence = check_in_image(*arguments).sentence("folder on the host")
    assert sentence.startswith(
        f"{meant} of the engine's host is not the folder that the worker sees as PATH_BASE (/data). In a container"
        f" mount it with -v {meant}:/data and leave PATH_HOST_BASE out"
    )
    command = ["docker", "run", "--rm", "--env-file", str(env_file), *HOST, *arguments, worker_image]
    start = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (start.returncode, start.stderr.count(sentence)) == (2, 1)


def test_path_base_is_mounted_read_only(check_in_image: CheckInImage, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert check_in_image(*ENGINE, "--volume", f"{tmp_path}/data:/data:ro").sentence("folder") == (
        "PATH_BASE (/data) cannot be written to: Read-only file system - mount it without :ro; if it was writable"
        " before, check that disk and its connection"
    )


def test_env_file_with_comments_behind_values_and_quotes(
    check_in_image: CheckInImage, env_file: Path, data: tuple[str, str]
) -> None:
    env_file.write_text(env_file.read_text() + "TIMEOUT_STATUS=20 # seconds\nGPU_MODEL='A4000'\n")
    report = check_in_image(*ENGINE, *data)
    ends = "`docker run --env-file` takes it as part of the value. Remove it"
    assert [text for name, text in report.crosses if name == "settings"] == [
        f"GPU_MODEL (is \"'A4000'\") has quotes around its value: {ends}",
        f"TIMEOUT_STATUS (is '20 # seconds') has a comment behind its value: {ends}",
    ]
    assert report.code == 1


@pytest.fixture
def worker(
    platform: Platform, env_file: Path, docker_client: docker.DockerClient, data: tuple[str, str], worker_image: str
) -> Iterator[Container]:
    command = ["docker", "run", "--detach", "--env-file", str(env_file), *HOST, *ENGINE, *data, worker_image]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    container = docker_client.containers.get(name)
    platform.wait_until(lambda: bool(platform.requests("GET", "/jobs")), "a look for a job")
    yield container
    print(container.logs().decode(errors="replace"))  # noqa: T201 - pytest shows it if the test has failed
    container.remove(force=True, v=True)


def test_paused_worker_takes_no_job_after_a_restart_neither_until_it_is_resumed(
    platform: Platform, worker: Container, job_image: str
) -> None:
    paused = subprocess.run(
        ["docker", "exec", worker.name or "", "job-fetcher", "pause"], check=True, capture_output=True, text=True
    )
    assert paused.stdout == "The worker takes no new job until `resume`.\n"
    platform.wait_until(lambda: told(worker) == 1, "the worker to say that it is paused")
    job = platform.submit("true", image=job_image)
    asked = len(platform.requests("GET", "/jobs"))
    worker.restart()
    platform.wait_until(lambda: told(worker) == 2, "the restarted worker to say that it is paused")
    assert (platform.job(job).status, len(platform.requests("GET", "/jobs"))) == ("queued", asked)
    assert worker.exec_run(["job-fetcher", "resume"]).output == b"The worker takes jobs again.\n"
    platform.wait_for_status(job)
    assert platform.job(job).status == "finished"


def told(worker: Container) -> int:
    return worker.logs().count(b"The worker asks for no job: the worker is paused, until `resume`")
