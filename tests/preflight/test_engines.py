"""`check` and a start at engines of all kinds: what does not hold there is told before a job comes.

The engine is a stand-in that says of itself what they say.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.preflight.conftest import Report, run_check, settings_of
from tests.support.engines import DESKTOP, DOCKER, OLD_PODMAN, PODMAN, ROOTLESS_DOCKER, ROOTLESS_PODMAN, Says
from tests.support.fake_engine import FakeEngine
from tests.support.leaks import Evidence
from tests.support.nvml import Gpu, NvmlStub
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.usefixtures("needs_time")

CARD = Gpu()
GPU: dict[str, Any] = {"DeviceIDs": [CARD.uuid], "Driver": "", "Count": 0, "Capabilities": [["gpu"]], "Options": {}}
CDI: dict[str, Any] = GPU | {"DeviceIDs": [f"nvidia.com/gpu={CARD.uuid}"], "Driver": "cdi", "Capabilities": []}
LISTED = {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": CDI["DeviceIDs"][0]}]}
SET_UP = "nvidia-ctk runtime configure --runtime=docker"
WRITE = "write it anew with sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"

CheckAt = Callable[..., Report]


@pytest.fixture
def fake(fake: FakeEngine) -> FakeEngine:
    fake.images.add("busybox:latest")
    return fake


@pytest.fixture
def check_at(fake: FakeEngine, mock: Platform, tmp_path: Path) -> CheckAt:
    """Runs a check at an engine that says so of itself, with further fields of its `info`."""

    def run(says: Says, more: dict[str, Any] | None = None, **settings: str) -> Report:
        fake.info, fake.version = says.info | (more or {}), says.version
        environment = settings_of(mock, tmp_path / "data") | {"DOCKER_HOST": fake.url} | settings
        return Report.of(run_check("--json", environment=environment, cwd=tmp_path))

    return run


def test_all_limits_hold(check_at: CheckAt) -> None:
    report = check_at(DOCKER)
    assert (report.crosses, report.ticks["limits"]) == ([], "memory, swap and processes of jobs are limited")


@pytest.mark.parametrize(
    ("says", "more", "warnings", "name", "told"),
    [
        (ROOTLESS_DOCKER, {"CgroupVersion": "1", "MemoryLimit": False}, [], "Docker 0-fake", "memory"),
        (ROOTLESS_PODMAN, {"PidsLimit": False}, [], "Podman 5.4.2", "processes"),
        (DOCKER, {}, ["Your kernel does not support swap limit capabilities"], "Docker 0-fake", "swap"),
    ],
    ids=["memory", "processes", "swap, by a warning"],
)  # fmt: skip
def test_a_limit_that_the_engine_discards_is_told_by_the_check_and_by_the_start(
    check_at: CheckAt, fake: FakeEngine, mock: Platform, evidence: Evidence, tmp_path: Path,
    says: Says, more: dict[str, Any], warnings: list[str], name: str, told: str,
) -> None:  # fmt: skip
    fake.warnings = warnings
    report = check_at(says, more)
    assert report.crosses == []
    assert report.ticks["engine"] == f"{name}, API 1.41"
    assert report.ticks["limits"] == "jobs run, but not all holds here"
    [(check, limit)] = report.limits
    assert (check, limit.split(". ")[0]) == ("limits", f"the engine does not limit the {told} of jobs")
    with starting(fake, mock, evidence, tmp_path) as worker:
        worker.wait_for_log("Offering")
        assert worker.log.count(f"Jobs run, but the engine does not limit the {told} of jobs. ") == 1


def test_each_limit_is_printed_on_a_line_of_its_own(fake: FakeEngine, mock: Platform, tmp_path: Path) -> None:
    fake.info, fake.version = DOCKER.info | {"MemoryLimit": False, "PidsLimit": False}, DOCKER.version
    environment = settings_of(mock, tmp_path / "data") | {"DOCKER_HOST": fake.url}
    done = run_check(environment=environment, cwd=tmp_path)
    lines = [line for line in done.stdout.splitlines() if line[2:].startswith("limits ")]
    assert [(line[0], line.split(" s  ")[1].split(". ")[0]) for line in lines] == [
        ("✓", "jobs run, but not all holds here"),
        ("!", "the engine does not limit the memory of jobs"),
        ("!", "the engine does not limit the processes of jobs"),
    ]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, []),
        ({"QUIET_HOURS": "Mon 03:00-03:01"}, ["the clock of Docker Desktop's machine is UTC, and so are QUIET_HOURS"]),
        ({"QUIET_HOURS": "Mon 03:00-03:01", "QUIET_HOURS_TZ": "Europe/Berlin"}, []),
    ],
    ids=["nothing", "its clock", "a zone is set"],
)
def test_what_does_not_hold_in_docker_desktop_is_told(
    check_at: CheckAt, settings: dict[str, str], told: list[str]
) -> None:
    report = check_at(DESKTOP, **settings)
    assert report.ticks["engine"] == "Docker Desktop 4.30.0 (Docker 26.1.1), API 1.41"
    assert [text.split(". ")[0] for _, text in report.limits] == told


@pytest.mark.parametrize(
    ("says", "more", "request_sent", "cure"),
    [
        (DOCKER, {}, GPU, f"set up NVIDIA's container toolkit anew: {SET_UP}, then systemctl restart docker"),
        (ROOTLESS_DOCKER, {}, GPU, f"{SET_UP} --config=$HOME/.config/docker/daemon.json"),
        (DESKTOP, {}, GPU, "update Docker Desktop and the NVIDIA driver of Windows, then restart Windows"),
        (DOCKER, LISTED, CDI, f"Docker takes the GPU from NVIDIA's CDI file: {WRITE}"),
        (PODMAN, {}, CDI, f"Podman takes the GPU from NVIDIA's CDI file: {WRITE}"),
        (OLD_PODMAN, {}, CDI, "install Podman 5.4 or newer: older ones drop a request for a GPU"),
    ],
    ids=["Docker", "rootless Docker", "Docker Desktop", "Docker by CDI", "Podman", "old Podman"],
)
def test_an_engine_is_asked_for_the_gpu_in_its_own_way_and_so_is_the_cure(
    check_at: CheckAt, fake: FakeEngine, nvml: NvmlStub, says: Says, more: dict[str, Any], request_sent: Any, cure: str
) -> None:
    nvml.show(CARD)
    sentence = check_at(says, more, **nvml.environment).sentence("GPU in a container")
    requests = [each["HostConfig"].get("DeviceRequests") for each in fake.created]
    assert [each for each in requests if each] == [[request_sent]]
    assert cure in sentence


@pytest.mark.parametrize("path", ["/c/jobs", "/mnt/c/jobs", "/D/Users/ada/jobs"])
def test_a_path_as_git_bash_or_wsl_writes_it_is_better_left_out(check_at: CheckAt, path: str) -> None:
    assert check_at(DESKTOP, PATH_HOST_BASE=path).sentence("folder on the host") == (
        f"PATH_HOST_BASE ({path}) is a path of Windows, which the Docker engine does not know. Leave it out: the worker"
        " finds it out"
    )


@contextmanager
def starting(fake: FakeEngine, mock: Platform, evidence: Evidence, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker at this engine."""
    client = docker.DockerClient(fake.url, version="1.41")
    settings = {"DOCKER_HOST": fake.url, "MIN_FREE_GIB": "0"}
    worker = WorkerProcess(mock, client, tmp_path / "data", evidence.file("worker"), settings)
    try:
        yield worker
    finally:
        worker.end()
        client.close()
