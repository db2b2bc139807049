"""What a job's container gets of the host. SECURITY.md says what that guards against."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from docker.types import DeviceRequest, LogConfig

from job_fetcher.engine.client import Client
from job_fetcher.engine.engine_info import EngineInfo, describe
from job_fetcher.engine.hardware import Gpu
from job_fetcher.engine.product import Product

PIDS_LIMIT = 4096
LOG_SIZE_MB, LOG_FILES = 20, 3
"""What the engine keeps of a job's log: the newest of it, so that a chatty command cannot fill the engine's disk."""
CAPABILITIES = {
    "CHOWN": "entrypoints give folders to the user that they go on as",
    "DAC_OVERRIDE": "root of the image writes into folders of other users, such as the job's inputs",
    "FOWNER": "root of the image changes the modes of other users' files",
    "FSETID": "… and keeps the set-group-id of shared folders",
    "KILL": "shells end the processes that they have started as another user",
    "SETGID": "entrypoints go on as another user (gosu, su-exec)",
    "SETUID": "… likewise",
}
"""What a job's container keeps of root's capabilities, and why; see capabilities(7). All others are dropped."""
ISOLATION: dict[str, Any] = {
    "pids_limit": PIDS_LIMIT,
    "security_opt": ["no-new-privileges"],
    "cap_drop": ["ALL"],
    "cap_add": list(CAPABILITIES),
    "log_config": LogConfig(
        type=LogConfig.types.JSON,
        config={"max-size": f"{LOG_SIZE_MB}m", "max-file": str(LOG_FILES), "mode": "blocking"},
    ),
}
"""Of `HostConfig`: what the worker gives every container that it creates.

The log has a driver of its own: the owner's default may keep nothing (`none`), lose lines (`mode=non-blocking`), or
need a service that does not answer (`journald`, `syslog`, `fluentd`).
"""


CDI_KIND = "nvidia.com/gpu"
"""What NVIDIA's CDI specification calls a GPU."""
LABEL_FOLDER = "job-fetcher.folder"
LABEL_HELPER = "job-fetcher.helper"
LABEL_BUILD = "job-fetcher.build"
"""Labels. Folder and helper: the host's path of a job's folder, on its container, and on the one that gives its files
to the worker. Build: what an image or a container is for (`worker` in the Dockerfile, `probe`)."""

_NO_MORE_DEVICES = {"NVIDIA_GDS": "disabled", "NVIDIA_MOFED": "disabled", "NVIDIA_IMEX_CHANNELS": ""}
"""What an image could ask NVIDIA's toolkit for besides a GPU."""


@dataclass(frozen=True)
class Resources:
    """What a job's container gets of the machine. `network`: `bridge`, `none`, or a network's name."""

    memory_mib: int
    gpu: Gpu | None
    network: str = "bridge"


def host_config(client: Client, folder: PurePosixPath, resources: Resources, *, init: bool = False) -> dict[str, Any]:
    """The engine's `HostConfig` for the job in `folder` (of the host): its files, `resources`, and nothing else.

    `init`: the engine's init is PID 1. The command is an ordinary process then: signals end it, orphans are reaped.
    """
    gpu = resources.gpu
    config: dict[str, Any] = client.create_host_config(
        binds={str(folder / "files"): {"bind": "/files", "mode": "rw"}},
        network_mode=resources.network,
        init=init or None,
        ipc_mode="private",
        device_requests=device_requests(client, gpu),
        mem_limit=f"{resources.memory_mib}m",
        memswap_limit=f"{resources.memory_mib}m",  # no swap on top of it
        oom_score_adj=500,  # before the worker and the engine
        shm_size=f"{resources.memory_mib // 2}m",  # PyTorch's data loaders pass their batches through it
        **ISOLATION,
    )
    return config


def labelled(labels: Mapping[str, str], inherited: Iterable[str] = ()) -> dict[str, Any]:
    """Arguments of docker-py's `create_container`: `labels`, and nothing that the image or the owner's Docker adds.

    A container inherits the labels and the health check of its image, which may be a job's. From docker-py it gets the
    proxies of the owner's Docker, whose address may have a password. Labels of the image (`inherited`) become empty:
    tools of the owner's act on them (Compose, Swarm, Watchtower, Traefik), and the engine leaves none out.
    """
    ours = dict.fromkeys((*inherited, LABEL_FOLDER, LABEL_HELPER, LABEL_BUILD), "")
    return {"labels": ours | dict(labels), "healthcheck": {"test": ["NONE"]}, "use_config_proxy": False}


def image_labels(client: Client, image: str) -> tuple[str, ...]:
    """The names of an image's labels, for `labelled`. Raises what docker-py does: call it within `translate_errors`."""
    inspected: dict[str, Any] = client.inspect_image(image)  # type: ignore[no-untyped-call]
    return tuple((inspected.get("Config") or {}).get("Labels") or ())


def device_requests(client: Client, gpu: Gpu | None) -> list[DeviceRequest] | None:
    """The request that gives a container this GPU, and no other: by NVIDIA's runtime hook, or by CDI.

    The hook is Docker's own way (`DeviceRequest` without a driver). CDI is the only way of Podman, which drops other
    requests without a word. Docker takes it where its `info` lists the GPU (from API 1.50 on), or where the owner has
    switched CDI on and has not set up NVIDIA's runtime. NVIDIA's toolkit names a GPU by its UUID, too
    (nvidia-container-toolkit#314). Raises what `translate_errors` does.
    """
    if gpu is None:
        return None
    if uses_cdi(describe(client), gpu.uuid):
        return [DeviceRequest(driver="cdi", device_ids=[f"{CDI_KIND}={gpu.uuid}"])]
    return [DeviceRequest(device_ids=[gpu.uuid], capabilities=[["gpu"]])]


def uses_cdi(engine: EngineInfo, gpu: str) -> bool:
    """Whether a container gets the GPU by CDI: see `device_requests`. Files of CDI that nobody renews may be stale.

    `gpu` is its UUID, or another name of it: NVIDIA's toolkit knows its index, and `all`, too.
    """
    if engine.product is Product.PODMAN:
        return True
    if engine.has_nvidia_runtime:
        return False
    if engine.cdi_devices is None:
        return engine.takes_cdi
    return f"{CDI_KIND}={gpu}" in engine.cdi_devices


def environment(wanted: Mapping[str, str], gpu: Gpu | None) -> dict[str, str]:
    """The environment that a job asks for. What NVIDIA's runtime reads in it names the job's own GPU, or none."""
    harmless = {name: value for name, value in wanted.items() if not name.upper().startswith("NVIDIA_")}
    return harmless | {"NVIDIA_VISIBLE_DEVICES": gpu.uuid if gpu else "void"} | _NO_MORE_DEVICES
