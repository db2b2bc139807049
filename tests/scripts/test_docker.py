"""`docker-build` and `docker-run`, on the real engine."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import NotFound
from scripts import docker as command
from scripts.env_file import variables

from tests.support.engines import DOCKER, PODMAN, Says
from tests.support.fake_engine import FakeEngine
from tests.support.ports import free_port

pytestmark = pytest.mark.usefixtures("needs_time")

LISTED = {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}


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
    (tmp_path / "unpacked").mkdir()
    monkeypatch.setattr(command, "ROOT", tmp_path / "unpacked")
    assert command.image_name() == "job-fetcher:latest"


def test_worker_runs_with_its_settings_socket_folder_and_host(
    docker_client: docker.DockerClient, stand_in: str, env_file: Path, name: str, tmp_path: Path
) -> None:
    port = free_port()
    env_file.write_text(f"{env_file.read_text()}STATUS_PORT={port}\n")
    command.run_worker(docker_client, stand_in, name, env_file, "none")
    attributes = docker_client.containers.get(name).attrs
    published = [{"HostIp": "127.0.0.1", "HostPort": str(port)}]
    assert attributes["HostConfig"]["PortBindings"] == {f"{port}/tcp": published}
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


def test_worker_gets_one_gpu_where_the_machine_has_some(
    docker_client: docker.DockerClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command.device_requests(docker_client, "auto") == []
    (tmp_path / "nvidia-smi").touch(mode=0o755)
    assert command.device_requests(docker_client, "auto")[0].device_ids == ["0"]


@pytest.mark.parametrize(
    ("says", "more", "gpus", "driver", "names"),
    [
        (DOCKER, {}, "0,1", "", ["0", "1"]),
        (PODMAN, {}, "0,1", "cdi", ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]),
        (PODMAN, {}, "all", "cdi", ["nvidia.com/gpu=all"]),
        (DOCKER, LISTED, "0", "cdi", ["nvidia.com/gpu=0"]),
        (DOCKER, LISTED, "1", "", ["1"]),
        (DOCKER, LISTED | {"Runtimes": {"nvidia": {}}}, "0", "", ["0"]),
    ],
)
def test_worker_gets_its_gpus_in_the_engines_own_way(
    fake: FakeEngine, says: Says, more: dict[str, Any], gpus: str, driver: str, names: list[str]
) -> None:
    fake.info, fake.version = says.info | more, says.version
    client = docker.DockerClient(fake.url, version="1.41")
    [request] = command.device_requests(client, gpus)
    client.close()
    assert (request.driver, request.device_ids) == (driver, names)


def test_what_is_missing_for_a_run_is_said(
    docker_client: docker.DockerClient, stand_in: str, env_file: Path, name: str, tmp_path: Path
) -> None:
    with pytest.raises(command.Failed, match=r"copy \.env\.example"):
        command.run_worker(docker_client, stand_in, name, tmp_path / "missing.env", "none")
    with pytest.raises(command.Failed, match="poetry run docker-build"):
        command.run_worker(docker_client, "job-fetcher:no-such-branch", name, env_file, "none")
    env_file.write_text("PATH_HOST_BASE=data\n")
    with pytest.raises(command.Failed, match="PATH_HOST_BASE is 'data': an absolute path"):
        command.run_worker(docker_client, stand_in, name, env_file, "none")


def test_folder_of_this_machine_is_that_of_the_readme_unless_one_is_named(env_file: Path) -> None:
    assert command.read_environment(env_file)["PATH_HOST_BASE"] == f"{env_file.parent}/data"
    env_file.write_text("PATH_BASE=/jobs\n")
    assert command.read_environment(env_file) == {"PATH_BASE": "/jobs", "PATH_HOST_BASE": "/srv/jobs"}


def test_env_file_is_read_as_docker_reads_it(
    docker_client: docker.DockerClient, job_image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FROM_HERE", "x")
    monkeypatch.delenv("NOWHERE", raising=False)
    path = tmp_path / "worker.env"
    text = "A=b=c # d\r\n\n  # indented\n  INDENTED= 'e' \nEMPTY=\nFROM_HERE\nNOWHERE\n"
    path.write_text(text, encoding="utf-8-sig")
    line = ["docker", "run", "--rm", "--env-file", str(path), "--entrypoint", "/bin/busybox", job_image, "env"]
    seen = dict(each.split("=", 1) for each in subprocess.check_output(line, text=True).splitlines())
    taken = command.read_environment(path)
    assert taken == {name: seen[name] for name in ("A", "INDENTED", "EMPTY", "FROM_HERE")} | {
        "PATH_BASE": "/data",
        "PATH_HOST_BASE": "/srv/jobs",
    }
    assert "NOWHERE" not in seen


def test_line_that_sets_nothing_is_told_by_its_number_alone(env_file: Path) -> None:
    env_file.write_text("A=b\nPASSWORD hunter2\n")
    with pytest.raises(command.Failed, match=r"worker\.env cannot be read: line 2 is not NAME=value$"):
        command.read_environment(env_file)
    with pytest.raises(ValueError, match="line 1 is not"):
        list(variables("=hunter2"))


def test_env_file_that_is_no_text_is_told(env_file: Path) -> None:
    env_file.write_bytes("PASSWORD=ü\n".encode("latin-1"))
    with pytest.raises(command.Failed, match=r"worker\.env cannot be read: 'utf-8' codec"):
        command.read_environment(env_file)


def test_socket_is_that_of_the_context_which_docker_uses(rootless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"unix://{command.host_socket()}" == rootless
    monkeypatch.setenv("DOCKER_HOST", "unix:///x.sock")
    assert command.host_socket() == "/x.sock"
    monkeypatch.delenv("DOCKER_HOST")
    subprocess.run(["docker", "context", "use", "default"], check=True, capture_output=True)
    assert command.host_socket() == command.SOCKET


def test_worker_that_ends_at_once_is_told_with_its_log(
    docker_client: docker.DockerClient, stand_in: str, env_file: Path, name: str
) -> None:
    env_file.write_text(f"API_URL=wrong\nPATH_HOST_BASE={env_file.parent}\n")
    with pytest.raises(command.Failed, match=rf"^(API_URL is wrong\n)+{name} has ended with this, and is removed"):
        command.run_worker(docker_client, stand_in, name, env_file, "none")
    with pytest.raises(NotFound):
        docker_client.containers.get(name)


def test_worker_that_is_there_already_is_replaced_with_the_lines_that_are_printed(
    docker_client: docker.DockerClient, stand_in: str, env_file: Path, name: str
) -> None:
    command.run_worker(docker_client, stand_in, name, env_file, "none")
    with pytest.raises(command.Failed, match="in the middle of its job") as refusal:
        command.run_worker(docker_client, stand_in, name, env_file, "none")
    line = str(refusal.value).splitlines()[1]
    assert line == f"docker kill --signal USR1 {name}; docker wait {name}; docker rm {name}"
    assert f"\n{line.replace(name, 'job-fetcher')}\n" in (command.ROOT / "README.md").read_text()
    subprocess.run(["bash", "-ec", line], check=True)
    command.run_worker(docker_client, stand_in, name, env_file, "none")


def test_name_of_a_container_that_is_no_worker_is_left_to_it(
    docker_client: docker.DockerClient, stand_in: str, job_image: str, env_file: Path, name: str
) -> None:
    docker_client.containers.create(job_image, name=name)
    with pytest.raises(command.Failed, match=f"a container {name} already, which is no worker") as refusal:
        command.run_worker(docker_client, stand_in, name, env_file, "none")
    assert "docker rm" not in str(refusal.value)


@pytest.mark.parametrize("name", ["docker-build", "docker-run", "docker-stop", "docker-cleanup"])
def test_engine_that_does_not_answer_is_told_in_a_sentence(name: str, tmp_path: Path) -> None:
    environment = os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    installed = [str(Path(sys.executable).with_name(name))]
    done = subprocess.run(installed, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("The Docker engine cannot be used: ")
    assert done.stderr.endswith(" Does `docker info` work?\n")


@pytest.mark.parametrize("name", ["docker-build", "docker-run", "docker-stop", "docker-cleanup"])
def test_command_is_installed_and_explains_itself(name: str) -> None:
    installed = [str(Path(sys.executable).with_name(name)), "--help"]
    said = subprocess.run(installed, check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"usage: {name}")
