"""`docker inspect` of a job's container against the list of what it must and must not have (also in SECURITY.md)."""

from pathlib import Path
from typing import Any

import docker
import pytest

from job_fetcher.engine.isolation import CAPABILITIES
from tests.hostile.conftest import LAB_SECRET, Victim
from tests.support.platform import PASSWORD

MUST_BE = {
    "HostConfig.Privileged": False,
    "HostConfig.Init": True,  # a mount of the engine's own init, read-only
    "HostConfig.SecurityOpt": ["no-new-privileges"],  # and nothing that would lift seccomp or AppArmor
    "HostConfig.CapDrop": ["ALL"],
    "HostConfig.CapAdd": list(CAPABILITIES),
    "HostConfig.NetworkMode": "bridge",
    "HostConfig.IpcMode": "private",
    "HostConfig.PidMode": "",
    "HostConfig.UTSMode": "",
    "HostConfig.UsernsMode": "",
    "HostConfig.CgroupnsMode": ("private", "host"),  # the engine's default: host on cgroup v1, where it is read-only
    "HostConfig.PidsLimit": 4096,
    "HostConfig.OomScoreAdj": 500,
    "HostConfig.OomKillDisable": (False, None),
    "HostConfig.LogConfig": {"Type": "json-file", "Config": {"max-file": "3", "max-size": "20m", "mode": "blocking"}},
    "HostConfig.RestartPolicy.Name": ("", "no"),
    "HostConfig.AutoRemove": False,  # else its log and its exit code would be lost with it
    "HostConfig.PublishAllPorts": False,
    "HostConfig.PortBindings": (None, {}),
    "HostConfig.Devices": (None, []),
    "HostConfig.DeviceRequests": (None, []),  # this worker has no GPU
    "HostConfig.DeviceCgroupRules": (None, []),
    "HostConfig.VolumesFrom": (None, []),
    "HostConfig.Mounts": (None, []),
    "HostConfig.Links": (None, []),
    "HostConfig.ExtraHosts": (None, []),
    "HostConfig.GroupAdd": (None, []),
    "HostConfig.Sysctls": (None, {}),
    "HostConfig.CgroupParent": "",
    "HostConfig.Ulimits": (None, []),
    "HostConfig.Tmpfs": (None, {}),
    "HostConfig.Runtime": "runc",  # the engine's default
    "Config.Env": [
        *("A=b", "NVIDIA_VISIBLE_DEVICES=void"),
        *("NVIDIA_GDS=disabled", "NVIDIA_MOFED=disabled", "NVIDIA_IMEX_CHANNELS="),
    ],
    "Config.Healthcheck.Test": ["NONE"],
    "Config.Volumes": (None, {}),
    "Config.User": "",
    "Config.Tty": False,
    "Config.OpenStdin": False,
    "AppArmorProfile": ("docker-default", ""),  # "": a host without AppArmor
}
"""By path; a tuple lists what it may be."""


@pytest.fixture(scope="module")
def inspected(victim: Victim, docker_client: docker.DockerClient) -> dict[str, Any]:
    """The container of a running job, as the engine describes it."""
    env = {"A": "b", "NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "all"}
    job = victim.platform.submit("until [ -e /files/go ]; do sleep 0.05; done", image=victim.images.job, env=env)
    attributes: dict[str, Any] = docker_client.api.inspect_container(str(victim.worker.container().id))
    attributes["files"] = str(victim.worker.base / job / "files")
    (victim.worker.base / job / "files" / "go").touch()
    victim.survive()
    return attributes


@pytest.mark.parametrize("path", MUST_BE)
def test_container_has_what_is_on_the_list(inspected: dict[str, Any], path: str) -> None:
    value: Any = inspected
    for part in path.split("."):
        value = value.get(part)
    expected = MUST_BE[path]
    assert value in expected if isinstance(expected, tuple) else value == expected


def test_container_sees_one_folder_of_the_host(inspected: dict[str, Any]) -> None:
    assert inspected["HostConfig"]["Binds"] == [f"{inspected['files']}:/files:rw"]
    assert [(each["Type"], each["Source"], each["Destination"]) for each in inspected["Mounts"]] == [
        ("bind", inspected["files"], "/files")
    ]


def test_container_has_the_workers_labels_and_no_other(inspected: dict[str, Any]) -> None:
    labels = dict(inspected["Config"]["Labels"])
    assert labels.pop("job-fetcher.job")
    assert labels.pop("job-fetcher.worker")
    assert len(labels.pop("job-fetcher.token")) == 32
    assert f"{labels.pop('job-fetcher.folder')}/files" == inspected["files"]
    assert labels == {"job-fetcher.helper": "", "job-fetcher.build": ""}


def test_container_has_limited_memory_and_no_swap(
    inspected: dict[str, Any], docker_client: docker.DockerClient
) -> None:
    host = inspected["HostConfig"]
    assert 0 < host["Memory"] <= docker_client.info()["MemTotal"] - (1024 << 20) + (1 << 20)  # MEMORY_RESERVE_MIB
    assert host["MemorySwap"] == host["Memory"]
    assert 0 < host["ShmSize"] <= host["Memory"] // 2


def test_container_knows_nothing_of_the_worker(inspected: dict[str, Any]) -> None:
    text = str(inspected)
    assert LAB_SECRET not in text
    assert PASSWORD not in text
    assert "docker.sock" not in text
    assert "API_URL" not in text


def test_list_in_the_threat_model_is_this_one() -> None:
    page = Path("SECURITY.md").read_text(encoding="utf-8")
    for name, reason in CAPABILITIES.items():
        assert f"`{name}`" in page, reason
