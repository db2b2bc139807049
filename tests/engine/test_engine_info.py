"""What the worker makes of what an engine says of itself."""

import pytest

from job_fetcher.engine.engine_info import ContainerRoot, EngineInfo
from job_fetcher.engine.isolation import uses_cdi
from tests.support.engines import (
    DESKTOP,
    DOCKER,
    OLD_PODMAN,
    PODMAN,
    ROOTLESS_DOCKER,
    ROOTLESS_PODMAN,
    USERNS_REMAP,
    Says,
)

USUAL = {"Version": "28.2.2", "ApiVersion": "1.50"}


def of(says: Says, **more: object) -> EngineInfo:
    return EngineInfo.of(says.info | more, USUAL | says.version)


@pytest.mark.parametrize(
    ("says", "name"),
    [
        (DOCKER, "Docker 28.2.2, API 1.50"),
        (USERNS_REMAP, "Docker 28.2.2, API 1.50"),
        (PODMAN, "Podman 5.4.2, API 1.50"),
        (OLD_PODMAN, "Podman 4.9.3, API 1.50"),
        (DESKTOP, "Docker Desktop 4.30.0 (Docker 26.1.1), API 1.50"),
        (Says({"OperatingSystem": "Docker Desktop"}), "Docker Desktop (Docker 28.2.2), API 1.50"),
        (Says({}, {"Platform": {"Name": "Docker Engine - Community"}}), "Docker 28.2.2, API 1.50"),
        (Says({}, {"Platform": None, "Components": None}), "Docker 28.2.2, API 1.50"),
    ],
)
def test_an_engine_has_the_name_that_its_maker_gives_it(says: Says, name: str) -> None:
    assert of(says).name == name


@pytest.mark.parametrize(
    ("says", "root"),
    [
        (DOCKER, ContainerRoot.ROOT),
        (PODMAN, ContainerRoot.ROOT),
        (ROOTLESS_DOCKER, ContainerRoot.ENGINE_USER),
        (ROOTLESS_PODMAN, ContainerRoot.ENGINE_USER),
        (USERNS_REMAP, ContainerRoot.REMAPPED),
        (Says({"SecurityOptions": None}), ContainerRoot.ROOT),
    ],
)
def test_root_of_a_container_is_who_the_security_options_say(says: Says, root: ContainerRoot) -> None:
    assert of(says).root is root


BOTH = "the engine does not limit the memory and processes of jobs."
CONTROLLERS = "Write +memory +pids to cgroup.subtree_control of the cgroup above the engine's"
MEMORY, SWAP, PIDS = (f"the engine does not limit the {what} of jobs." for what in ("memory", "swap", "processes"))
DELEGATE = "Let systemd delegate cgroups to the engine's user: Delegate=cpu io memory pids for user@.service"
V2 = "A rootless engine needs cgroup v2: boot this machine with systemd.unified_cgroup_hierarchy=1"
BOOT = "Boot this machine with cgroup_enable=memory swapaccount=1"


@pytest.mark.parametrize(
    ("says", "flags", "limits"),
    [
        (DOCKER, {}, []),
        (DOCKER, {"MemoryLimit": True, "SwapLimit": True, "PidsLimit": True}, []),
        (DOCKER, {"MemoryLimit": False, "SwapLimit": False}, [f"{MEMORY} {BOOT}"]),
        (DOCKER, {"SwapLimit": False}, [f"{SWAP} {BOOT}"]),
        (DOCKER, {"PidsLimit": False}, [f"{PIDS} Use a kernel with the pids cgroup (CONFIG_CGROUP_PIDS)"]),
        (ROOTLESS_DOCKER, {"CgroupVersion": "1", "MemoryLimit": False}, [f"{MEMORY} {V2}"]),
        (ROOTLESS_DOCKER, {"CgroupVersion": "2", "MemoryLimit": False}, [f"{MEMORY} {DELEGATE}"]),
        (ROOTLESS_PODMAN, {"MemoryLimit": False, "PidsLimit": False}, [f"{BOTH} {DELEGATE}"]),
        (DOCKER, {"CgroupVersion": "2", "MemoryLimit": False, "PidsLimit": False}, [f"{BOTH} {CONTROLLERS}"]),
        (PODMAN, {"PidsLimit": False}, [f"{PIDS} {CONTROLLERS}"]),
    ],
)  # fmt: skip
def test_a_limit_that_the_engine_discards_is_told_with_its_cure(
    says: Says, flags: dict[str, object], limits: list[str]
) -> None:
    assert of(says, **flags).limits == limits


KERNEL = "Your kernel does not support {} or the cgroup is not mounted. {}"


@pytest.mark.parametrize(
    ("warnings", "limits"),
    [
        ([], []),
        ([KERNEL.format("memory limit capabilities", "Limitation discarded.")], [f"{MEMORY} {BOOT}"]),
        ([KERNEL.format("swap limit capabilities", "Memory limited without swap.")], [f"{SWAP} {BOOT}"]),
        (
            [KERNEL.format("PIDs limit capabilities", "PIDs limit discarded.")],
            [f"{PIDS} Use a kernel with the pids cgroup (CONFIG_CGROUP_PIDS)"],
        ),
        (["The requested image's platform (linux/arm64) does not match the detected host platform"], []),
    ],
)
def test_what_a_creation_warns_of_counts_as_well(warnings: list[str], limits: list[str]) -> None:
    assert of(DOCKER).with_warnings(warnings).limits == limits


def cdi(*ids: str) -> dict[str, object]:
    """As an engine lists devices from API 1.50 on."""
    return {"CDISpecDirs": ["/etc/cdi"], "DiscoveredDevices": [{"Source": "cdi", "ID": each} for each in ids]}


@pytest.mark.parametrize(
    ("says", "more", "by_cdi"),
    [
        (DOCKER, {}, False),
        (DOCKER, {"CDISpecDirs": [], "Runtimes": {"runc": {}}}, False),
        (DOCKER, {"CDISpecDirs": ["/etc/cdi"], "Runtimes": {"runc": {}}}, True),
        (DOCKER, {"CDISpecDirs": ["/etc/cdi"], "Runtimes": {"runc": {}, "nvidia": {}}}, False),
        (DOCKER, cdi("nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1", "nvidia.com/gpu=all"), True),
        (DOCKER, cdi("nvidia.com/gpu=0", "nvidia.com/gpu=GPU-2", "nvidia.com/gpu=all"), False),
        (DOCKER, cdi(), False),
        (DOCKER, cdi("nvidia.com/gpu=GPU-1") | {"Runtimes": {"nvidia": {}}}, False),
        (PODMAN, {}, True),
        (ROOTLESS_PODMAN, {}, True),
        (
            PODMAN,
            {"Runtimes": {"crun": {}, "nvidia": {}}},
            True,
        ),  # it drops requests that are not CDI's, whatever it has
        (OLD_PODMAN, {}, True),
    ],
)
def test_cdi_is_used_where_it_is_the_way_to_the_gpu(says: Says, more: dict[str, object], by_cdi: bool) -> None:
    assert uses_cdi(of(says, **more), "GPU-1") is by_cdi


@pytest.mark.parametrize(
    ("version", "takes"), [("4.9.3", False), ("5.3.2", False), ("5.4.0", True), ("6.0.0-dev", True)]
)
def test_podman_gives_devices_of_cdi_from_5_4_on(version: str, takes: bool) -> None:
    assert of(Says(PODMAN.info, PODMAN.version | {"Version": version})).takes_cdi is takes
