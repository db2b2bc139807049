"""What the engine says of itself: its product, whom its containers' root is on the host, which limits hold, CDI.

Fields of `GET /info` and `GET /version` by the Docker Engine API reference. Podman answers them in its own way (podman:
`pkg/api/handlers/compat/info.go` and `version.go`).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Self

from job_fetcher.engine.client import Client, translate_errors
from job_fetcher.engine.product import Product

PODMAN_WITH_CDI = (5, 4)
"""The first Podman that gives a container of its Docker API the CDI devices of a request (podman#25171)."""


class ContainerRoot(Enum):
    """Which user of the host is root of a container."""

    ROOT = "root"
    ENGINE_USER = "the user that runs the engine"
    """A rootless engine: other users of a container are subordinate ids of that user (subuid(5))."""
    REMAPPED = "a subordinate id"
    """`userns-remap`: no user of a container is one of the host, unless the container asks for the host's own."""


@dataclass(frozen=True)
class EngineInfo:
    """An engine as it describes itself. `cgroup_version`: "1", "2", or "" if it does not say.

    `cdi_devices` are the names of CDI devices that it has found; `None` if it does not list them (before API 1.50).
    `takes_cdi`: it gives containers CDI devices. `has_nvidia_runtime`: NVIDIA's toolkit is set up as a runtime.
    """

    product: Product
    version: str
    api: str
    desktop: str = ""
    """The version of Docker Desktop, which is another one than that of its engine."""
    root: ContainerRoot = ContainerRoot.ROOT
    limits_memory: bool = True
    limits_swap: bool = True
    limits_processes: bool = True
    cgroup_version: str = ""
    cdi_devices: tuple[str, ...] | None = None
    takes_cdi: bool = False
    has_nvidia_runtime: bool = False

    @classmethod
    def of(cls, info: dict[str, Any], version: dict[str, Any]) -> Self:
        """From the engine's answers. A field that is missing counts as what every engine does."""
        product = _product(info, version)
        named = re.search(r"Docker Desktop ([\d.]+)", (version.get("Platform") or {}).get("Name") or "")
        cgroup_version = str(info.get("CgroupVersion") or "")
        return cls(
            product,
            str(version["Version"]),
            str(version["ApiVersion"]),
            desktop=named[1] if named else "",
            root=_root(info.get("SecurityOptions") or ()),
            limits_memory=info.get("MemoryLimit", True),
            limits_swap=info.get("SwapLimit", True),
            limits_processes=info.get("PidsLimit", True),
            cgroup_version=cgroup_version,
            cdi_devices=_cdi_devices(info),
            takes_cdi=_takes_cdi(product, str(version["Version"]), info),
            has_nvidia_runtime="nvidia" in (info.get("Runtimes") or ()),
        )

    @property
    def name(self) -> str:
        """Its product and versions, in the words of its maker."""
        if self.product is Product.DOCKER_DESKTOP:
            return f"Docker Desktop {self.desktop} (Docker {self.version}), API {self.api}".replace("  ", " ")
        return f"{self.product.value} {self.version}, API {self.api}"

    @property
    def limits(self) -> list[str]:
        """A sentence for each limit of a job's container that this engine discards, with the cure."""
        missing = {
            "memory": not self.limits_memory,
            "swap": self.limits_memory and not self.limits_swap,
            "processes": not self.limits_processes,
        }
        by_cure: dict[str, list[str]] = {}
        for what in (each for each, gone in missing.items() if gone):
            by_cure.setdefault(self._cure(what), []).append(what)
        return [f"the engine does not limit the {' and '.join(them)} of jobs. {cure}" for cure, them in by_cure.items()]

    def with_warnings(self, warnings: Iterable[str]) -> Self:
        """The same engine without the limits that it has warned of when it created a container.

        Docker says so in words alone (moby: `daemon/daemon_unix.go`, `verifyPlatformContainerResources`).
        """
        text = " ".join(each.lower() for each in warnings)
        return replace(
            self,
            limits_memory=self.limits_memory and "memory limit capabilities" not in text,
            limits_swap=self.limits_swap and "swap limit capabilities" not in text,
            limits_processes=self.limits_processes and "pids limit" not in text,
        )

    def _cure(self, what: str) -> str:
        if self.root is ContainerRoot.ENGINE_USER and self.cgroup_version == "1":
            return "A rootless engine needs cgroup v2: boot this machine with systemd.unified_cgroup_hierarchy=1"
        if self.root is ContainerRoot.ENGINE_USER:
            return "Let systemd delegate cgroups to the engine's user: Delegate=cpu io memory pids for user@.service"
        if self.cgroup_version == "2":
            return "Write +memory +pids to cgroup.subtree_control of the cgroup above the engine's"
        if what == "processes":
            return "Use a kernel with the pids cgroup (CONFIG_CGROUP_PIDS)"
        return "Boot this machine with cgroup_enable=memory swapaccount=1"


def describe(client: Client) -> EngineInfo:
    """The engine as it describes itself now. Raises what `translate_errors` does."""
    with translate_errors("describe itself"):
        return EngineInfo.of(client.info(), client.version(api_version=False))


def name(client: Client) -> str:
    """`EngineInfo.name`. An engine is asked once: the header `Server` of its answers changes with its version."""
    known = client.name_by_server.get(client.server)
    if known is None:
        known = describe(client).name
        if client.server:
            client.name_by_server = {client.server: known}
    return known


def _product(info: dict[str, Any], version: dict[str, Any]) -> Product:
    components = version.get("Components") or ()
    if any(str(each.get("Name")).startswith("Podman") for each in components):
        return Product.PODMAN
    names = (info.get("OperatingSystem"), (version.get("Platform") or {}).get("Name"))
    return Product.DOCKER_DESKTOP if any("Docker Desktop" in (name or "") for name in names) else Product.DOCKER


def _root(security_options: Iterable[str]) -> ContainerRoot:
    names = {name for option in security_options for name in option.split(",")}
    if "name=rootless" in names:
        return ContainerRoot.ENGINE_USER
    return ContainerRoot.REMAPPED if "name=userns" in names else ContainerRoot.ROOT


def _cdi_devices(info: dict[str, Any]) -> tuple[str, ...] | None:
    found = info.get("DiscoveredDevices")
    if found is None:
        return None
    return tuple(str(each.get("ID")) for each in found if each.get("Source") == "cdi")


def _takes_cdi(product: Product, version: str, info: dict[str, Any]) -> bool:
    """Podman by its version, since its `info` does not tell; Docker, if it has folders for CDI's files."""
    if product is Product.PODMAN:
        numbers = re.match(r"(\d+)\.(\d+)", version)
        return numbers is not None and (int(numbers[1]), int(numbers[2])) >= PODMAN_WITH_CDI
    return bool(info.get("CDISpecDirs"))
