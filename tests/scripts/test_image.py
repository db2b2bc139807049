"""What is in the worker's image, and what is not."""

import sys
from pathlib import Path

import docker
import pytest
from docker.utils.build import exclude_paths
from scripts.docker import ROOT, package

from tests.support.images import JobImages

MAX_ADDED_MIB = 35
BASE = "python:3.11-slim"


def size_mib(client: docker.DockerClient, image: str) -> float:
    size: int = client.images.get(image).attrs["Size"]
    return size / 2**20


def shell(client: docker.DockerClient, image: str, line: str) -> str:
    output: bytes = client.containers.run(image, ["-c", line], entrypoint="/bin/sh", remove=True)
    return output.decode()


def test_image_adds_little_to_its_base(
    docker_client: docker.DockerClient, worker_image: str, capsys: pytest.CaptureFixture[str]
) -> None:
    added = size_mib(docker_client, worker_image) - size_mib(docker_client, BASE)
    with capsys.disabled():
        sys.stdout.write(f"\nThe image adds {added:.1f} MiB to {BASE}.\n")
    assert 1 < added < MAX_ADDED_MIB


def test_image_holds_the_locked_packages_and_the_worker_and_no_tools(
    docker_client: docker.DockerClient, worker_image: str
) -> None:
    names = shell(docker_client, worker_image, "ls /opt/job-fetcher").split()
    assert {"job_fetcher", "docker", "pydantic_core", "requests"} <= set(names)
    assert not {"pip", "poetry", "poetry.core", "pytest", "tests", "scripts", "bin", "boto3"} & set(names)
    version = "from importlib.metadata import version as v; print(v('job-fetcher'))"
    assert shell(docker_client, worker_image, f'python -c "{version}"').strip() == package()["version"]


def test_image_is_built_on_the_python_that_is_asked_for(
    docker_client: docker.DockerClient, worker_image: str, job_images: JobImages
) -> None:
    """The platform's own Compose file passes PYTHON_VERSION."""
    version, tag = "3.11.named-by-compose", f"{job_images.registry}/job-fetcher:by-compose"
    docker_client.images.get(BASE).tag("python", tag=f"{version}-slim")
    try:
        build = docker_client.api.build(
            path=str(ROOT), tag=tag, buildargs={"PYTHON_VERSION": version}, rm=True, forcerm=True, decode=True
        )
        said = "".join(event.get("stream", "") for event in build)
    finally:
        docker_client.images.remove(f"python:{version}-slim")
    assert "Successfully built" in said
    assert "not consumed" not in said


def test_image_is_compiled_so_that_each_start_is_quick(docker_client: docker.DockerClient, worker_image: str) -> None:
    line = "cd /opt/job-fetcher/job_fetcher; find . -name '*.py' | wc -l; find . -name '*.pyc' | wc -l"
    sources, compiled = shell(docker_client, worker_image, line).split()
    assert sources == compiled


def test_settings_that_lie_among_the_sources_do_not_get_into_the_image(tmp_path: Path) -> None:
    """Nor does anything else that the Dockerfile does not copy."""
    for name in ("src/job_fetcher/.env", "src/job_fetcher/cli.py", "src/.env", ".env", "poetry.lock", "tests/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    sent = exclude_paths(str(tmp_path), (ROOT / ".dockerignore").read_text().splitlines())
    assert {name for name in sent if (tmp_path / name).is_file()} == {"src/job_fetcher/cli.py", "poetry.lock"}


def test_image_tells_what_it_is_and_how_it_is_started_and_stopped(
    docker_client: docker.DockerClient, worker_image: str
) -> None:
    config = docker_client.images.get(worker_image).attrs["Config"]
    assert config["Labels"]["org.opencontainers.image.version"] == package()["version"]
    assert len(config["Labels"]["org.opencontainers.image.revision"]) == 40
    assert config["Entrypoint"] == ["python", "-m", "job_fetcher"]
    assert config["StopSignal"] == "SIGTERM"
    assert "PYTHONUNBUFFERED=1" in config["Env"]
