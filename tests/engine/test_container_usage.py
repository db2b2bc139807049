"""What a container has used: read from its cgroup, or asked of the engine, and the digest of its image."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import docker
import pytest

from job_fetcher.engine import container_usage
from job_fetcher.engine.client import Client
from job_fetcher.engine.container_usage import ContainerUsage, _cpu_s, _files, _path
from tests.support.worker import wait_until

V1 = "4:memory:/docker/abc\n2:cpuacct:/docker/abc\n0::/docker/abc\n"
V1_JOINED = "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n"
V2 = "0::/system.slice/docker-abc.scope\n"


@pytest.fixture
def client(docker_client: docker.DockerClient) -> Iterator[Client]:
    with closing(Client(version=docker_client.api.api_version)) as client:
        yield client


@pytest.mark.parametrize(
    ("text", "controller", "path"),
    [
        (V1, "memory", "docker/abc"), (V1, "cpuacct", "docker/abc"), (V1_JOINED, "cpuacct", "docker/abc"),
        (V1, "", "docker/abc"), (V2, "", "system.slice/docker-abc.scope"), (V2, "memory", ""), ("", "memory", ""),
    ],
)  # fmt: skip
def test_the_path_of_a_cgroup_is_found_in_both_versions(text: str, controller: str, path: str) -> None:
    assert _path(text, controller) == path


@pytest.mark.parametrize(("text", "expected"), [("usage_usec 1500000\nuser_usec 1\n", 1.5), ("1500000000\n", 1.5)])
def test_the_processor_time_is_in_seconds_in_both_versions(text: str, expected: float) -> None:
    assert _cpu_s(text) == expected


def test_another_process_of_that_number_is_not_measured() -> None:
    """A worker in a container of its own has other process ids."""
    assert _files(1, "abc") is None
    assert _files(2**22 + 1, "abc") is None


@pytest.mark.parametrize("seen", [True, False], ids=["by its cgroup", "by the engine"])
def test_a_real_container_is_measured(
    docker_client: docker.DockerClient,
    client: Client,
    job_image: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    seen: bool,
) -> None:
    if not seen:
        monkeypatch.setattr(container_usage, "CGROUPS", tmp_path)
    line = "head -c 40000000 /dev/zero > /file; echo written; sleep 600"
    made = docker_client.containers.run(job_image, ["sh", "-c", line], detach=True)
    try:
        wait_until(lambda: b"written" in made.logs(), "the page cache to be used")
        usage = ContainerUsage(client, str(made.id))
        found = usage.look()
        assert found is not None
        assert found.cpu_s is not None
        assert 0 < found.cpu_s < 60
        assert found.peak_memory_mib is not None
        assert found.peak_memory_mib > (35 if seen else 0)
        assert usage.image_digest() or docker_client.images.get(job_image).attrs["RepoDigests"] == []
    finally:
        made.remove(force=True)
