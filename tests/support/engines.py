"""What engines say of themselves (`GET /info` and `GET /version`), for the stand-in of `fake_engine`."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Says:
    """What differs from Docker 20.10 as root on a host with all cgroups."""

    info: dict[str, Any] = field(default_factory=dict)
    version: dict[str, Any] = field(default_factory=dict)


DOCKER = Says()
ROOTLESS_DOCKER = Says({"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"]})
USERNS_REMAP = Says({"SecurityOptions": ["name=apparmor", "name=seccomp,profile=default", "name=userns"]})
PODMAN = Says(
    {"SecurityOptions": ["name=seccomp,profile=default"], "CgroupVersion": "2", "Warnings": []},
    {"Version": "5.4.2", "Components": [{"Name": "Podman Engine", "Version": "5.4.2"}]},
)
ROOTLESS_PODMAN = Says(PODMAN.info | {"SecurityOptions": ["name=rootless", "name=selinux"]}, PODMAN.version)
OLD_PODMAN = Says(PODMAN.info, {"Version": "4.9.3", "Components": [{"Name": "Podman Engine", "Version": "4.9.3"}]})
DESKTOP = Says(
    {"OperatingSystem": "Docker Desktop", "CgroupVersion": "2"},
    {"Version": "26.1.1", "Platform": {"Name": "Docker Desktop 4.30.0 (149282)"}},
)
