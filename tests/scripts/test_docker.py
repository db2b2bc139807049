"""`docker-build`, `docker-run`, `docker-stop` and `docker-cleanup`, on the real engine."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import ImageNotFound, NotFound
from docker.models.containers import Container
from scripts import docker as command

from tests.support.images import JobImages, add_image, shell_files

# Like the worker, it ends at once when it is told to.
WORKER = b"#!/bin/sh\ntrap 'exit 0' TERM\necho started\nsleep 1000 & wait\n"


@pytest.fixture(autouse=True)
def only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels of this test, so that it finds nothing of somebody who works on the same machine."""
    monkeypatch.setattr(command, "LABEL_BUILD", f"job-fetcher-test.build-{os.getpid()}")
    monkeypatch.setattr(command, "LABEL_FOLDER", f"job-fetcher-test.folder-{os.getpid()}")


@pytest.fixture
def stand_in(docker_client: docker.DockerClient, job_images: JobImages) -> str:
    """The name of an image that is the worker's as far as these commands go."""
    files = {**shell_files(), "worker.sh": WORKER}
    name = f"{job_images.registry}/stand-in:test"
    return add_image(docker_client, name, files, f"LABEL {command.LABEL_BUILD}=worker", 'ENTRYPOINT ["/worker.sh"]')


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "worker.env"
    path.write_text(f"# comment\nAPI_URL=http://x\nPASSWORD=a=b #c\nPATH_HOST_BASE={tmp_path}/data\n")
    return path


@pytest.fixture
def name(docker_client: docker.DockerClient) -> Iterator[str]:
    """A name for a container, which is removed in the end."""
    name = f"job-fetcher-test-{os.getpid()}"
    yield name
    with suppress(NotFound):
        docker_client.containers.get(name).remove(force=True)


def test_image_is_named_after_package_and_branch() -> None:
    assert command.image_name().split(":")[0] == "job-fetcher"


@pytest.mark.parametrize(
    ("branch", "tag"),
    [("main", "main"), ("feature/x#1", "feature-x-1"), ("-.x", "x"), ("ü", "latest"), ("v1.2_a", "v1.2_a")],
)
def test_branch_becomes_a_tag_that_docker_allows(branch: str, tag: str) -> None:
    assert command.tag_of(branch) == tag


def test_long_branch_is_cut() -> None:
    assert len(command.tag_of("x" * 200)) == 128


def test_commit_stands_in_for_the_branch_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        git_command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(git_command, check=True, capture_output=True, text=True).stdout.strip()

    monkeypatch.setattr(command, "package", lambda: {"name": "job-fetcher"})
    monkeypatch.setattr(command, "ROOT", tmp_path)
    assert command.image_name() == "job-fetcher:latest"
    git("init", "--initial-branch", "a/b")
    assert command.image_name() == "job-fetcher:a-b"
    git("commit", "--allow-empty", "--message", "x")
    git("checkout", "--detach")
    assert command.image_name() == f"job-fetcher:{git('rev-parse', '--short', 'HEAD')}"


def test_worker_runs_with_its_settings_socket_folder_and_host(
    docker_client: docker.DockerClient, stand_in: str, env_file: Path, name: str, tmp_path: Path
) -> None:
    command.run_worker(docker_client, stand_in, name, env_file, "none")
    attributes = docker_client.containers.get(name).attrs
    assert {"API_URL=http://x", "PASSWORD=a=b #c", "PATH_BASE=/data"} <= set(attributes["Config"]["Env"])
    mounts = {mount["Destination"]: mount["Source"] for mount in attributes["Mounts"]}
    assert mounts == {"/data": f"{tmp_path}/data", command.SOCKET: command.host_socket()}
    assert attributes["HostConfig"]["ExtraHosts"] == ["host.docker.internal:host-gateway"]
    assert attributes["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert not attributes["HostConfig"]["DeviceRequests"]
    assert attributes["Config"]["StopTimeout"] == command.STOP_TIMEOUT_S


@pytest.mark.parametrize(("gpus", "visible"), [("all", "all"), ("0,GPU-2", "0,GPU-2")])
def test_worker_gets_the_gpus_it_is_run_with(
    gpu_engine: docker.DockerClient, stand_in: str, env_file: Path, name: str, gpus: str, visible: str
) -> None:
    command.run_worker(gpu_engine, stand_in, name, env_file, gpus)
    _, env = gpu_engine.containers.get(name).exec_run(["cat", "/proc/1/environ"])
    assert f"NVIDIA_VISIBLE_DEVICES={visible}\0".encode() in env


def test_gpus_are_passed_where_the_machine_has_some(
    docker_client: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.device_requests(docker_client, "auto") == []
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    assert command.device_requests(docker_client, "auto")[0].count == -1


def test_what_is_missing_for_a_run_is_said(
    docker_client: docker.DockerClient, stand_in: str, env_file: Path, name: str, tmp_path: Path
) -> None:
    with pytest.raises(command.Failed, match=r"copy \.env\.example"):
        command.run_worker(docker_client, stand_in, name, tmp_path / "missing.env", "none")
    with pytest.raises(command.Failed, match="poetry run docker-build"):
        command.run_worker(docker_client, "job-fetcher:no-such-branch", name, env_file, "none")
    command.run_worker(docker_client, stand_in, name, env_file, "none")
    with pytest.raises(command.Failed, match="poetry run docker-stop"):
        command.run_worker(docker_client, stand_in, name, env_file, "none")
    env_file.write_text("PATH_HOST_BASE=data\n")
    with pytest.raises(command.Failed, match="PATH_HOST_BASE is 'data': an absolute path"):
        command.run_worker(docker_client, stand_in, name, env_file, "none")


def test_stop_removes_workers_and_what_dead_ones_left_but_not_what_a_living_one_holds(
    docker_client: docker.DockerClient,
    job_image: str,
    stand_in: str,
    env_file: Path,
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def job(folder: str) -> Container:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lock").touch()
        labels = {command.LABEL_FOLDER: str(tmp_path / folder)}
        return docker_client.containers.run(job_image, ["sleep", "1000"], labels=labels, detach=True)

    command.run_worker(docker_client, stand_in, name, env_file, "none")
    left, held = job("left"), job("held")
    with (tmp_path / "held" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command.stop_workers(docker_client, timeout_s=10)
        assert [container.id for container in command._containers(docker_client, command.LABEL_FOLDER)] == [held.id]
    with pytest.raises(NotFound):
        docker_client.containers.get(name)
    command.stop_workers(docker_client, timeout_s=10)
    assert not list(command._containers(docker_client, command.LABEL_FOLDER))
    assert f"Stopping {name}" in (printed := capsys.readouterr().out)
    assert f"Removing {left.name}" in printed


def test_cleanup_removes_images_of_this_package_and_says_what_is_in_use(
    docker_client: docker.DockerClient, job_image: str, stand_in: str, env_file: Path, name: str
) -> None:
    command.run_worker(docker_client, stand_in, name, env_file, "none")
    with pytest.raises(command.Failed, match="poetry run docker-stop"):
        command.remove_images(docker_client)
    command.stop_workers(docker_client, timeout_s=10)
    command.remove_images(docker_client)
    with pytest.raises(ImageNotFound):
        docker_client.images.get(stand_in)
    assert docker_client.images.get(job_image)


@pytest.mark.parametrize("name", ["docker-build", "docker-run", "docker-stop", "docker-cleanup"])
def test_command_is_installed_and_explains_itself(name: str) -> None:
    installed = [str(Path(sys.executable).with_name(name)), "--help"]
    said = subprocess.run(installed, check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"usage: {name}")
