"""The environments of the field lab, by the names that `scripts/field.sh` takes."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial

from tests.field import engines, filesystems
from tests.field.place import NotHad, Place


@dataclass(frozen=True)
class Environment:
    """`open` gives the place, or raises `NotHad`."""

    name: str
    title: str
    open: Callable[[], AbstractContextManager[Place]]


@contextmanager
def _not_had(reason: str) -> Iterator[Place]:
    raise NotHad(reason)
    yield


ENVIRONMENTS = (
    Environment("own", "the machine's own engine", engines.own),
    Environment("docker", "a second engine", engines.second),
    Environment("live-restore", "`--live-restore`", partial(engines.second, "--live-restore")),
    Environment("userns-remap", "`--userns-remap`, the worker is root", engines.remapped),
    Environment(
        "userns-remap-user", "`--userns-remap`, the worker is a user", partial(engines.remapped, uid=engines.USER)
    ),
    Environment("no-bridge", "`--bridge=none`, `JOB_NETWORK=none`", engines.without_bridge),
    *(
        Environment(f"log-{name}", f"log driver `{name}`", partial(engines.second, f"--log-driver={name}"))
        for name in ("local", "none", "journald", "syslog", "fluentd")
    ),
    Environment(
        "log-gelf",
        "log driver `gelf`",
        partial(engines.second, "--log-driver=gelf", "--log-opt=gelf-address=udp://127.0.0.1:12201"),
    ),
    Environment(
        "log-non-blocking",
        "log option `mode=non-blocking`",
        partial(engines.second, "--log-opt=mode=non-blocking", "--log-opt=max-buffer-size=64k"),
    ),
    Environment("docker-26", "Docker of Debian 13", engines.docker_26),
    Environment(
        "docker-26-containerd", "the same, containerd's image store", partial(engines.docker_26, containerd=True)
    ),
    Environment("no-controllers", "the same, cgroup v2 without controllers", engines.without_controllers),
    Environment("docker-rootless", "the same, rootless", engines.rootless_docker),
    Environment("podman", "Podman of Debian 13, as root", engines.podman),
    Environment("podman-rootless", "the same, rootless", partial(engines.podman, uid=engines.USER)),
    Environment("docker-desktop", "the paths of Docker Desktop for Windows, by a proxy", engines.docker_desktop),
    Environment(
        "replaced",
        "an engine that speaks another API after each start of a container, by a proxy",
        engines.docker_replaced,
    ),
    *(
        Environment(name, title, partial(_not_had, reason))
        for name, title, reason in (
            (
                "docker-28",
                "Docker 28 and 29",
                "No registry of Debian packages in reach has them: they are Docker's own packages.",
            ),
            ("windows", "Docker Desktop on Windows", "It needs Windows; `docker-desktop` above has its paths."),
            (
                "mac",
                "Docker Desktop on macOS",
                "It needs macOS; `fuse-macos` and `fuse-shared-flock` above have its disk.",
            ),
            ("gpu", "GPUs by NVIDIA's toolkit and by CDI", "This machine has no GPU."),
        )
    ),
    Environment("xfs", "an xfs of its own", partial(filesystems.on_disk, "mkfs.xfs")),
    Environment("btrfs", "a btrfs of its own", partial(filesystems.on_disk, "mkfs.btrfs")),
    Environment("btrfs-quota", "a btrfs with a quota of 64 MiB", filesystems.with_quota),
    Environment(
        "few-inodes",
        "an ext4 with few free inodes",
        partial(filesystems.on_disk, "mkfs.ext4", "-N", "1500", filler=filesystems.FILL_INODES),
    ),
    Environment(
        "small",
        "an ext4 with 64 MiB",
        partial(filesystems.on_disk, "mkfs.ext4", size_mib=64, filler=filesystems.FILL_BYTES),
    ),
    Environment("read-only", "an ext4 that became read-only", filesystems.read_only),
    Environment("tmpfs", "a tmpfs", filesystems.tmpfs),
    Environment("fuse", "FUSE, as it is", filesystems.fuse),
    *(
        Environment(f"fuse-{name}", title, partial(filesystems.fuse, *faults))
        for name, title, faults in filesystems.FUSE
    ),
    *(
        Environment(name, f"a client of {title}", partial(filesystems.kernel_client, name, title))
        for name, title in (("nfs", "NFS"), ("cifs", "SMB"), ("vfat", "vfat"), ("exfat", "exFAT"), ("9p", "9p"))
    ),
)
